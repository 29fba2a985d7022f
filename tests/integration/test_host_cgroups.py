"""Control groups of this host, for real: limits hold, groups freeze, die and leave nothing."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.runtimes.isolation.cgroups import CgroupHost, Kind, detect
from runyard.runtimes.isolation.engine import Limits

EATER = "import sys; sys.stdin.read(1); bytearray(256 << 20)"
BOMB = """
import os, sys, time
sys.stdin.read(1)
made = 0
try:
    while made < 200:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        made += 1
except OSError:
    print(made, flush=True)
time.sleep(30)
"""


@pytest.fixture
def host() -> Iterator[CgroupHost]:
    instance = f"test{uuid.uuid4().hex[:8]}"
    host = detect(instance)
    if os.geteuid() != 0 or host.kind is Kind.NONE:
        pytest.skip("needs root and writable control groups")
    if host.kind is Kind.V2:
        pytest.skip("would move the test runner's own group about")
    host.start()
    yield host
    host.stop()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/runyard-{instance}"))


def python(script: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


async def test_memory_limit_kills_the_eater_and_counts_it(host: CgroupHost) -> None:
    if "memory" not in host.controllers:
        pytest.skip("no memory controller")
    group = host.create("eater", Limits(memory_bytes=64 << 20))
    with python(EATER) as eater:
        group.attach(eater.pid)
        eater.communicate(b"x")
    assert eater.returncode == -9
    assert group.usage().oom_kills == 1
    await group.remove()


async def test_pids_limit_stops_a_fork_bomb_and_kill_ends_it(host: CgroupHost) -> None:
    if "pids" not in host.controllers:
        pytest.skip("no pids controller")
    group = host.create("bomb", Limits(pids=20))
    with python(BOMB) as bomb:
        assert bomb.stdin is not None
        assert bomb.stdout is not None
        group.attach(bomb.pid)
        bomb.stdin.write(b"x")
        bomb.stdin.flush()
        assert int(bomb.stdout.readline()) < 20
        assert group.usage().pids == 20
        group.kill()
        assert bomb.wait(10) == -9
    await group.remove()
    assert group.usage().pids in (0, None)


async def test_cpu_limit_is_taken_by_the_kernel(host: CgroupHost) -> None:
    if "cpu" not in host.controllers:
        pytest.skip("no cpu controller")
    group = host.create("slow", Limits(cpus=0.25))
    group.set_limits(Limits(cpus=2))
    group.set_limits(Limits())
    await group.remove()


async def test_frozen_processes_stand_still_and_can_be_killed(host: CgroupHost) -> None:
    group = host.create("ice", Limits())
    with python("import sys\nwhile True: sys.stdout.write(sys.stdin.readline()); sys.stdout.flush()") as echo:
        assert echo.stdin is not None
        assert echo.stdout is not None
        group.attach(echo.pid)
        echo.stdin.write(b"one\n")
        echo.stdin.flush()
        assert echo.stdout.readline() == b"one\n"
        await group.freeze()
        await group.thaw()
        echo.stdin.write(b"two\n")
        echo.stdin.flush()
        assert echo.stdout.readline() == b"two\n"
        await group.freeze()
        group.kill()
        assert echo.wait(10) == -9
    await group.remove()


def test_clone_directory_is_open_only_with_the_unified_hierarchy(host: CgroupHost) -> None:
    group = host.create("fd", Limits())
    assert (group.clone_fd is not None) == (host.kind in (Kind.HYBRID, Kind.V2))


def test_start_sweeps_what_a_killed_server_left(host: CgroupHost) -> None:
    group = host.create("left", Limits())
    with python("import time; time.sleep(60)") as sleeper:
        group.attach(sleeper.pid)
        detect(host.parent_name.removeprefix("runyard-")).sweep()
        assert sleeper.wait(10) == -9


def test_start_removes_empty_groups_of_killed_servers_only(host: CgroupHost) -> None:
    killed, living, busy = (detect(f"test{uuid.uuid4().hex[:8]}") for _ in range(3))
    for one in (living, busy, killed):
        one.start()
    for one in (killed, busy):
        # What the kernel does when a server dies.
        while one._claims:
            os.close(one._claims.pop())
    group = busy.create("box", Limits())
    with python("import time; time.sleep(60)") as sleeper:
        group.attach(sleeper.pid)
        host.start()
        left = {path.name for path in Path("/sys/fs/cgroup").glob("*/runyard-test*")}
        assert killed.parent_name not in left
        assert {living.parent_name, busy.parent_name} <= left
        assert sleeper.poll() is None
        sleeper.kill()
    for one in (living, busy):
        one.stop()


async def test_create_makes_a_removed_parent_again(host: CgroupHost) -> None:
    for path in Path("/sys/fs/cgroup").rglob(host.parent_name):
        path.rmdir()
    group = host.create("box", Limits(pids=5))
    assert group.usage().pids == 0
    await group.remove()
