"""The exec stream of v1 and v2: handshake, frames, terminal, signals, late input, endings. No SDK involved."""

import contextlib
import hashlib
import json
import time

import pytest
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect

from tests.support.http import Api
from tests.support.server import Server
from tests.support.stream import ExecStream, run_stream

NOBODY = "01890000-0000-7000-8000-000000000000"
every_version = pytest.mark.parametrize("version", ["v1", "v2"])


@every_version
def test_stream_carries_both_outputs_and_the_exit_code_then_closes(
    server: Server, shared: str, version: str
) -> None:
    ended = run_stream(server, shared, "sh", "-c", "echo out; echo err >&2; exit 5", version=version)
    assert (ended.stdout, ended.stderr, ended.code) == (b"out\n", b"err\n", 5)
    assert ended.close_code in (1000, 1005, None)


@pytest.mark.parametrize(
    ("version", "runtime", "status"),
    [("v2", NOBODY, 404), ("v2", "a-name", 422), ("v1", "a-name", 404), ("v1", NOBODY, 404)],
)
def test_stream_handshake_is_refused_with_the_envelope(
    server: Server, version: str, runtime: str, status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        ExecStream(server, runtime, version=version)
    response = refused.value.response
    assert response.status_code == status
    document = json.loads(response.body or b"")
    assert set(document) == {"error", "request_id"}


def test_stream_without_token_is_refused(server: Server, shared: str) -> None:
    url = f"ws://127.0.0.1:{server.port}/v2/runtimes/{shared}/exec/stream"
    with pytest.raises(InvalidStatus) as refused, connect(url, proxy=None):
        pass
    assert refused.value.response.status_code == 401


def test_stream_of_a_stopped_runtime_is_refused(server: Server, api: Api, runtime: str) -> None:
    api.post(f"/v1/runtimes/{runtime}/stop").expect(200)
    with pytest.raises(InvalidStatus) as refused:
        ExecStream(server, runtime)
    assert refused.value.response.status_code == 409


def test_stream_request_without_upgrade_is_refused(api: Api, shared: str) -> None:
    assert api.get(f"/v2/runtimes/{shared}/exec/stream").status in (400, 422, 426)


@pytest.mark.parametrize(
    ("command", "args", "code"),
    [
        ("true", [], 0),
        ("no-such-program", [], 127),
        ("/etc/hostname", [], 126),
        ("sh", ["-c", "kill -9 $$"], 137),
        ("sh", ["-c", "kill -TERM $$"], 143),
    ],
)
def test_stream_exit_code_is_what_a_shell_reports(
    server: Server, shared: str, command: str, args: list[str], code: int
) -> None:
    assert run_stream(server, shared, command, *args).code == code


def test_stream_input_with_nul_and_large_frames_arrives_whole(server: Server, shared: str) -> None:
    data = bytes(range(256)) * 1024
    with ExecStream(server, shared) as stream:
        stream.start("sh", "-c", "sha256sum; echo done")
        for _ in range(16):
            stream.stdin(data)  # frames of 350 kB
        stream.send("close_stdin")
        ended = stream.finish()
    assert ended.stdout.split()[0].decode() == hashlib.sha256(data * 16).hexdigest()
    assert ended.code == 0


def test_stream_late_input_is_taken_and_dropped(server: Server, shared: str) -> None:
    with ExecStream(server, shared) as stream:
        stream.start("head", "-c", "1")
        stream.stdin(b"ab")
        while (frame := stream.receive()) is not None and frame["type"] != "exit":
            pass
        late = b"x" * 100_000
        with contextlib.suppress(ConnectionClosedOK):
            for _ in range(5):
                stream.stdin(late)
            stream.send("close_stdin")
        ended = stream.finish()
    assert (ended.stdout, ended.code) == (b"a", 0)


def test_stream_output_frames_stay_below_64_kib(server: Server, shared: str) -> None:
    ended = run_stream(server, shared, "head", "-c", "3000000", "/dev/zero")
    assert len(ended.stdout) == 3_000_000
    assert ended.largest <= 65536


def test_stream_cwd_is_home_and_env_is_added(server: Server, shared: str) -> None:
    with ExecStream(server, shared) as stream:
        stream.start("sh", "-c", "pwd; echo $A; id -u", env={"A": "1"}, cwd="/usr")
        stream.send("close_stdin")
        assert stream.finish().stdout == b"/root\n1\n0\n"


def test_stream_heartbeat_from_the_client_is_accepted(server: Server, shared: str) -> None:
    with ExecStream(server, shared) as stream:
        stream.start("sh", "-c", "sleep 0.3; echo ok")
        stream.send("heartbeat")
        stream.send("close_stdin")
        assert stream.finish().stdout == b"ok\n"


@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "INT", "SIGINT"])
def test_stream_signal_reaches_the_command(server: Server, shared: str, name: str) -> None:
    with ExecStream(server, shared) as stream:
        stream.start(
            "sh",
            "-c",
            "trap 'echo INT; exit 3' INT; trap 'echo TERM; exit 4' TERM; echo up; while :; do sleep 0.1; done",
        )
        stream.until(b"up\n")
        stream.send("signal", signal=name)
        stream.send("close_stdin")
        ended = stream.finish()
    short = name.removeprefix("SIG")
    assert ended.stdout == f"up\n{short}\n".encode()
    assert ended.code in ({"INT": 3, "TERM": 4}[short], -1)


