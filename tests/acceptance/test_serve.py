"""The server as a process: its first words, its refusals to start, and its end."""

import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ledger
from tests.support.http import Api
from tests.support.server import Server, default_command, free_port

NO_TOKEN = {"admin_token": ""}
SECONDS = 30


def printed_token(server: Server) -> list[str]:
    """Return every token that stands in what the server printed."""
    return re.findall(r"ry_[A-Za-z0-9_-]{20,}", server.log_path.read_text())


def started_in_vain(server: Server, **settings: str) -> tuple[int, str]:
    """Start a process that must end by itself, and return its status and what it said."""
    environment = {
        **server.environment(),
        **{f"RUNYARD_{name.upper()}": text for name, text in settings.items()},
    }
    done = subprocess.run(
        default_command(), env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return done.returncode, done.stderr


def test_first_start_prints_a_token_once_and_says_what_is_enforced(
    fresh_server: Callable[..., Server],
) -> None:
    server = fresh_server(compiled=False, **NO_TOKEN)
    (secret,) = printed_token(server)
    text = server.log_path.read_text()
    assert server.url in text
    assert "enforced" in text
    assert (server.data_dir.stat().st_mode & 0o077) == 0
    with Api("127.0.0.1", server.port, secret) as client:
        assert client.get(f"{ledger.ROOT}/whoami").expect(200).json()["user"] == "admin"
    server.restart()
    assert printed_token(server) == [secret]
    with Api("127.0.0.1", server.port, secret) as client:
        client.get(f"{ledger.ROOT}/whoami").expect(200)
    for path in server.data_dir.rglob("runyard.db*"):
        assert secret.encode() not in path.read_bytes()


def test_given_token_is_never_printed(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server(runtimes__warm_pool_size=0)
    with server.api() as client:
        client.get(f"{ledger.ROOT}/whoami").expect(200)
    assert server.token not in server.log_path.read_text()


def test_start_that_fails_leaves_no_token_unseen(fresh_server: Callable[..., Server], tmp_path: Path) -> None:
    server = fresh_server(start=False, **NO_TOKEN)
    server.data_dir.mkdir(parents=True)
    (server.data_dir / "isolation").write_text("a file where a folder must be")
    status, said = started_in_vain(server)
    assert status == 1, said
    (server.data_dir / "isolation").unlink()
    server.start()
    assert len(printed_token(server)) == 1


def test_second_server_on_the_same_folder_is_refused(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server(runtimes__warm_pool_size=0)
    status, said = started_in_vain(server, port=str(free_port()))
    assert status == 1
    assert "another server process uses the data folder" in said
    assert "Traceback" not in said
    with server.api() as client:
        runtime = client.create()["id"]
        assert client.sh(runtime, "echo alive") == "alive\n"


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"database_url": "postgresql://nobody:pw-in-url@127.0.0.1:1/none"}, 1, "cannot reach PostgreSQL"),
        ({"database_url": "mysql://x/y"}, 1, "sqlite:/// or postgresql://"),
        ({"admin_token": "short"}, 2, "RUNYARD_ADMIN_TOKEN): Value error, needs at least 8 characters"),
        ({"host": "203.0.113.1"}, 1, "cannot listen on 203.0.113.1"),
        ({"port": "eighty"}, 2, "RUNYARD_PORT"),
        ({"runtimes__engine": "docker"}, 2, "RUNYARD_RUNTIMES__ENGINE"),
        ({"limits__bites": "1"}, 2, "RUNYARD_LIMITS__BITES"),
        ({"config": "/nonexistent/runyard.toml"}, 2, "does not exist"),
    ],
)
def test_start_with_bad_settings_ends_in_a_sentence(
    fresh_server: Callable[..., Server], settings: dict[str, str], status: int, words: str
) -> None:
    found, said = started_in_vain(fresh_server(start=False), **settings)
    assert found == status, said
    assert words in said
    assert "Traceback" not in said
    assert "pw-in-url" not in said


def test_taken_port_is_a_sentence(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server(start=False)
    with socket.create_server(("127.0.0.1", server.port)):
        status, said = started_in_vain(server)
    assert status == 1
    assert f"cannot listen on 127.0.0.1:{server.port}" in said


def test_process_engine_must_be_named_and_says_so_loudly(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server(runtimes__engine="process")
    assert "NOT ENFORCED" in server.log_path.read_text()
    with server.api() as client:
        ready = client.get(f"{ledger.ROOT}/health/ready").expect(200).json()
        assert any(one["status"] == "warning" for one in ready["checks"])
        runtime = client.create()["id"]
        assert client.sh(runtime, "echo alive") == "alive\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_with_readers_of_live_logs(
    fresh_server: Callable[..., Server], number: signal.Signals
) -> None:
    server = fresh_server(runtimes__warm_pool_size=0)
    begun = threading.Event()
    seen: list[str] = []

    def read(execution: str) -> None:
        for event in ledger.live(server, execution):
            seen.append(event.name)
            begun.set()

    def run(runtime: str) -> None:
        with server.api() as client:
            client.post(f"/v1/runtimes/{runtime}/exec", {"command": "echo begun; exec sleep 600"})

    with server.api() as client:
        runtime = client.create()["id"]
        threads = [threading.Thread(target=run, args=(runtime,))]
        threads[0].start()
        deadline = time.monotonic() + SECONDS
        while not (rows := ledger.executions(client, status="running")):
            assert time.monotonic() < deadline
        threads.append(threading.Thread(target=read, args=(rows[0]["id"],)))
        threads[1].start()
        assert begun.wait(SECONDS)
    assert server.process is not None
    server.traces.collect(server.pid)
    started = time.monotonic()
    server.process.send_signal(number)
    assert server.process.wait(SECONDS) == 0
    assert time.monotonic() - started < 10
    server.process = None
    for thread in threads:
        thread.join(SECONDS)
    assert seen[0] == "output"
    assert "Traceback" not in server.log_path.read_text()


def test_log_is_json_lines_and_follows_requests_by_id(fresh_server: Callable[..., Server]) -> None:
    import json

    server = fresh_server(runtimes__warm_pool_size=0)
    assert server.stop() == 0
    lines = [line for line in server.log_path.read_text().splitlines() if line.startswith("{")]
    assert lines
    assert all({"event", "level", "timestamp"} <= json.loads(line).keys() for line in lines)
