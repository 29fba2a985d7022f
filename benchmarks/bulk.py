"""Bytes in bulk: output of commands, one large file up and down, and many readers of one log."""

import os
import selectors
import socket
import tempfile
import threading
import time

from benchmarks.bare import launch
from benchmarks.latency import exec_request
from benchmarks.plan import Growth, Plan, resident_bytes, serving
from benchmarks.report import Section
from benchmarks.wire import Line, request
from tests.support.server import Server

MEGA = 1e6
BLOCK = 1 << 20
GROWTH_LIMIT = 50


def bare_drain(size: int) -> float:
    """Return the megabytes per second at which a bare reader drains the same command."""
    pid, out, err = launch(["/usr/bin/head", "-c", str(size), "/dev/zero"])
    began, buffer = time.perf_counter(), bytearray(BLOCK)
    while os.readv(out, [buffer]):
        pass
    rate = size / (time.perf_counter() - began) / MEGA
    for end in (out, err):
        os.close(end)
    os.waitpid(pid, 0)
    return rate


def drained(server: Server, size: int, cap: int) -> tuple[float, float]:
    """Run a command that prints that much; return megabytes per second and the growth in MiB."""
    runtime = server.api().create()["id"]
    line = Line(server.port)
    line.call(exec_request(server, runtime, {"command": "true", "args": []}))
    body = {
        "command": "head",
        "args": ["-c", str(size), "/dev/zero"],
        "max_output_bytes": cap,
        "timeout_secs": 300,
    }
    rates, growth = [], Growth(server.pid)
    for _ in range(3):
        began = time.perf_counter()
        line.call(exec_request(server, runtime, body))
        rates.append(size / (time.perf_counter() - began) / MEGA)
    verify(server, size)
    return max(rates), growth.mebibytes


def verify(server: Server, size: int) -> None:
    """Insist that the ledger counted every byte, and kept them all where the limit allows it."""
    row = server.api().get("/runyard/v1/executions?limit=1").expect(200).json()["items"][0]
    limit = int(server.settings["RUNYARD_OUTPUT__LOG_BYTES"])
    if (row["output_bytes"], row["output_truncated"]) != (size, limit < size):
        raise RuntimeError(f"{row['output_bytes']} bytes, truncated: {row['output_truncated']}")


def output(plan: Plan) -> Section:
    """Drain a large output under a cap, and the whole of it into the log."""
    size = plan.bulk_bytes
    section = Section(f"{size >> 20} MiB of output (best of 3, peak growth of the server)")
    yard = bare_drain(size)
    section.add("bare pipe, default size, read and dropped", f"{yard:.0f} MB/s", "1.00")
    cases = (
        (
            "drained under a cap (1 MiB to the caller and to the log)",
            {"output__log_bytes": BLOCK},
            1000,
        ),
        (
            "kept whole in the log",
            {"output__log_bytes": size * 2, "output__retention_bytes": size * 8},
            400,
        ),
    )
    for words, settings, floor in cases:
        with serving(**settings) as server:
            rate, growth = drained(server, size, BLOCK)
        section.add(
            words, f"{rate:.0f} MB/s", f"{rate / yard:.2f} of bare", f"over {floor} MB/s", rate > floor
        )
        section.add(
            "memory meanwhile", f"{growth:+.0f} MiB", "", f"under {GROWTH_LIMIT} MiB", growth < GROWTH_LIMIT
        )
    return section


