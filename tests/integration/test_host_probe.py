"""Probes of this host, for real: they answer in time, explain themselves and leave nothing."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runyard.runtimes.isolation import hostns, network, probe
from runyard.runtimes.isolation.engine import Capability
from runyard.runtimes.isolation.options import DEFAULT_UID_BASE, IsolationOptions
from tests.support.mounts import leave_host_mounts

PRIVATE = """
import os, sys, threading
from runyard.runtimes.isolation import hostns, syscalls
assert hostns.enter_private_mounts() and hostns.enter_private_mounts() and hostns.mounts_are_private()
syscalls.mount("tmpfs", sys.argv[1], "tmpfs")
print(os.path.ismount(sys.argv[1]))
"""
THREADED = """
import threading
from runyard.runtimes.isolation import hostns
stop = threading.Event()
threading.Thread(target=stop.wait).start()
print(hostns.enter_private_mounts(), hostns.mounts_are_private())
stop.set()
"""


@pytest.fixture(scope="module", autouse=True)
def own_mounts() -> None:
    leave_host_mounts()


def options(folder: Path) -> IsolationOptions:
    return IsolationOptions(data_dir=folder, compile_agent=False, agent_path=Path("/bin/true"))


async def test_probe_answers_for_everything_and_leaves_nothing(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    begun = time.monotonic()
    found = await probe.probe(options(tmp_path))
    assert time.monotonic() - begun < 20
    names = [one.name for one in found]
    assert len(set(names)) == len(names)
    assert {"root", "user namespaces", "overlay file systems", "network", "agent"} <= set(names)
    for one in found:
        assert one.how
        assert one.enforced != bool(one.fix)
    assert Path("/proc/self/mounts").read_text() == mounts
    # Servers of other tests come and go beside this one: only what a probe would leave counts.
    own = ("probe", network.Uplink(options(tmp_path)).prefix)
    assert [name for _, name in socket.if_nameindex() if name.startswith(own)] == []
    assert list(tmp_path.iterdir()) == []


async def ask(run: object, folder: Path) -> Capability:
    one = probe.Probe("thing", run, "mend it")  # type: ignore[arg-type]
    return await probe._answer(one, options(folder))


async def test_failing_probe_says_why_and_what_to_do(tmp_path: Path) -> None:
    def fail(_: IsolationOptions) -> str:
        raise PermissionError("not allowed")

    answer = await ask(fail, tmp_path)
    assert (answer.enforced, answer.how, answer.fix) == (False, "not allowed", "mend it")


async def test_hanging_probe_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_SECONDS", 0.05)
    release = threading.Event()

    def hang(_: IsolationOptions) -> str:
        release.wait(10)
        return "late"

    answer = await ask(hang, tmp_path)
    release.set()
    assert not answer.enforced
    assert "in time" in answer.how
    await asyncio.sleep(0)  # the late answer must not disturb the loop


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_private_mounts_die_with_the_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRIVATE, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n", done.stderr
    assert not os.path.ismount(tmp_path)


def test_private_mounts_are_refused_with_several_threads() -> None:
    done = subprocess.run([sys.executable, "-c", THREADED], capture_output=True, text=True, check=False)
    assert done.stdout == "False False\n", done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_id_map_maps_the_whole_range_and_leaves_no_process(tmp_path: Path) -> None:
    fd = hostns.open_id_map(DEFAULT_UID_BASE)
    try:
        (tmp_path / "source").mkdir()
        (tmp_path / "shown").mkdir()
        (tmp_path / "source/file").touch()
        os.chown(tmp_path / "source/file", 65_535, 12)
        hostns.bind_id_mapped(tmp_path / "source", tmp_path / "shown", fd)
        status = (tmp_path / "shown/file").stat()
        assert (status.st_uid, status.st_gid) == (DEFAULT_UID_BASE + 65_535, DEFAULT_UID_BASE + 12)
        with pytest.raises(OSError, match="Read-only"):
            (tmp_path / "shown/new").touch()
    finally:
        os.close(fd)
        subprocess.run(["umount", tmp_path / "shown"], check=True)
