"""Remote actions against a real sshd on loopback: commands, scripts, several hosts, time-outs and refusals."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.acceptance.test_st2_wire import Door
from tests.support.http import Api
from tests.support.server import free_port

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="needs sshd (apt-get install openssh-server)")


@dataclass(frozen=True)
class Sshd:
    """A running sshd and a key that it accepts."""

    port: int
    key: str


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Run an sshd on loopback that lets one key in as the user of the tests."""
    folder = tmp_path_factory.mktemp("sshd")
    host, user = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    (folder / "host").write_bytes(host.export_private_key())
    (folder / "host").chmod(0o600)
    (folder / "authorized").write_bytes(user.export_public_key())
    port = free_port()
    lines = [
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder}/host", "UsePAM no", "StrictModes no",
        f"AuthorizedKeysFile {folder}/authorized", "PermitRootLogin yes", "PasswordAuthentication no",
        "Subsystem sftp internal-sftp", f"PidFile {folder}/pid",
    ]  # fmt: skip
    (folder / "config").write_text("\n".join(lines) + "\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stderr=log)
    try:
        wait_for_port(port)
        yield Sshd(port, user.export_private_key().decode())
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "sshd did not start"
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def door(api: Api) -> Door:
    """Return the door of the session's server."""
    return Door(api)


def remote(door: Door, sshd: Sshd, **parameters: Any) -> dict[str, Any]:
    """Run core.remote to its end and return the execution."""
    given = {"hosts": f"127.0.0.1:{sshd.port}", "username": "root", "private_key": sshd.key, **parameters}
    made = door("POST", "/v1/executions", {"action": "core.remote", "parameters": given})
    return door.ended(made.expect(201).json()["id"])


def test_remote_command_has_its_result_by_host(door: Door, sshd: Sshd) -> None:
    ended = remote(door, sshd, cmd="echo $GIVEN; pwd >&2; exit 5", env={"GIVEN": "a 'b"}, cwd="/usr")
    assert ended["status"] == "failed"
    assert ended["result"] == {
        "127.0.0.1": {
            "failed": True, "succeeded": False, "return_code": 5, "stdout": "a 'b", "stderr": "/usr",
        }
    }  # fmt: skip
    assert ended["parameters"]["private_key"] == "********"
    assert remote(door, sshd, cmd="true")["status"] == "succeeded"


def test_remote_command_succeeds_only_where_all_hosts_do(door: Door, sshd: Sshd) -> None:
    ended = remote(door, sshd, hosts=f"127.0.0.1:{sshd.port}, localhost:{free_port()}", cmd="echo here")
    assert ended["status"] == "failed"
    assert ended["result"]["127.0.0.1"]["stdout"] == "here"
    assert "Failed connecting to host localhost" in ended["result"]["localhost"]["error"]


def test_remote_command_that_takes_too_long_times_out(door: Door, sshd: Sshd) -> None:
    ended = remote(door, sshd, cmd="echo begun; sleep 30", timeout=1)
    assert ended["status"] == "timeout"
    assert ended["result"]["127.0.0.1"]["return_code"] == -9
    assert ended["result"]["127.0.0.1"]["stdout"] == "begun"


def test_remote_command_is_canceled(door: Door, sshd: Sshd) -> None:
    given = {
        "hosts": f"127.0.0.1:{sshd.port}", "username": "root", "private_key": sshd.key, "cmd": "sleep 30",
    }  # fmt: skip
    made = door("POST", "/v1/executions", {"action": "core.remote", "parameters": given}).expect(201).json()
    path = f"/v1/executions/{made['id']}"
    deadline = time.monotonic() + 10
    while door("GET", path).json()["status"] != "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    door("DELETE", path).expect(200)
    assert door.ended(made["id"])["status"] == "canceled"
