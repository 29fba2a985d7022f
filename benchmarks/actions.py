"""Actions through the StackStorm door: how soon they run, how many a second, their readers, their lists, their results."""

import json
import selectors
import socket
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from benchmarks import actions_fill
from benchmarks.plan import Growth, Plan, serving
from benchmarks.report import Section, Times
from benchmarks.wire import Line, complete, request
from tests.support.server import Server

IN_FLIGHT = 64
LOOK_SECONDS = 0.3
"""Between two counts of what ended, which cost the server too."""
START_LIMIT_MS = 20
RATE = 100
PAGE_LIMIT_MS = 50
RESULT_SECONDS = 2.0
RESULT_BYTES = 10_000_000
GROWTH_LIMIT = 100
LISTED = "include_attributes=id,action.ref,context.user,status,start_timestamp,end_timestamp"
PAGES: Mapping[str, str] = {
    "as the st2 command asks, 50": f"?limit=50&parent=null&sort_desc=True&{LISTED}",
    "whole executions, 100": "?limit=100",
    "by status, 50": "?limit=50&status=failed",
    "by user, 50": "?limit=50&user=user-3",
    "by an action of three in four, 50": "?limit=50&action=core.local",
    "by an action of one in 20,000, 50": f"?limit=50&action={actions_fill.RARE}",
    "by runner, 50": "?limit=50&runner=python-script",
    "in a range of time, oldest first, 50": "?limit=50&timestamp_gt={middle}",
    "page 200, 50": "?limit=50&offset=10000",
    "64 KiB results, without them, 50": f"?limit=50&parent=null&action={actions_fill.HEAVY}&{LISTED}",
    "64 KiB results, whole, 50": f"?limit=50&action={actions_fill.HEAVY}",
    "by user, status and action, 50": "?limit=50&user=user-3&status=failed&action=bench.action3",
}


class Caller:
    """One connection to the door."""

    def __init__(self, server: Server) -> None:
        """Connect."""
        self.line = Line(server.port)
        self.headers = {"X-Auth-Token": server.token}

    def sent(self, method: str, path: str, body: object = None) -> bytes:
        """Build a request."""
        return request(method, path, body, self.headers)

    def get(self, path: str) -> Any:  # noqa: ANN401 - whatever JSON it is
        """Get a document."""
        return self.line.json(self.sent("GET", path))

    def run(self, cmd: str, **more: object) -> bytes:
        """Build the request for core.local."""
        return self.sent(
            "POST", "/v1/executions", {"action": "core.local", "parameters": {"cmd": cmd, **more}}
        )

    def ended(self, execution: str) -> Any:  # noqa: ANN401 - whatever JSON it is
        """Wait for the end of an execution."""
        path = f"/v1/executions/{execution}?exclude_attributes=result"
        while "end_timestamp" not in (found := self.get(path)):
            time.sleep(0.002)
        return found

    def total(self) -> int:
        """Count the executions that succeeded."""
        answer = self.line.call(
            self.sent("GET", "/v1/executions?limit=1&status=succeeded&include_attributes=id")
        )
        head = answer[: complete(answer)].lower()
        return int(head.partition(b"x-total-count:")[2].partition(b"\r")[0])


def starts(plan: Plan, server: Server) -> Section:
    """Ask for one execution after the other."""
    section = Section("core.local of `true`, isolated, one at a time (p10 / p50 / p99)")
    caller = Caller(server)
    sent = caller.run("true")
    answered, running, ended = [], [], []
    for _ in range(plan.rounds):
        began = time.time()
        made: Any = caller.line.json(sent)
        answered.append(time.time() - began)
        times = {entry["status"]: _moment(entry["timestamp"]) for entry in caller.ended(made["id"])["log"]}
        running.append(times["running"] - began)
        ended.append(times["succeeded"] - began)
    section.add("request to its answer, 201", str(Times(answered)))
    start = Times(running)
    met = start.p50 * 1000 < START_LIMIT_MS
    section.add(
        "requested to running",
        str(start),
        "",
        f"p50 under {START_LIMIT_MS} ms (StackStorm healthy: 240)",
        met,
    )
    section.add("requested to its end, all processes gone", str(Times(ended)))
    return section


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def sustained(plan: Plan, server: Server) -> Section:
    """Keep executions in flight for a time and count what ended."""
    section = Section(f"core.local of `true`, isolated, {IN_FLIGHT} in flight for {plan.action_seconds:g} s")
    caller = Caller(server)
    sent = caller.run("true")
    first, asked, done = caller.total(), 0, 0
    growth = Growth(server.pid)
    began = looked = time.perf_counter()
    while (now := time.perf_counter()) < began + plan.action_seconds:
        if now - looked > LOOK_SECONDS:
            done, looked = caller.total() - first, now
        for _ in range(IN_FLIGHT - (asked - done)):
            caller.line.call(sent)
            asked += 1
        time.sleep(0.004)
    done = caller.total() - first
    rate = done / (time.perf_counter() - began)
    section.add(
        "executions that ended",
        f"{rate:.0f}/s",
        "",
        f"at least {RATE}/s (StackStorm: about 10)",
        rate >= RATE,
    )
    section.add(
        "memory meanwhile", f"{growth.mebibytes:+.0f} MiB", "", "flat", growth.mebibytes < GROWTH_LIMIT
    )
    return section