@pytest.mark.parametrize(
    "frames",
    [
        ["{"],
        ["[]"],
        ['"x"'],
        ["{}"],
        ['{"type":"stdin","data_base64":""}'],
        ['{"type":"start"}'],
        ['{"type":"start","command":""}'],
        ['{"type":"start","command":5}'],
        ['{"type":"start","command":"sleep","args":["100"]}', '{"type":"stdin","data_base64":"***"}'],
        ['{"type":"start","command":"sleep","args":["100"]}', '{"type":"signal","signal":5}'],
        ['{"type":"start","command":"sleep","args":["100"]}', '{"type":"signal","signal":"KILL"}'],
        ['{"type":"start","command":"sleep","args":["100"]}', '{"type":"start","command":"true"}'],
        ['{"type":"start","command":"true","env":{"A=B":"1"}}'],
        ['{"type":"start","command":"true","args":["\\u0000"]}'],
        ['{"type":"start","command":"true","tty":true,"rows":-1,"cols":99999}'],
        ["[" * 50_000],
    ],
)
def test_stream_malformed_frames_end_it_in_an_error(
    server: Server, api: Api, runtime: str, frames: list[str]
) -> None:
    with ExecStream(server, runtime) as stream:
        for frame in frames:
            stream.socket.send(frame)
        ended = stream.finish(15)
    assert ended.code is None
    assert api.exec(runtime, "pgrep -x sleep")["stdout"] == "", "the command outlived its stream"


def test_stream_binary_messages_are_as_good_as_text(server: Server, shared: str) -> None:
    with ExecStream(server, shared) as stream:
        stream.socket.send(b'{"type":"start","command":"echo","args":["b"]}')
        stream.socket.send(b'{"type":"close_stdin"}')
        assert stream.finish().stdout == b"b\n"


def test_stream_terminal_has_size_and_resizes(server: Server, shared: str) -> None:
    with ExecStream(server, shared) as stream:
        stream.start(
            "sh", "-c", "stty size; read x; stty size; tty >/dev/null && echo tty", tty=True, rows=30, cols=90
        )
        stream.until(b"30 90\r\n")
        stream.send("resize", rows=40, cols=120)
        stream.stdin(b"go\n")
        ended = stream.finish()
    assert b"40 120\r\n" in ended.stdout
    assert b"tty\r\n" in ended.stdout
    assert (ended.stderr, ended.code) == (b"", 0)


def test_stream_terminal_interrupt_key_stops_the_command(server: Server, shared: str) -> None:
    with ExecStream(server, shared) as stream:
        # A trap, because an interrupt between fork and exec of a child is lost, and the shell waits for it to the end.
        script = "trap 'exit 130' INT; echo up; while :; do sleep 0.1; done; echo never"
        stream.start("sh", "-c", script, tty=True, rows=24, cols=80)
        stream.until(b"up")
        stream.stdin(b"\x03")
        ended = stream.finish()
    assert b"never" not in ended.stdout
    assert ended.code == 130


def test_stream_terminal_runs_an_interactive_shell(server: Server, shared: str) -> None:
    with ExecStream(server, shared) as stream:
        stream.start("bash", "-i", tty=True, rows=24, cols=80)
        stream.stdin(b"echo $((6*7))\n")
        stream.until(b"42")
        # Not ^D: between two lines bash switches the terminal's mode, and an end of file typed then is lost.
        stream.stdin(b"exit\n")
        assert stream.finish().code == 0


SETTLED = "until pgrep -fx 'sleep {}' >/dev/null; do :; done"
"""Waits until `setsid` has made its session and become the sleep."""


def gone(api: Api, runtime: str, pattern: str, seconds: float = 10) -> bool:
    """Tell whether a process ends within a time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if api.exec(runtime, "pgrep", ["-fx", pattern])["exit_code"] != 0:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("how", ["close", "abort"])
def test_stream_client_end_kills_the_group_but_spares_setsid(
    server: Server, api: Api, runtime: str, how: str
) -> None:
    with ExecStream(server, runtime) as stream:
        stream.start(
            "sh",
            "-c",
            f"setsid sleep 201 >/dev/null 2>&1 & sleep 202 & {SETTLED.format(201)}; echo up; sleep 203",
        )
        stream.until(b"up")
        if how == "abort":
            stream.socket.socket.close()
        else:
            stream.socket.close(1011)
    assert gone(api, runtime, "sleep 203")
    assert gone(api, runtime, "sleep 202")
    assert api.exec(runtime, "pgrep", ["-fx", "sleep 201"])["exit_code"] == 0


def test_stream_background_children_end_with_it_but_setsid_survives(
    server: Server, api: Api, runtime: str
) -> None:
    ended = run_stream(
        server,
        runtime,
        "sh",
        "-c",
        f"sleep 301 & setsid sleep 302 >/dev/null 2>&1 & {SETTLED.format(302)}; echo x",
    )
    assert ended.code == 0
    assert gone(api, runtime, "sleep 301")
    assert api.exec(runtime, "pgrep", ["-fx", "sleep 302"])["exit_code"] == 0


def test_stream_many_at_once(server: Server, shared: str) -> None:
    streams = [ExecStream(server, shared).start("sh", "-c", f"read x; echo $x-{n}") for n in range(12)]
    for stream in streams:
        stream.stdin(b"in\n", end=True)
    assert [stream.finish().stdout for stream in streams] == [f"in-{n}\n".encode() for n in range(12)]
    for stream in streams:
        stream.__exit__()


def test_stream_ping_is_answered(server: Server, shared: str) -> None:
    with ExecStream(server, shared) as stream:
        stream.start("cat")
        assert stream.socket.ping().wait(5)
        stream.send("close_stdin")
        assert stream.finish().code == 0
