"""Attacks from inside a runtime and from the network. Each must end in a clear error, hurt nobody else, lose nothing."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.http import Api
from tests.support.probe import Bystander
from tests.support.server import Server
from tests.support.stream import ExecStream


@pytest.fixture(scope="module", autouse=True)
def isolated(server: Server, shared: str) -> None:
    """Refuse to attack at all when the runtime is not another world: these commands would hurt the host."""
    with server.api() as client:
        assert client.exec(shared, "ls", ["-d", str(server.folder)])["exit_code"] != 0
        for kind in ("mnt", "pid", "user"):
            inside = client.sh(shared, f"readlink /proc/self/ns/{kind}").strip()
            assert inside != os.readlink(f"/proc/self/ns/{kind}"), f"the {kind} namespace is the host's"


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def small(make_runtime: Callable[..., str], memory_mib: int = 256) -> str:
    """Make a runtime with little memory."""
    sizes = {"requests": {"vcpus": 1, "memory_mib": memory_mib}, "limits": {"memory_mib": memory_mib}}
    return make_runtime(resources=sizes)


def test_disk_filler_stops_at_its_limit(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server(runtimes__default_disk_bytes=128 << 20)
    with server.api() as client, Bystander(server):
        runtime = client.create()["id"]
        data = client.exec(runtime, "head -c 2000000000 /dev/zero > /root/big", timeout_secs=60)
        assert data["exit_code"] != 0
        assert "space" in data["stderr"].lower() or "quota" in data["stderr"].lower()
        many = "mkdir -p /root/d; cd /root/d; for i in $(seq 3000); do echo x > f$i || exit 1; done"
        client.exec(runtime, many, timeout_secs=60)
        assert client.exec(runtime, "fallocate -l 100G /root/huge")["exit_code"] != 0
        client.write_file(runtime, "/root/more", b"x" * 20_000_000)
        client.sh(runtime, "rm -rf /root/big /root/d /root/huge /root/more; sync")
        assert client.sh(runtime, "echo recovered > /root/note; cat /root/note") == "recovered\n"
        client.delete(f"/v1/runtimes/{runtime}").expect(200)


def test_upload_over_the_disk_limit_is_refused_clearly(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server(runtimes__default_disk_bytes=64 << 20)
    with server.api() as client, Bystander(server):
        runtime = client.create()["id"]
        answer = client.write_file(runtime, "/root/big", os.urandom(100 << 20))
        assert answer.status in (413, 422, 429, 507), answer.body
        assert client.read_file(runtime, "/root/big").status == 404
        assert client.sh(runtime, "echo recovered") == "recovered\n"


BOMBS = {
    "shell": "b() { b | b & }; b; sleep 60",
    "sessions": 'b() { setsid sh -c "$0" "$0" & setsid sh -c "$0" "$0" & }; b; sleep 60',
    "perl": "exec perl -e 'while (1) { fork }'",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_fork_bomb_hurts_only_its_runtime(
    server: Server, api: Api, make_runtime: Callable[..., str], bomb: str
) -> None:
    runtime = small(make_runtime)
    with Bystander(server):
        data = api.exec(runtime, BOMBS[bomb], timeout_secs=2)
        assert data["exit_code"] != 0
        api.post(f"/v1/runtimes/{runtime}/stop").expect(200)
        api.post(f"/v1/runtimes/{runtime}/start").expect(200)
        assert api.sh(runtime, "echo recovered") == "recovered\n"


@pytest.mark.parametrize(
    "script",
    [
        "head -c 2000000000 /dev/zero | tail -c 2000000000 >/dev/null; exit $?",
        "perl -e '$x = \"x\" x 2000000000; print length $x'",
    ],
)
def test_memory_hog_is_killed_and_the_runtime_goes_on(
    server: Server, api: Api, make_runtime: Callable[..., str], script: str
) -> None:
    runtime = small(make_runtime)
    with Bystander(server):
        assert api.exec(runtime, script, timeout_secs=30)["exit_code"] != 0
        assert api.sh(runtime, "echo recovered") == "recovered\n"


def test_memory_hog_through_files_in_memory_stays_bounded(
    server: Server, api: Api, make_runtime: Callable[..., str]
) -> None:
    runtime = small(make_runtime)
    with Bystander(server):
        for folder in ("/dev/shm", "/tmp", "/run"):
            api.exec(runtime, f"head -c 1000000000 /dev/zero > {folder}/fill", timeout_secs=60)
        api.exec(runtime, "rm -f /dev/shm/fill /tmp/fill /run/fill")
        assert api.sh(runtime, "echo recovered") == "recovered\n"


def test_ten_gibibytes_of_output_are_drained_in_bounded_time_and_memory(
    server: Server, api: Api, runtime: str
) -> None:
    before = resident_bytes(server.pid)
    with Bystander(server):
        data = api.exec(runtime, "head -c 10737418240 /dev/zero; echo end >&2", timeout_secs=110)
    assert (data["exit_code"], data["stderr"], data["stdout_truncated"]) == (0, "end\n", True)
    assert resident_bytes(server.pid) - before < 64 << 20


@pytest.mark.parametrize(
    "script", ["kill -9 -1", "kill -9 1; kill -15 1; kill -9 -1", "kill -STOP 1; kill -STOP -1"]
)
def test_kill_of_every_process_inside_leaves_a_usable_runtime(
    server: Server, api: Api, make_runtime: Callable[..., str], script: str
) -> None:
    runtime = make_runtime()
    with Bystander(server):
        api.exec(runtime, script, timeout_secs=3)
        assert api.sh(runtime, "echo alive") == "alive\n"


@pytest.mark.parametrize(
    "script",
    [
        "mknod /root/disk b 8 0 && head -c1 /root/disk",
        "mknod /root/mem c 1 1 && head -c1 /root/mem",
        "mount -t proc proc /mnt",
        "mount -t tmpfs tmpfs /mnt",
        "mount -o remount,rw /usr",
        "umount -l /proc",
        "unshare -U true",
        "unshare -m true",
        "nsenter -t 1 -m true",
        "echo 1 > /proc/sysrq-trigger",
        "echo core > /proc/sys/kernel/core_pattern",
        "echo x > /proc/1/oom_score_adj && false",
        "cat /proc/kcore",
        "cat /proc/kallsyms | grep -v '^0000000000000000' | grep -q .",
        "cat /dev/mem",
        "cat /dev/kmsg",
        "dmesg",
        "ls /dev/sda /dev/vda /dev/loop0 /dev/nvme0n1 2>/dev/null | grep -q .",
        "ls /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/release_agent 2>/dev/null | grep -q .",
        "hostname pwned",
        "date -s 2000-01-01",
        "cat /proc/1/environ | tr '\\0' '\\n' | grep -q RUNYARD",
        "cat /proc/1/mem",
        "ls /proc/1/fd/ && readlink /proc/1/fd/* | grep -v -e null -e socket -e anon -e pipe | grep -q .",
        "perl -e 'syscall(101, 0, 0, 0, 0) == -1 or exit 0; exit 1'",
        "perl -e 'exit(syscall(175, 0, 0, 0) == 0 ? 0 : 1)'",
        "perl -e 'exit(syscall(321, 0, 0, 0) >= 0 ? 0 : 1)'",
        "perl -e 'exit(syscall(425, 8, 0) >= 0 ? 0 : 1)'",
        'perl -e \'open(T, "<", "/dev/tty") or exit 1; exit(ioctl(T, 0x5412, "x") ? 0 : 1)\'',
    ],
)
def test_privileged_trick_fails_inside(api: Api, shared: str, script: str) -> None:
    data = api.exec(shared, script, timeout_secs=10)
    assert data["exit_code"] != 0, data
    assert data["exit_code"] != 124, "the trick hung"
    assert api.sh(shared, "echo alive") == "alive\n"


def test_setuid_program_gains_nothing(server: Server, api: Api, runtime: str) -> None:
    script = (
        "cp /usr/bin/id /tmp/rootid; chmod 4755 /tmp/rootid;"
        'perl -e \'$) = 1000; $( = 1000; $< = 1000; $> = 1000; exec "/tmp/rootid", "-u"\''
    )
    assert api.exec(runtime, script)["stdout"].strip() == "1000", "a setuid program took effect"
    status = api.sh(runtime, "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status").split()
    assert status == ["NoNewPrivs:", "1", "Seccomp:", "2"]


def test_host_secrets_and_server_files_are_invisible(server: Server, api: Api, runtime: str) -> None:
    sentinel = server.folder / "sentinel-of-the-host"
    sentinel.write_text("sentinel")
    data = api.exec(runtime, "cat /etc/shadow /etc/shadow- /etc/gshadow /etc/sudoers 2>/dev/null")
    for line in Path("/etc/shadow").read_text().splitlines():
        assert line not in data["stdout"]
    for path in (server.folder, server.data_dir, server.log_path, sentinel):
        assert api.exec(runtime, "ls", ["-d", str(path)])["exit_code"] != 0
    found = api.sh(
        runtime,
        "find / -xdev \\( -path /usr -o -path /proc -o -path /sys -o -path /etc/ssl/certs \\) -prune -o -type f -print",
        timeout_secs=60,
    )
    assert "sentinel-of-the-host" not in found
    assert not [
        line for line in found.splitlines() if line.endswith((".db", ".sqlite", ".key", "_key", ".pem"))
    ]
    inside = api.sh(runtime, "ls -A /root /home /srv /var/lib /run 2>/dev/null")
    assert not {"snap", "docker.sock", ".ssh", "postgresql", "dpkg-secrets"} & set(inside.split())
    sockets = api.sh(runtime, "find /run /tmp /var/run/ -type s 2>/dev/null")
    assert sockets == ""


def test_processes_of_the_host_and_of_neighbours_are_invisible(
    api: Api, make_runtime: Callable[..., str]
) -> None:
    first, second = make_runtime(), make_runtime()
    api.sh(first, "setsid sleep 31337 >/dev/null 2>&1 &")
    assert api.exec(second, "pgrep -fx 'sleep 31337'")["exit_code"] != 0
    assert int(api.sh(second, "ls /proc | grep -c '^[0-9]'")) < 10
    assert api.exec(second, "kill", ["-0", str(os.getpid())])["exit_code"] != 0


def test_writes_are_invisible_to_neighbours_and_the_host(api: Api, make_runtime: Callable[..., str]) -> None:
    first, second = make_runtime(), make_runtime()
    api.sh(
        first,
        "echo mine > /etc/mine; echo mine > /usr/bin/mine; chmod +x /usr/bin/mine; rm /usr/bin/awk /bin/ls",
    )
    assert api.exec(second, "ls /etc/mine /usr/bin/mine")["exit_code"] != 0
    assert api.sh(second, "command -v awk")
    assert not Path("/etc/mine").exists()
    assert not Path("/usr/bin/mine").exists()
    assert Path("/bin/ls").exists()


KNOCK = "timeout 3 bash -c 'exec 3<>/dev/tcp/{host}/{port} && echo reached'"


@pytest.fixture
def host_listener() -> Iterator[int]:
    """Listen on every address of the host and return the port."""
    with socket.create_server(("0.0.0.0", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def host_addresses() -> set[str]:
    """Return addresses of the host that a runtime might try."""
    found = {"127.0.0.1"}
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        found.add(probe.getsockname()[0])
    return found


@pytest.mark.parametrize("enabled", [True, False])
def test_host_ports_are_out_of_reach(
    server: Server, api: Api, make_runtime: Callable[..., str], host_listener: int, enabled: bool
) -> None:
    runtime = make_runtime(egress_policy={"enabled": enabled, "allowed_hosts": []})
    route = api.sh(runtime, "awk '$2 == \"00000000\" {print $3}' /proc/net/route").strip()
    addresses = host_addresses()
    if route:
        addresses.add(".".join(str(int(route[at : at + 2], 16)) for at in (6, 4, 2, 0)))
    assert bool(route) is not enabled, "open egress has a default route, none has not"
    for host in addresses:
        for port in (server.port, host_listener):
            data = api.exec(runtime, KNOCK.format(host=host, port=port))
            assert "reached" not in data["stdout"], (host, port)


def test_runtimes_with_open_egress_cannot_reach_each_other(
    api: Api, make_runtime: Callable[..., str]
) -> None:
    first, second = make_runtime(), make_runtime()
    listen = (
        "perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => 7777, Listen => 5, ReuseAddr => 1) or die;"
        'open(F, ">", "/root/up"); close F; while ($c = $s->accept) { print $c "x" }\''
    )
    api.sh(first, f"setsid {listen} >/dev/null 2>&1 &")
    api.sh(first, "for i in $(seq 100); do [ -e /root/up ] && exit 0; sleep 0.05; done; exit 1")
    assert "reached" in api.exec(first, KNOCK.format(host="127.0.0.1", port=7777))["stdout"]
    names = 'perl -e \'use Socket; socket(S, PF_INET, SOCK_DGRAM, 0); connect(S, sockaddr_in(9, inet_aton("192.0.2.1")));'
    address = api.sh(first, names + "print inet_ntoa((sockaddr_in(getsockname(S)))[1])'").strip()
    assert address
    assert address != "0.0.0.0"
    assert "reached" not in api.exec(second, KNOCK.format(host=address, port=7777))["stdout"]


def trickle(port: int, head: bytes, stop: threading.Event) -> None:
    """Send a request one byte at a time until told to stop."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
        for byte in head * 1000:
            if stop.wait(0.2):
                return
            connection.sendall(bytes([byte]))


