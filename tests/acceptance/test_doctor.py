"""`runyard doctor` as a process: what it finds, what it says to do, and that it changes nothing."""

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.infrastructure import fake_tool
from tests.support.postgres import Postgres
from tests.support.server import Server, default_command

PROCESS = {"RUNYARD_RUNTIMES__ENGINE": "process"}
"""Spares the probes of the other engine, where they are not the subject."""


def examine(server: Server, **more: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run it with the settings of a server; return the exit status and the findings by name."""
    command = [*default_command()[:-1], "doctor", "--json"]
    done = subprocess.run(
        command, env={**server.environment(), **more}, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, {one["name"]: one for one in json.loads(done.stdout)["items"]}


def test_doctor_on_a_new_folder_finds_it_good_and_leaves_no_data(
    fresh_server: Callable[..., Server],
) -> None:
    server = fresh_server(start=False)
    status, found = examine(server, **PROCESS)
    assert status == 0
    assert found["engine"]["status"] == "warning"
    assert found["server"]["detail"].startswith("not running")
    fake_tool(server.data_dir / "tools", {})
    status, found = examine(server, **PROCESS)
    assert status == 0
    assert "terraform 9.9.9" in found["infrastructure tools"]["detail"]
    status, found = examine(
        server, **PROCESS, PATH="/nonexistent", RUNYARD_INFRASTRUCTURE__TOOLS_FOLDER="/none"
    )
    assert (status, found["infrastructure tools"]["status"]) == (0, "warning")
    assert "/none/tofu" in found["infrastructure tools"]["fix"]
    assert found["git"]["status"] == "warning"
    assert not (server.data_dir / "runyard.db").exists()
    assert not (server.data_dir / "lock").exists()


def test_doctor_beside_a_running_server_says_so_and_disturbs_nothing(
    fresh_server: Callable[..., Server],
) -> None:
    server = fresh_server()
    with server.api() as api:
        runtime = api.create()["id"]
        status, found = examine(server)
        assert found["server"]["detail"] == "a server runs on this data folder"
        assert status == 0, found
        assert api.sh(runtime, "echo alive") == "alive\n"
        assert api.sh(api.create()["id"], "echo new") == "new\n"


def test_doctor_says_what_to_do_about_each_fault(fresh_server: Callable[..., Server], tmp_path: Path) -> None:
    server = fresh_server(start=False)
    server.data_dir.mkdir(parents=True, mode=0o755)
    server.data_dir.chmod(0o755)
    with socket.create_server(("127.0.0.1", server.port)):
        faulty = {"RUNYARD_DATABASE_URL": "postgresql://someone:pw-in-url@127.0.0.1:1/none"}
        status, found = examine(server, **PROCESS, **faulty)
    assert status == 1
    assert (found["server"]["status"], found["database"]["status"]) == ("failed", "failed")
    assert found["data folder"]["status"] == "warning"
    assert "pw-in-url" not in json.dumps(found)
    for one in found.values():
        assert one["fix"] or one["status"] == "ok", one
    _, found = examine(server, **PROCESS, RUNYARD_DATA_DIR="/proc/none")
    assert found["data folder"]["status"] == "failed"


def test_doctor_connects_to_the_database(
    fresh_server: Callable[..., Server], postgres: Postgres, postgres_url: str
) -> None:
    status, found = examine(fresh_server(start=False), **PROCESS, RUNYARD_DATABASE_URL=postgres_url)
    assert status == 0
    assert found["database"]["detail"].startswith("PostgreSQL ")