def files(plan: Plan) -> Section:
    """Send one large file up and fetch it again."""
    size = plan.bulk_bytes
    section = Section(f"One file of {size >> 20} MiB (peak growth of the server)")
    with serving() as server, tempfile.TemporaryFile() as source:
        source.truncate(size)
        runtime = server.api().create()["id"]
        path = f"/v1/runtimes/{runtime}/files?path=/root/large"
        head = request("PUT", path, None, {"Authorization": f"Bearer {server.token}"})
        head = head.replace(b"Content-Length: 0", f"Content-Length: {size}".encode())
        growth, line = Growth(server.pid), Line(server.port)
        began = time.perf_counter()
        line.socket.sendall(head)
        line.socket.sendfile(source)
        answer = line.socket.recv(65_536)
        up = size / (time.perf_counter() - began) / MEGA
        if b" 204 " not in answer[:20]:
            raise RuntimeError(answer.decode("utf-8", "replace"))
        section.add("up", f"{up:.0f} MB/s")
        section.add(
            "memory meanwhile", f"{growth.mebibytes:+.0f} MiB", "", "flat", growth.mebibytes < GROWTH_LIMIT
        )
        growth = Growth(server.pid)
        began = time.perf_counter()
        line.socket.sendall(request("GET", path, None, {"Authorization": f"Bearer {server.token}"}))
        left, buffer = size, bytearray(BLOCK)
        while left > 0:
            left -= line.socket.recv_into(buffer)
        down = size / (time.perf_counter() - began) / MEGA
        section.add("down", f"{down:.0f} MB/s")
        section.add(
            "memory meanwhile", f"{growth.mebibytes:+.0f} MiB", "", "flat", growth.mebibytes < GROWTH_LIMIT
        )
    return section


def follow(port: int, sent: bytes, count: int) -> tuple[int, int]:
    """Read one live log with many readers until all have ended; return the bytes in all and how many got to the end."""
    selector = selectors.DefaultSelector()
    tails: dict[int, bytes] = {}
    for _ in range(count):
        channel = socket.create_connection(("127.0.0.1", port))
        channel.sendall(sent)
        selector.register(channel, selectors.EVENT_READ)
        tails[channel.fileno()] = b""
    total, whole = 0, 0
    while tails:
        for key, _ in selector.select(30):
            reader = key.fileobj
            assert isinstance(reader, socket.socket)
            data = reader.recv(262_144)
            total += len(data)
            tail = tails[key.fd] = (tails[key.fd] + data)[-4096:]
            if not data or b"event: end" in tail:
                whole += b"event: end" in tail
                del tails[key.fd]
                selector.unregister(reader)
                reader.close()
    return total, whole


def readers(plan: Plan) -> Section:
    """Follow one growing log with many live readers over server-sent events."""
    section = Section(f"{plan.readers} live readers of one log of {plan.reader_bytes >> 20} MiB")
    with serving() as server:
        api = server.api()
        runtime = api.create()["id"]
        lines = plan.reader_bytes // 64
        script = f"sleep 2; yes {'x' * 63} | head -n {lines}"
        running = threading.Thread(target=lambda: server.api().exec(runtime, script, max_output_bytes=0))
        running.start()
        time.sleep(1)
        latest = api.get("/runyard/v1/executions?limit=1").expect(200).json()
        execution = latest["items"][0]["id"]
        headers = {"Authorization": f"Bearer {server.token}", "Accept": "text/event-stream"}
        sent = request("GET", f"/runyard/v1/executions/{execution}/output/live", None, headers)
        growth, before, began = Growth(server.pid), resident_bytes(server.pid), time.perf_counter()
        total, whole = follow(server.port, sent, plan.readers)
        seconds = time.perf_counter() - began
        running.join()
        section.add(
            "readers that saw the end", f"{whole} of {plan.readers}", "", "all", whole == plan.readers
        )
        section.add("carried to all of them", f"{total / seconds / MEGA:.0f} MB/s")
        grown = growth.mebibytes
        section.add(
            "peak memory growth", f"{grown:+.0f} MiB", "", f"under {GROWTH_LIMIT} MiB", grown < GROWTH_LIMIT
        )
        section.add("memory afterwards", f"{(resident_bytes(server.pid) - before) / BLOCK:+.0f} MiB")
    return section


def measure(plan: Plan) -> list[Section]:
    """Measure output, files and readers."""
    return [output(plan), files(plan), readers(plan)]
