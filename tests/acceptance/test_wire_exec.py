"""Buffered exec on the wire, field by field of the published page and row by row of the contract."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.http import Api
from tests.support.server import Server

RESULT_FIELDS = {"duration_ms", "exit_code", "stderr", "stderr_truncated", "stdout", "stdout_truncated"}


def test_exec_result_has_exactly_the_published_fields(api: Api, shared: str) -> None:
    answer = api.post(f"/v1/runtimes/{shared}/exec", {"command": "true", "args": []}).expect(200)
    assert set(answer.json()) == {"data"}
    data = answer.data
    assert set(data) == RESULT_FIELDS
    kinds = {key: type(value) for key, value in data.items()}
    flags = {"stderr_truncated": bool, "stdout_truncated": bool}
    assert kinds == {"duration_ms": int, "exit_code": int, "stderr": str, "stdout": str, **flags}


def test_exec_published_example_body_is_accepted(api: Api, shared: str) -> None:
    body = {
        "args": [],
        "command": "example",
        "cwd": "/",
        "env": {"additionalProperty": "example"},
        "max_output_bytes": 1,
        "stdin": "example",
        "timeout_secs": 1,
    }
    data = api.post(f"/v1/runtimes/{shared}/exec", body).expect(200).data
    assert data["exit_code"] == 127


@pytest.mark.parametrize(
    ("body", "code", "out"),
    [
        ({"command": "echo a b"}, 0, "a b\n"),
        ({"command": "echo a b", "args": None}, 0, "a b\n"),
        ({"command": "echo", "args": ["a  b", "$HOME", "*"]}, 0, "a  b $HOME *\n"),
        ({"command": "true", "args": []}, 0, ""),
        ({"command": "echo a b", "args": []}, 127, ""),
        ({"command": "false"}, 1, ""),
        ({"command": "exit 3"}, 3, ""),
        ({"command": "exit 256"}, 0, ""),
        ({"command": "kill -TERM $$"}, 143, ""),
        ({"command": "kill -KILL $$"}, 137, ""),
        ({"command": "sh", "args": ["-c", "kill -9 $$"]}, 137, ""),
        ({"command": "no-such-program"}, 127, ""),
        ({"command": "/etc/hostname", "args": []}, 126, ""),
        ({"command": "/etc/hostname"}, 126, ""),
        ({"command": "/", "args": []}, 126, ""),
        ({"command": "/no/such/file", "args": []}, 127, ""),
        ({"command": "pwd"}, 0, "/root\n"),
        ({"command": "pwd", "cwd": "/usr"}, 0, "/usr\n"),
        ({"command": "pwd", "args": [], "cwd": "/tmp"}, 0, "/tmp\n"),
        ({"command": "echo $A-$B", "env": {"A": "1", "B": "x y"}}, 0, "1-x y\n"),
        ({"command": "printenv", "args": ["A"], "env": {"A": "é\n"}}, 0, "é\n\n"),
        ({"command": "echo $HOME; id -u"}, 0, "/root\n0\n"),
        ({"command": "cat"}, 0, ""),
        ({"command": "cat", "stdin": ""}, 0, ""),
        ({"command": "cat", "stdin": "in é\n"}, 0, "in é\n"),
        ({"command": "cat", "args": [], "stdin": "argv in"}, 0, "argv in"),
        ({"command": "wc -c", "stdin": "a\0b"}, 0, "3\n"),
        ({"command": "cat", "stdin": "a\0b"}, 0, "a\0b"),
        ({"command": "read x; echo $x", "stdin": "first\nsecond\n"}, 0, "first\n"),
        ({"command": "head -c1", "stdin": "y" * 1_000_000}, 0, "y"),
        ({"command": "printf '\\377\\000\\303'"}, 0, "\ufffd\0\ufffd"),
        ({"command": "echo 'a\nb'"}, 0, "a\nb\n"),
        ({"command": "if true; then echo yes; fi"}, 0, "yes\n"),
        ({"command": 'echo "$0"'}, 0, "sh\n"),
        ({"command": "set -- a b; echo $#"}, 0, "2\n"),
        ({"command": "if"}, 2, ""),
        ({"command": "exec 3</etc/passwd; head -c4 <&3"}, 0, "root"),
        ({"command": "true", "timeout_secs": 0}, 0, ""),
        ({"command": "true", "timeout_secs": 86400}, 0, ""),
        (
            {"command": "true", "timeout_secs": None, "max_output_bytes": None, "cwd": None, "env": None},
            0,
            "",
        ),
        ({"command": "true", "unknown_field": [1]}, 0, ""),
    ],
)
def test_exec_body_gives_exit_code_and_output(
    api: Api, shared: str, body: dict[str, Any], code: int, out: str
) -> None:
    data = api.post(f"/v1/runtimes/{shared}/exec", body).expect(200).data
    shell_name = out == "sh\n"
    assert data["exit_code"] == code, data
    assert data["stdout"] in (("sh\n", "/bin/sh\n") if shell_name else (out,)), data


@pytest.mark.parametrize(
    "body", [{"command": "no-such-program"}, {"command": "no-such-program", "args": ["x"]}]
)
def test_exec_missing_program_says_so_on_stderr(api: Api, shared: str, body: dict[str, Any]) -> None:
    data = api.post(f"/v1/runtimes/{shared}/exec", body).expect(200).data
    assert data["exit_code"] == 127
    assert "no-such-program" in data["stderr"]
    assert "not found" in data["stderr"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"command": None},
        {"command": ""},
        {"command": 5},
        {"command": "a\0b", "args": []},
        {"command": "true", "args": "x"},
        {"command": "true", "args": [1]},
        {"command": "true", "args": ["a\0b"]},
        {"command": "true", "cwd": 7},
        {"command": "true", "cwd": "relative\0"},
        {"command": "true", "env": []},
        {"command": "true", "env": {"A": 1}},
        {"command": "true", "env": {"": "x"}},
        {"command": "true", "env": {"A=B": "x"}},
        {"command": "true", "env": {"A": "\0"}},
        {"command": "true", "stdin": 5},
        {"command": "true", "timeout_secs": -1},
        {"command": "true", "timeout_secs": "soon"},
        {"command": "true", "timeout_secs": 1.5},
        {"command": "true", "timeout_secs": 10**30},
        {"command": "true", "max_output_bytes": -1},
        {"command": "true", "max_output_bytes": 2**62},
        {"command": "true", "cwd": "/no/such/folder"},
        {"command": "true", "args": ["x" * 3_000_000]},
    ],
)
def test_exec_bad_body_is_refused(api: Api, shared: str, body: dict[str, Any]) -> None:
    answer = api.post(f"/v1/runtimes/{shared}/exec", body)
    assert answer.status == 422, answer.body[:500]
    assert answer.error[0] == "invalid_argument"


@pytest.mark.parametrize(
    ("size", "cap", "kept", "cut"),
    [(10, 10, 10, False), (11, 10, 10, True), (5, 10, 5, False), (1, 0, 0, True), (0, 0, 0, False)],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_exec_cap_keeps_first_bytes_and_flags_only_beyond(
    api: Api, shared: str, stream: str, size: int, cap: int, kept: int, cut: bool
) -> None:
    to = ">&2" if stream == "stderr" else ""
    data = api.exec(shared, f"printf '%s' {'x' * size} {to}", max_output_bytes=cap)
    other = "stdout" if stream == "stderr" else "stderr"
    assert (data[stream], data[f"{stream}_truncated"]) == ("x" * kept, cut)
    assert (data[other], data[f"{other}_truncated"]) == ("", False)


def test_exec_cap_cuts_no_character_in_half(api: Api, shared: str) -> None:
    data = api.exec(shared, "printf 'aéé'", max_output_bytes=4)
    assert (data["stdout"], data["stdout_truncated"]) == ("aé", True)


def test_exec_default_cap_is_four_mebibytes(api: Api, shared: str) -> None:
    data = api.exec(shared, "head -c 5242880 /dev/zero | tr '\\0' x")
    assert (len(data["stdout"]), data["stdout_truncated"], data["exit_code"]) == (4 << 20, True, 0)


def test_exec_beyond_cap_still_drains_to_the_end(api: Api, shared: str) -> None:
    data = api.exec(shared, "head -c 50000000 /dev/zero; echo done >&2", max_output_bytes=10)
    assert (data["exit_code"], data["stderr"], data["stdout_truncated"]) == (0, "done\n", True)


def test_exec_large_stdin_arrives_whole(api: Api, shared: str) -> None:
    data = api.exec(shared, "wc -c", stdin="\0x" * (16 << 20))
    assert data["stdout"].strip() == str(32 << 20)


def test_exec_timeout_answers_124_with_partial_output_and_kills_the_group(api: Api, runtime: str) -> None:
    began = time.monotonic()
    data = api.exec(runtime, "echo out; echo err >&2; sleep 555 & sleep 555", timeout_secs=1)
    assert time.monotonic() - began < 8
    assert (data["exit_code"], data["stdout"]) == (124, "out\n")
    assert data["stderr"] == "err\nCommand timed out after 1 seconds.\n"
    assert data["duration_ms"] >= 1000
    assert api.exec(runtime, "pgrep -x sleep")["stdout"] == ""


def test_exec_timeout_kills_what_ignores_term(api: Api, runtime: str) -> None:
    data = api.exec(runtime, "trap '' TERM; echo on; while :; do sleep 1; done", timeout_secs=1)
    assert (data["exit_code"], data["stdout"]) == (124, "on\n")
    assert api.exec(runtime, "pgrep -x sleep")["stdout"] == ""


def test_exec_background_child_holds_nothing_and_lives_on(api: Api, runtime: str) -> None:
    began = time.monotonic()
    data = api.exec(runtime, "sleep 444 & echo started")
    assert time.monotonic() - began < 30
    assert (data["exit_code"], data["stdout"]) == (0, "started\n")
    assert api.sh(runtime, "pgrep -fx 'sleep 444' | wc -l").strip() == "1"


def test_exec_background_child_may_write_after_the_answer(api: Api, runtime: str) -> None:
    api.sh(runtime, "(sleep 1; echo late; echo late >&2; echo alive > /root/alive) & echo started")
    deadline = time.monotonic() + 10
    while api.read_file(runtime, "/root/alive").status == 404 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert api.read_file(runtime, "/root/alive").body == b"alive\n"


def test_exec_many_at_once_run_beside_each_other(server: Server, runtime: str) -> None:
    found: list[str] = []

    def one(number: int) -> None:
        with server.api() as client:
            found.append(client.sh(runtime, f"sleep 1; echo {number}"))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(24)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(f"{number}\n" for number in range(24))
    assert time.monotonic() - began < 12


def test_exec_client_disconnect_kills_the_command(server: Server, api: Api, runtime: str) -> None:
    body = b'{"command":"sleep 333","args":null}'
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"POST /v1/runtimes/{runtime}/exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        connection.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        deadline = time.monotonic() + 10
        while api.exec(runtime, "pgrep -fx 'sleep 333'")["exit_code"] != 0:
            assert time.monotonic() < deadline, "the command did not start"
    deadline = time.monotonic() + 10
    while api.exec(runtime, "pgrep -fx 'sleep 333'")["exit_code"] == 0:
        assert time.monotonic() < deadline, "the command outlived its client"
        time.sleep(0.1)


def test_exec_by_display_name_and_ambiguous_name(api: Api, make_runtime: Callable[..., str]) -> None:
    first = make_runtime(name="exec-by-name")
    assert api.exec("exec-by-name", "hostname")["exit_code"] == 0
    second = make_runtime(name="exec-by-name")
    answer = api.post("/v1/runtimes/exec-by-name/exec", {"command": "true"})
    assert (answer.status, answer.error[0]) == (409, "failed_precondition")
    assert first in answer.error[1]
    assert second in answer.error[1]


def test_exec_environment_is_clean(api: Api, shared: str) -> None:
    names = {line.partition("=")[0] for line in api.sh(shared, "env").splitlines()}
    assert not {name for name in names if name.startswith("RUNYARD")}
    assert {"HOME", "PATH"} <= names


def test_exec_duration_is_wall_clock(api: Api, shared: str) -> None:
    assert 500 <= api.exec(shared, "sleep 0.5")["duration_ms"] < 5000