def test_slow_senders_do_not_hold_up_others(server: Server, shared: str) -> None:
    whole = f"POST /v1/runtimes/{shared}/exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n".encode()
    stop = threading.Event()
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(150)]
    for number, connection in enumerate(idle):
        connection.sendall(whole if number % 2 else whole + b"Content-Length: 1000000\r\n\r\n{")
    threads = [
        threading.Thread(target=trickle, args=(server.port, whole, stop), daemon=True) for _ in range(20)
    ]
    with Bystander(server, slowest=5):
        for thread in threads:
            thread.start()
        time.sleep(3)
    stop.set()
    for connection in idle:
        connection.close()
    for thread in threads:
        thread.join(5)


def test_stalled_reader_of_a_stream_costs_no_memory(server: Server, api: Api, runtime: str) -> None:
    with Bystander(server):
        before = resident_bytes(server.pid)
        with ExecStream(server, runtime) as stream:
            stream.start("sh", "-c", "head -c 500000000 /dev/zero; sleep 1000")
            stream.send("close_stdin")
            stream.receive()
            time.sleep(3)  # nothing is read meanwhile; the server must push back, not buffer
            grown = resident_bytes(server.pid) - before
        assert grown < 64 << 20, f"grew by {grown >> 20} MiB"
    deadline = time.monotonic() + 10
    while api.exec(runtime, "pgrep -x sleep")["exit_code"] == 0:
        assert time.monotonic() < deadline, "the command outlived its client"
        time.sleep(0.1)


