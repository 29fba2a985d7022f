"""The command line against a real server: what people do with it, from the first command to Ctrl-C."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.support.cli import (
    Ran,
    Starter,
    TerminalStarter,
    environment_for,
    read_until,
    run_process,
)
from tests.support.proxy import CuttingProxy
from tests.support.server import Server

Runyard = Callable[..., Ran]


@pytest.fixture
def environment(server: Server, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a command that talks to the session's server."""
    return environment_for(tmp_path, server.url, server.token)


@pytest.fixture
def runyard(environment: dict[str, str]) -> Runyard:
    """Return a runner of command lines."""

    def run(*arguments: str, stdin: bytes = b"", timeout: float = 60, **more: str) -> Ran:
        return run_process(environment | more, *arguments, stdin=stdin, timeout=timeout)

    return run


@pytest.fixture
def started(environment: dict[str, str]) -> Iterator[Starter]:
    """Return a starter of command lines in the background."""
    with Starter(environment) as starter:
        yield starter


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[TerminalStarter]:
    """Return a starter of command lines on terminals."""
    with TerminalStarter(environment) as starter:
        yield starter


def wait_for(question: Callable[[], bool], what: str, seconds: float = 15) -> None:
    """Ask again and again until the answer is yes."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.05)


def running(runyard: Runyard, runtime: str, text: str) -> int:
    """Count the processes inside whose command line has a text."""
    listed = runyard("exec", runtime, "--", "ps", "-eo", "args").expect(0).out.splitlines()
    return sum(1 for line in listed if text in line)


def test_exec_passes_output_streams_and_status(runyard: Runyard, runtime: str) -> None:
    ran = runyard("exec", runtime, "-c", "echo out; echo err >&2; exit 42")
    assert (ran.status, ran.out, ran.err) == (42, "out\n", "err\n")


def test_exec_with_argv_needs_no_quoting(runyard: Runyard, runtime: str) -> None:
    ran = runyard("exec", runtime, "--", "printf", "%s|", "a b", "$HOME", "*", "")
    assert ran.expect(0).out == "a b|$HOME|*||"


def test_exec_with_cwd_and_variables_runs_there(runyard: Runyard, runtime: str) -> None:
    ran = runyard(
        "exec",
        "--cwd",
        "/tmp",
        "-e",
        "A=1",
        "-e",
        "SESAME",
        runtime,
        "-c",
        "pwd; echo $A $SESAME",
        SESAME="open",
    )
    assert ran.expect(0).out == "/tmp\n1 open\n"


@pytest.mark.parametrize(
    ("command", "status"), [("/no/such/program", 127), ("/etc/passwd", 126), ("false", 1)]
)
def test_exec_of_what_cannot_run_ends_as_in_a_shell(
    runyard: Runyard, runtime: str, command: str, status: int
) -> None:
    assert runyard("exec", runtime, "--", command).status == status


def test_exec_with_timeout_ends_with_124_and_says_who_ended_it(runyard: Runyard, runtime: str) -> None:
    done = (
        runyard("exec", "--timeout", "1", "--json", runtime, "-c", "echo begun; sleep 60").expect(124).json()
    )
    assert (done["stdout"], done["ended_by"], done["exit_code"]) == ("begun\n", "timeout", 124)
    plain = runyard("exec", "--timeout", "1", runtime, "--", "sleep", "60").expect(124)
    assert "timeout" in plain.err


def test_exec_killed_by_a_signal_ends_with_128_and_its_number(runyard: Runyard, runtime: str) -> None:
    assert runyard("exec", runtime, "-c", "kill -TERM $$").status == 143


def test_exec_with_binary_stdin_loses_no_byte(runyard: Runyard, runtime: str) -> None:
    payload = os.urandom(3 << 20)
    done = run_bytes(runyard, runtime, payload)
    assert done == payload


def run_bytes(runyard: Runyard, runtime: str, payload: bytes) -> bytes:
    """Send bytes through `cat` and return what came back, by way of hexadecimal digits."""
    return bytes.fromhex(runyard("exec", "-i", runtime, "-c", "od -An -v -tx1", stdin=payload).expect(0).out)


def test_exec_without_i_reads_an_empty_stdin(runyard: Runyard, runtime: str) -> None:
    assert runyard("exec", runtime, "--", "cat", stdin=b"x").expect(0).out == ""


def test_exec_in_unknown_runtime_is_ours_to_fail(runyard: Runyard) -> None:
    error = runyard("exec", "--json", "no-such-runtime", "--", "true").expect(125).error()
    assert (error["http_status"], error["exit_status"]) == (404, 125)
    assert error["request_id"]


def test_interrupt_is_forwarded_and_leaves_nothing_running(
    runyard: Runyard, started: Starter, runtime: str
) -> None:
    process = started(
        "exec", runtime, "-c", "trap 'echo caught; exit 7' INT; echo up; while :; do sleep 0.1; done"
    )
    read_until(process, b"up\n")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (7, b"caught\n")


def test_second_interrupt_kills_a_command_that_ignores_the_first(
    runyard: Runyard, started: Starter, runtime: str
) -> None:
    process = started(
        "exec", runtime, "-c", "trap 'echo ignored' INT; echo up; while :; do sleep 0.1; done # stubborn"
    )
    read_until(process, b"up\n")
    process.send_signal(signal.SIGINT)
    read_until(process, b"ignored\n")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    wait_for(lambda: running(runyard, runtime, "stubborn") == 0, "the end of the command")


def test_killed_client_takes_its_command_along(runyard: Runyard, started: Starter, runtime: str) -> None:
    process = started("exec", runtime, "-c", "echo up; sleep 4242")
    read_until(process, b"up\n")
    process.kill()
    wait_for(lambda: running(runyard, runtime, "sleep 4242") == 0, "the end of the command")


def test_terminal_session_is_a_real_terminal(terminal: TerminalStarter, runtime: str) -> None:
    one = terminal("exec", "-it", runtime, "--", "sh")
    one.type(b"test -t 0 && stty size && echo te''rm=$TERM\n")
    assert b"40 100\r\n" in one.read_until(b"term=xterm")
    one.resize(33, 77)
    os.kill(one.process.pid, signal.SIGWINCH)
    # The signal must meet what prints this, which becomes the sleep: grep would take it for the loop to go on.
    one.type(
        b"until stty size | grep -x '33 77'; do sleep 0.05; done; sh -c 'echo as''leep; exec sleep 4243'\n"
    )
    assert b"33 77\r\n" in one.read_until(b"asleep\r\n")
    one.type(b"\x03")
    one.type(b"exit 9\n")
    assert one.process.wait(20) == 9, "Ctrl-C ended the sleep inside, not us"


def test_run_uses_a_fresh_runtime_and_leaves_only_the_record(runyard: Runyard) -> None:
    ran = runyard("run", "--name", "one-shot", "--network", "none", "-c", "echo here; exit 3")
    assert (ran.status, ran.out) == (3, "here\n")
    assert "one-shot" not in runyard("runtime", "list").expect(0).out
    newest = runyard("execution", "list", "--limit", "1", "--json").json()["items"][0]
    assert (newest["place"]["name"], newest["exit_code"], newest["status"]) == ("one-shot", 3, "failed")
    assert runyard("logs", newest["id"]).expect(0).out == "here\n"
    assert runyard("logs").expect(0).out == "here\n"


def test_terminated_run_deletes_its_runtime(runyard: Runyard, started: Starter) -> None:
    process = started("run", "--name", "cut-short", "-c", "echo up; sleep 60")
    read_until(process, b"up\n")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert "cut-short" not in runyard("runtime", "list").expect(0).out


def test_runtime_life_cycle(runyard: Runyard) -> None:
    made = runyard("runtime", "create", "cycle", "--memory", "256M", "-e", "A=b", "--json").expect(0).json()
    try:
        assert (made["status"], made["memory_mib"], made["egress"]) == ("running", 256, "open")
        runyard("exec", "cycle", "-c", "echo $A > /root/a").expect(0)
        for verb, status in (
            ("pause", "paused"),
            ("resume", "running"),
            ("stop", "shutdown"),
            ("start", "running"),
        ):
            items = runyard("runtime", verb, "cycle", "--json").expect(0).json()["items"]
            assert items[0]["status"] in (status, "creating")
        assert runyard("exec", "cycle", "--", "cat", "/root/a").expect(0).out == "b\n"
        runyard("runtime", "stop", "cycle").expect(0)
        refused = runyard("runtime", "pause", "cycle", "--json").expect(6).error()
        assert refused["http_status"] == 409
        runyard("exec", "cycle", "--", "true").expect(125)
    finally:
        runyard("runtime", "delete", made["id"], "--yes").expect(0)
    runyard("runtime", "get", made["id"]).expect(3)


def test_pasted_address_names_the_runtime(runyard: Runyard, server: Server, runtime: str) -> None:
    url = f"{server.url}/runyard/v1/runtimes/{runtime}"
    assert runyard("runtime", "get", url, "--output", "name").expect(0).out == f"{runtime}\n"


def test_files_go_in_and_out_unchanged(runyard: Runyard, runtime: str, tmp_path: Path) -> None:
    payload = os.urandom(5 << 20)
    (tmp_path / "a.bin").write_bytes(payload)
    runyard("runtime", "cp", str(tmp_path / "a.bin"), f"{runtime}:/srv/new/folder/").expect(0)
    runyard("runtime", "cp", f"{runtime}:/srv/new/folder/a.bin", str(tmp_path / "b.bin")).expect(0)
    assert (tmp_path / "b.bin").read_bytes() == payload
    runyard("runtime", "files", "put", "-", runtime, "/tmp/note", stdin=b"hello\n").expect(0)
    assert runyard("runtime", "files", "get", runtime, "/tmp/note").expect(0).out == "hello\n"
    runyard("runtime", "files", "get", runtime, "/tmp/nothing").expect(3)


def test_checkpoint_restores_the_files_into_a_new_runtime(runyard: Runyard, runtime: str) -> None:
    runyard("exec", runtime, "-c", "echo kept > /root/marker").expect(0)
    made = runyard("checkpoint", "create", runtime, "--name", "cli-copy", "--json").expect(0).json()
    assert made["state"] == "ready"
    try:
        shown = runyard("run", "--checkpoint", made["id"], "--", "cat", "/root/marker")
        assert shown.expect(0).out == "kept\n"
        assert "cli-copy" in runyard("checkpoint", "list").expect(0).out
    finally:
        runyard("checkpoint", "delete", made["id"], "--yes").expect(0)


def test_followed_log_through_cuts_has_every_line_once(
    server: Server, environment: dict[str, str], runtime: str
) -> None:
    with CuttingProxy(server.port) as proxy, Starter(environment) as started:
        command = started("exec", runtime, "-c", "for i in $(seq 40); do echo line $i; sleep 0.05; done")
        read_until(command, b"line 1\n")
        follower = started("logs", "-f", runtime, RUNYARD_URL=f"http://127.0.0.1:{proxy.port}")
        head = read_until(follower, b"line 3\n")
        proxy.cut()
        head += read_until(follower, b"line 9\n")
        proxy.cut()
        rest, err = follower.communicate(timeout=30)
        assert b"reconnecting" in err
        assert (head + rest).decode().splitlines() == [f"line {number}" for number in range(1, 41)]


def test_interrupt_while_following_detaches_only(runyard: Runyard, started: Starter, runtime: str) -> None:
    command = started("exec", runtime, "-c", "echo up; sleep 60")
    read_until(command, b"up\n")
    follower = started("logs", "-f", runtime)
    read_until(follower, b"up\n")
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=20)
    assert follower.returncode == 130
    assert b"runyard logs -f --offset 3 " in err
    assert command.poll() is None


def test_ps_cancel_wait_and_history_tell_one_story(runyard: Runyard, started: Starter, runtime: str) -> None:
    command = started("exec", runtime, "-c", "echo up; sleep 60")
    read_until(command, b"up\n")
    listed = runyard("ps", "--runtime", runtime, "--json").expect(0).json()["items"]
    assert [(one["status"], one["command"]) for one in listed] == [("running", "echo up; sleep 60")]
    found = listed[0]["id"]
    canceled = (
        runyard("execution", "cancel", found, "--reason", "enough", "--json").expect(0).json()["items"][0]
    )
    assert canceled["status"] in ("canceling", "canceled")
    waited = runyard("execution", "wait", found, "--json")
    assert waited.json()["status"] == "canceled"
    assert waited.status != 0
    assert command.wait(20) != 0
    history = runyard("execution", "history", found, "--json").expect(0).json()["items"]
    assert "enough" in str(history)
    assert runyard("ps", "--runtime", runtime).expect(0).out == ""


def test_execution_search_finds_lines_on_the_server(runyard: Runyard, runtime: str) -> None:
    runyard("exec", runtime, "-c", "seq 1 500; echo Traceback here").expect(0)
    newest = runyard(
        "execution", "list", "--runtime", runtime, "--limit", "1", "--output", "name"
    ).out.strip()
    hit = runyard("execution", "search", "-i", newest, "traceback").expect(0)
    assert hit.out == "501:Traceback here\n"
    runyard("execution", "search", newest, "no such text").expect(1)
    assert runyard("logs", "-n", "2", newest).expect(0).out == "500\nTraceback here\n"


def test_token_with_few_scopes_can_do_no_more(runyard: Runyard, runtime: str) -> None:
    made = (
        runyard("token", "create", "reader", "--scope", "runtimes:read", "--expires", "1h", "--json")
        .expect(0)
        .json()
    )
    reader = {"RUNYARD_TOKEN": made["secret"]}
    runyard("runtime", "get", runtime, **reader).expect(0)
    runyard("runtime", "create", **reader).expect(4)
    runyard("exec", runtime, "--", "true", **reader).expect(125)
    assert made["token"]["id"] in runyard("token", "list").expect(0).out
    runyard("token", "revoke", made["token"]["id"], "--yes").expect(0)
    runyard("runtime", "get", runtime, **reader).expect(4)


def test_completion_offers_the_names_of_the_server(runyard: Runyard, server: Server, runtime: str) -> None:
    asked = runyard(
        _RUNYARD_COMPLETE="bash_complete", COMP_WORDS=f"runyard exec {runtime[:14]}", COMP_CWORD="2"
    )
    assert f"plain,{runtime}" in asked.out


def test_profile_is_enough_to_work(server: Server, tmp_path: Path, runtime: str) -> None:
    bare = environment_for(tmp_path, None, None)
    run_process(
        bare, "profile", "set", "here", "--url", server.url, "--token-stdin", stdin=server.token.encode()
    ).expect(0)
    assert run_process(bare, "exec", runtime, "--", "echo", "hi").expect(0).out == "hi\n"


def test_version_names_the_server(runyard: Runyard) -> None:
    assert runyard("version", "--json").expect(0).json()["server"]["version"]


def test_doctor_lists_findings_with_stable_keys(runyard: Runyard, tmp_path: Path) -> None:
    ran = runyard("doctor", "--json", "--data-dir", str(tmp_path / "data"))
    assert ran.status in (0, 1)
    items = ran.json()["items"]
    assert {"python", "kernel", "data folder", "database"} <= {one["name"] for one in items}
    assert all(set(one) == {"name", "status", "detail", "fix"} for one in items)
    assert all(one["fix"] for one in items if one["status"] == "failed")


def test_demo_shows_a_command_and_leaves_no_runtime(fresh_server: ServerFactory) -> None:
    one = fresh_server(start=False)
    one.command = [*one.command, "--demo"]
    one.start()
    wait_for(lambda: "Stop: Ctrl-C" in one.log_tail(), "the demonstration")
    log = one.log_tail()
    assert "hello from" in log
    assert "exit status 0" in log
    listed = run_process(environment_for(one.folder, one.url, one.token), "runtime", "list", "--json")
    assert listed.expect(0).json()["items"] == []


def test_serve_on_a_taken_port_is_a_sentence(server: Server, tmp_path: Path) -> None:
    ran = run_process(
        environment_for(tmp_path, None, None),
        "serve",
        "--port",
        str(server.port),
        "--data-dir",
        str(tmp_path / "d"),
    )
    assert ran.status == 1
    assert "cannot listen on 127.0.0.1" in ran.err
    assert "Traceback" not in ran.err
