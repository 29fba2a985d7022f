"""Remote actions against a real sshd on loopback: commands, scripts, several hosts, time-outs and refusals."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_st2_wire import Door
from tests.support.http import Api
from tests.support.server import Server, free_port
from tests.support.sshd import SSHD, Sshd, running_sshd

NEEDS_SUDO = pytest.mark.skipif(shutil.which("sudo") is None, reason="needs sudo (apt-get install sudo)")
pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="needs sshd (apt-get install openssh-server)")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Run an sshd for the tests of this file."""
    with running_sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


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


def wait_for(path: Path) -> str:
    """Wait for a file with a line in it and return the line."""
    deadline = time.monotonic() + 10
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.05)
    return path.read_text().strip()


@pytest.mark.parametrize("sudo", [False, pytest.param(True, marks=NEEDS_SUDO)])
def test_canceled_remote_command_is_killed_on_its_host(
    door: Door, sshd: Sshd, tmp_path: Path, *, sudo: bool
) -> None:
    note = tmp_path / "pids"
    cmd = f"sleep 97 & echo $! > {note}; wait"
    given = {
        "hosts": f"127.0.0.1:{sshd.port}", "username": "root", "private_key": sshd.key, "cmd": cmd,
    }  # fmt: skip
    action = "core.remote_sudo" if sudo else "core.remote"
    made = door("POST", "/v1/executions", {"action": action, "parameters": given}).expect(201).json()
    pid = wait_for(note)
    door("DELETE", f"/v1/executions/{made['id']}").expect(200)
    assert door.ended(made["id"])["status"] == "canceled"
    assert not alive(pid)


def alive(pid: str) -> bool:
    """Tell whether a process lives; a zombie does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_remote_command_that_timed_out_is_killed_on_its_host(door: Door, sshd: Sshd, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    ended = remote(door, sshd, cmd=f"sleep 97 & echo $! > {note}; echo begun; wait", timeout=1)
    assert ended["status"] == "timeout"
    result = ended["result"]["127.0.0.1"]
    assert (result["return_code"], result["stdout"]) == (-9, "begun")
    assert not alive(wait_for(note))


def test_remote_command_goes_through_a_bastion(door: Door, sshd: Sshd) -> None:
    ended = remote(door, sshd, cmd="echo $SSH_CONNECTION", bastion_host=f"127.0.0.1:{sshd.port}")
    assert ended["status"] == "succeeded", ended
    assert ended["result"]["127.0.0.1"]["stdout"].split()[3] == str(sshd.port)
    closed = remote(door, sshd, cmd="true", bastion_host=f"127.0.0.1:{free_port()}")
    assert closed["status"] == "failed"
    assert "Failed connecting to host" in closed["result"]["127.0.0.1"]["error"]


@NEEDS_SUDO
def test_remote_command_runs_by_sudo_and_never_reads_the_password(door: Door, sshd: Sshd) -> None:
    given = {
        "hosts": f"127.0.0.1:{sshd.port}",
        "username": "root",
        "private_key": sshd.key,
        "env": {"KEPT": "yes"},
    }
    for more in ({}, {"sudo_password": "pass-for-sudo"}):
        made = door(
            "POST", "/v1/executions",
            {"action": "core.remote_sudo", "parameters": {**given, **more, "cmd": "cat; echo $SUDO_USER $KEPT"}},
        )  # fmt: skip
        ended = door.ended(made.expect(201).json()["id"])
        assert ended["result"]["127.0.0.1"]["stdout"] == "root yes", ended


def test_remote_script_runs_from_its_folder_and_is_taken_away(
    door: Door, sshd: Sshd, server: Server, tmp_path: Path
) -> None:
    folder = server.data_dir / "packs" / "afar"
    (folder / "actions").mkdir(parents=True, exist_ok=True)
    (folder / "pack.yaml").write_text("ref: afar\nname: afar\nversion: 1.0.0\nauthor: T\ndescription: D\n")
    (folder / "actions" / "tell.yaml").write_text(
        "name: tell\nrunner_type: remote-shell-script\nentry_point: tell.sh\nparameters:\n"
        "  first: {type: string, position: 0}\n  loud: {type: boolean, default: true}\n"
    )
    (folder / "actions" / "tell.sh").write_text('#!/bin/sh\necho "$0 $*"\npwd\n')
    door("POST", "/v1/packs/register", {"packs": ["afar"]}).expect(200)
    given = {
        "hosts": f"127.0.0.1:{sshd.port}", "username": "root", "private_key": sshd.key, "dir": str(tmp_path),
        "cwd": "/usr", "first": "it's one",
    }  # fmt: skip
    made = door("POST", "/v1/executions", {"action": "afar.tell", "parameters": given}).expect(201).json()
    ended = door.ended(made["id"])
    assert ended["status"] == "succeeded", ended
    path = f"{tmp_path}/{made['id']}/tell.sh"
    assert ended["result"]["127.0.0.1"]["stdout"] == f"{path} --loud it's one\n/usr"
    assert not list(tmp_path.iterdir())


def test_keys_of_the_servers_own_user_are_not_offered(server: Server, door: Door, sshd: Sshd) -> None:
    own = server.folder / ".ssh" / "id_ed25519"
    own.parent.mkdir(mode=0o700)
    own.write_text(sshd.key)
    own.chmod(0o600)
    try:
        ended = remote(door, sshd, private_key=None, cmd="echo in")
    finally:
        shutil.rmtree(own.parent)
    assert ended["status"] == "failed"
    assert "Failed connecting to host 127.0.0.1" in ended["result"]["127.0.0.1"]["error"]