def test_stalled_reader_of_a_file_costs_no_memory(server: Server, api: Api, runtime: str) -> None:
    api.sh(runtime, "head -c 300000000 /dev/zero > /root/big")
    with Bystander(server):
        before = resident_bytes(server.pid)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = f"GET /v1/runtimes/{runtime}/files?path=/root/big HTTP/1.1\r\nHost: x\r\n"
            connection.sendall(f"{head}Authorization: Bearer {server.token}\r\n\r\n".encode())
            connection.recv(1000)
            time.sleep(2)
            assert resident_bytes(server.pid) - before < 64 << 20


def send_raw(server: Server, head: bytes, block: bytes, count: int) -> bytes:
    """Send a request of any size; return the beginning of the answer, empty when the connection was reset."""
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(head)
            for _ in range(count):
                connection.sendall(block)
        with contextlib.suppress(OSError):
            answer = connection.recv(4096)
    return answer


@pytest.mark.parametrize(
    ("block", "count"),
    [(b"X-Flood: " + b"x" * 8000 + b"\r\n", 2000), (b"X: y\r\n", 200_000), (b"x" * 65536, 500)],
)
def test_header_flood_is_cut_off(server: Server, block: bytes, count: int) -> None:
    before = resident_bytes(server.pid)
    with Bystander(server):
        began = time.monotonic()
        answer = send_raw(server, b"GET /v1/runtimes HTTP/1.1\r\nHost: x\r\n", block, count)
        assert time.monotonic() - began < 10, "the flood was swallowed to its end"
    assert not answer or answer.split()[1].startswith(b"4"), answer[:200]
    assert resident_bytes(server.pid) - before < 16 << 20


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_body_over_the_limit_is_refused_early(server: Server, shared: str, framing: str) -> None:
    size = 1 << 30
    head = f"POST /v1/runtimes/{shared}/exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
    head += "Content-Type: application/json\r\n"
    head += f"Content-Length: {size}\r\n\r\n" if framing == "length" else "Transfer-Encoding: chunked\r\n\r\n"
    block = b" " * (1 << 20) if framing == "length" else b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    before = resident_bytes(server.pid)
    with Bystander(server):
        answer = send_raw(server, head.encode(), block, 1024)
    assert not answer or answer.split()[1] in (b"413", b"422"), answer[:300]
    assert resident_bytes(server.pid) - before < 400 << 20


def test_thousand_idle_connections_do_not_hold_up_others(server: Server) -> None:
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(1000)]
    with Bystander(server, slowest=5):
        time.sleep(1)
    for connection in connections:
        connection.close()


def test_runtime_that_destroys_itself_can_be_deleted(
    server: Server, api: Api, make_runtime: Callable[..., str]
) -> None:
    runtime = make_runtime()
    with Bystander(server):
        api.exec(runtime, "rm -rf --no-preserve-root / 2>/dev/null; kill -9 -1", timeout_secs=60)
        answer = api.post(f"/v1/runtimes/{runtime}/exec", {"command": "echo x"})
        assert answer.status == 200
        assert answer.data["exit_code"] in (0, 126, 127)  # the folder may be gone before the shell
        api.delete(f"/v1/runtimes/{runtime}").expect(200)
    assert Path("/etc/passwd").exists()
