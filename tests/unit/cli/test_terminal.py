"""The command line as a process: signals, stdin, a real terminal, a reader that leaves."""

import os
import re
import signal
import termios
from pathlib import Path

from tests.fakes.exec_stream import Session
from tests.fakes.native_server import NativeServer
from tests.support.cli import (
    Starter,
    TerminalStarter,
    read_descriptor_until,
    read_until,
    run_process,
)


def test_exec_with_piped_stdin_forwards_all_of_it(fake: NativeServer, environment: dict[str, str]) -> None:
    fake.add_runtime("web")
    payload = ("0123456789" * 10 + "\n") * 10_000
    ran = run_process(environment, "exec", "-i", "web", "--", "cat", stdin=payload.encode())
    assert ran.expect(0).out == payload


def test_exec_without_i_reads_nothing_of_our_stdin(fake: NativeServer, environment: dict[str, str]) -> None:
    fake.add_runtime("web")
    assert run_process(environment, "exec", "web", "--", "cat", stdin=b"secret").expect(0).out == ""


def test_first_interrupt_is_forwarded_and_the_status_is_the_commands(
    fake: NativeServer, started: Starter
) -> None:
    fake.add_runtime("web")
    process = started("exec", "web", "--", "sleep", "INT")
    read_until(process, b"sleeping\n")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, b"got INT\n")
    assert b"Ctrl-C again within 2 s kills" in err


def test_second_interrupt_within_two_seconds_kills(fake: NativeServer, started: Starter) -> None:
    fake.add_runtime("web")
    process = started("exec", "web", "--", "sleep")
    read_until(process, b"sleeping\n")
    process.send_signal(signal.SIGINT)
    read_until(process, b"got INT\n")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, b"got KILL\n")


def test_kill_of_a_server_that_answers_nothing_still_ends(fake: NativeServer, started: Starter) -> None:
    def deaf(session: Session) -> None:
        session.out(b"deaf\n")
        while session.frames.get(timeout=30) is not None:
            session.out(b"heard\n")

    fake.programs["deaf"] = deaf
    fake.add_runtime("web")
    process = started("exec", "web", "--", "deaf")
    read_until(process, b"heard\n")
    process.send_signal(signal.SIGINT)
    read_until(process, b"heard\n")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_terminated_run_kills_the_command_and_deletes_the_runtime(
    fake: NativeServer, started: Starter
) -> None:
    process = started("run", "--", "sleep")
    read_until(process, b"sleeping\n")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert fake.left.wait(10), "leaving closes the connection, which ends the command"
    assert fake.runtimes == {}


def test_interrupt_while_following_detaches_and_says_how_to_come_back(
    fake: NativeServer, started: Starter
) -> None:
    found = fake.add_execution(("stdout", b"one\n"), ("stdout", b"two\n"), status="running")
    fake.logs[found].open = True
    process = started("logs", "-f", found)
    read_until(process, b"two\n")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    fake.left.set()
    assert process.returncode == 130
    assert f"runyard logs -f --offset 8 {found}".encode() in err
    assert fake.paths("POST") == [], "detaching cancels nothing"


def test_reader_that_leaves_ends_the_command_quietly(fake: NativeServer, started: Starter) -> None:
    def flood(session: Session) -> None:
        while session.frames.empty() or session.frames.get() is not None:
            session.out(b"y\n" * 10_000)

    fake.programs["flood"] = flood
    fake.add_runtime("web")
    process = started("exec", "web", "--", "flood")
    read_until(process, b"y\n")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_exec_on_a_terminal_is_raw_sized_and_restored(
    fake: NativeServer, environment: dict[str, str], terminal: TerminalStarter
) -> None:
    sizes: list[object] = []

    def shell(session: Session) -> int:
        sizes.append((session.start["tty"], session.start["rows"], session.start["cols"]))
        session.out(b"ready> ")
        frame = session.next_frame("stdin")
        assert frame is not None
        session.out(frame["data_base64"].encode() + b" typed\r\n")
        resized = session.next_frame("resize")
        assert resized is not None
        sizes.append((resized["rows"], resized["cols"]))
        return 5

    fake.programs["shell"] = shell
    fake.add_runtime("web")
    one = terminal("exec", "-it", "web", "--", "shell")
    read_descriptor_until(one.ours, b"ready> ")
    one.type(b"\x03")
    read_descriptor_until(one.ours, b"Aw== typed")
    one.resize(50, 120)
    os.kill(one.process.pid, signal.SIGWINCH)
    assert one.process.wait(20) == 5
    assert sizes == [(True, 40, 100), (50, 120)]
    assert termios.tcgetattr(one.theirs) == one.before, "the local terminal is as it was"


def test_table_on_a_terminal_is_coloured_cut_and_relative(
    fake: NativeServer, environment: dict[str, str], terminal: TerminalStarter
) -> None:
    fake.add_execution(command="x" * 200)
    one = terminal("ps", "-a")
    data = read_descriptor_until(one.ours, b"ago").decode()
    assert "\x1b[32msucceeded\x1b[0m" in data
    assert "…" in data
    lines = re.sub(r"\x1b\[[0-9;]*m", "", data).splitlines()
    assert max(map(len, lines)) <= 100


def test_table_on_a_terminal_with_no_color_has_none(
    fake: NativeServer, environment: dict[str, str], terminal: TerminalStarter
) -> None:
    fake.add_execution()
    one = terminal("ps", "-a", NO_COLOR="1")
    assert b"\x1b" not in read_descriptor_until(one.ours, b"ago")


def test_delete_on_a_terminal_asks_first(
    fake: NativeServer, environment: dict[str, str], terminal: TerminalStarter
) -> None:
    fake.add_runtime("web")
    one = terminal("runtime", "delete", "web")
    read_descriptor_until(one.ours, b"[y/N]")
    one.type(b"n\n")
    assert one.process.wait(20) == 1
    assert len(fake.runtimes) == 1


def test_profile_set_on_a_terminal_asks_for_the_token_without_echo(
    environment: dict[str, str], terminal: TerminalStarter, tmp_path: Path
) -> None:
    one = terminal("profile", "set", "x", "--url", "http://127.0.0.1:1")
    read_descriptor_until(one.ours, b"Token")
    one.type(b"ry_hidden\n")
    shown = read_descriptor_until(one.ours, b"stored in")
    assert one.process.wait(20) == 0
    assert b"ry_hidden" not in shown
    assert "ry_hidden" in (tmp_path / ".config" / "runyard" / "config.toml").read_text()


def test_profile_set_with_stdin_stores_the_token(environment: dict[str, str], tmp_path: Path) -> None:
    run_process(environment, "profile", "set", "x", "--token-stdin", stdin=b"ry_piped\n").expect(0)
    assert "ry_piped" in (tmp_path / ".config" / "runyard" / "config.toml").read_text()


def test_interrupt_during_the_handshake_ends_at_once(fake: NativeServer, started: Starter) -> None:
    fake.add_runtime("web")
    fake.hold = True
    process = started("exec", "web", "--", "true")
    assert fake.held.wait(20)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_interrupt_during_the_create_of_a_run_leaves_no_runtime(fake: NativeServer, started: Starter) -> None:
    fake.hold = True
    process = started("run", "--", "true")
    assert fake.held.wait(20)
    fake.hold = False
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    keys = {one.headers["idempotency-key"] for one in fake.seen if one.method == "POST"}
    assert len(keys) == 1, "asked again with the same key, so the server knows which runtime is meant"
    assert len(fake.paths("DELETE")) == 1