def tails(plan: Plan, server: Server) -> Section:
    """Follow one execution as `st2 execution tail` does, many times at once."""
    section = Section(f"{plan.readers} readers of one execution, as `--tail` reads")
    caller = Caller(server)
    lines = 2_000
    made: Any = caller.line.json(caller.run(f"sleep 2; seq {lines}", timeout=120))
    query = (
        "events=st2.execution__update,st2.execution.output__create&end_event=st2.execution__update"
        f"&end_execution_id={made['id']}&execution_ids={made['id']}"
    )
    growth, began = Growth(server.pid), time.perf_counter()
    whole = _follow(server.port, caller.sent("GET", f"/v1/stream?{query}"), plan.readers, lines)
    seconds = time.perf_counter() - began - 2
    section.add(
        f"saw all {lines:,} lines and the end", f"{whole} of {plan.readers}", "", "all", whole == plan.readers
    )
    section.add("lines carried", f"{lines * plan.readers / max(seconds, 0.01):,.0f}/s")
    section.add(
        "memory meanwhile", f"{growth.mebibytes:+.0f} MiB", "", f"under {GROWTH_LIMIT} MiB",
        growth.mebibytes < GROWTH_LIMIT,
    )  # fmt: skip
    return section


def _follow(port: int, sent: bytes, count: int, lines: int) -> int:
    """Return how many readers got every line and the end."""
    selector = selectors.DefaultSelector()
    seen: dict[int, bytearray] = {}
    whole = 0
    for _ in range(count):
        channel = socket.create_connection(("127.0.0.1", port))
        channel.sendall(sent)
        selector.register(channel, selectors.EVENT_READ)
        seen[channel.fileno()] = bytearray()
    while seen:
        for key, _ in selector.select(60):
            reader = key.fileobj
            assert isinstance(reader, socket.socket)
            data = reader.recv(262_144)
            seen[key.fd] += data
            if data and not seen[key.fd].endswith(b"\r\n0\r\n\r\n"):
                continue
            got = seen.pop(key.fd)
            whole += got.count(b"st2.execution.output__create") == lines and b'"status":"succeeded"' in got
            selector.unregister(reader)
            reader.close()
    return whole


def results(server: Server) -> Section:
    """Make a result of ten megabytes and fetch it."""
    section = Section(f"A result of {RESULT_BYTES / 1e6:g} MB")
    caller = Caller(server)
    took, fetched = [], []
    growth = Growth(server.pid)
    for _ in range(3):
        began = time.perf_counter()
        made: Any = caller.line.json(caller.run(f"head -c {RESULT_BYTES} /dev/zero | tr '\\0' x"))
        caller.ended(made["id"])
        took.append(time.perf_counter() - began)
        began = time.perf_counter()
        answer = caller.line.call(caller.sent("GET", f"/v1/executions/{made['id']}/result"))
        fetched.append(time.perf_counter() - began)
        stdout = json.loads(answer[complete(answer) :])["stdout"]
        if len(stdout) != RESULT_BYTES:
            raise RuntimeError(f"{len(stdout)} bytes came back")
    target = f"under {RESULT_SECONDS:g} s (StackStorm, 8 MB: about 2)"
    section.add("run, from request to its end", f"{min(took):.2f} s", "", target, min(took) < RESULT_SECONDS)
    section.add("fetch the result", f"{min(fetched) * 1000:.0f} ms")
    section.add("peak memory meanwhile", f"{growth.mebibytes:+.0f} MiB")
    return section


def pages(plan: Plan) -> Section:
    """Fill a ledger while its server is down, then ask for pages."""
    section = Section(
        f"Lists at {plan.ledger_rows:,} executions of actions, with exact counts (p10 / p50 / p99)"
    )
    with serving() as server:
        server.stop()
        actions_fill.fill(server.data_dir, plan.ledger_rows)
        server.start()
        caller = Caller(server)
        middle = caller.get(f"/v1/executions?limit=1&offset={plan.ledger_rows // 2}")[0]["start_timestamp"]
        for words, query in PAGES.items():
            sent = caller.sent("GET", f"/v1/executions{query.format(middle=middle)}")
            values = []
            for _ in range(31):
                began = time.perf_counter()
                caller.line.call(sent)
                values.append(time.perf_counter() - began)
            times = Times(values[1:])
            met = times.p50 * 1000 < PAGE_LIMIT_MS
            section.add(
                words, f"{times}; first {values[0] * 1000:.0f} ms", "", f"p50 under {PAGE_LIMIT_MS} ms", met
            )
    section.remarks.append(
        "The first page under a filter counts its whole history, the others only what is new."
    )
    return section


def measure(plan: Plan) -> list[Section]:
    """Measure runs, readers and results on one server, then lists on another."""
    with serving(output__log_bytes=64 << 20) as server:
        sections = [starts(plan, server), sustained(plan, server), tails(plan, server), results(server)]
    return [*sections, pages(plan)]
