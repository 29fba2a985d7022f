"""Limits, death and revival of sandboxes of the namespaces engine, under commands that fight them."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from runyard.kernel.errors import RunyardError
from runyard.runtimes.isolation.engine import (
    Engine,
    Limits,
    Sandbox,
    SandboxGone,
    SpawnError,
    SpawnFailure,
)
from tests.support.engines import (
    Running,
    new_spec,
    read_file,
    run,
    sh,
    start,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1 << 20
BOMB = """
use POSIX;
$SIG{TERM} = $SIG{HUP} = "IGNORE";
while (1) {
  my $child = fork;
  if (!defined $child) { select undef, undef, undef, 0.01 }
  elsif (!$child && rand() < 0.5) { POSIX::setsid() }
}
"""
"""Doubles until it may not, and stays: one of shells ends at the first fork that is refused, often before anybody looks."""


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox(engine: Engine) -> AsyncIterator[Sandbox]:
    """Make a sandbox for one test."""
    made = await engine.create(new_spec(limits=Limits(memory_bytes=256 * MIB, pids=100)))
    yield made
    await made.destroy(keep_layer=False)


async def test_fork_bomb_stops_at_the_limit_and_init_goes_on(sandbox: Sandbox) -> None:
    bomb = await start(sandbox, ["perl", "-e", BOMB])

    async def bombed() -> bool:
        return ((await sandbox.usage()).pids or 0) >= 90

    await until(bombed)
    outcomes = await asyncio.gather(*(run(sandbox, "true") for _ in range(20)), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, SpawnError)
            assert outcome.reason is SpawnFailure.RESOURCES
    async with asyncio.timeout(10):
        await sandbox.destroy(keep_layer=False)
    bomb.close_stdin()
    await asyncio.gather(bomb.result(), return_exceptions=True)


async def test_kill_of_a_fork_bomb_returns_when_none_of_it_lives(sandbox: Sandbox) -> None:
    marker = f"bomb-{sandbox.id}"
    bomb = await start(sandbox, ["perl", "-e", BOMB, marker])

    async def bombed() -> bool:
        return ((await sandbox.usage()).pids or 0) >= 90

    await until(bombed)
    assert marked(marker)
    async with asyncio.timeout(10):
        await sandbox.kill()
    assert not marked(marker)
    bomb.close_stdin()
    await asyncio.gather(bomb.result(), return_exceptions=True)


def marked(marker: str) -> list[str]:
    """Return the living processes of the host whose command line has a marker; zombies have no command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if marker.encode() in entry.read_bytes():
                found.append(entry.parent.name)
    return found


async def test_sandbox_full_of_processes_answers_for_resources_and_recovers(sandbox: Sandbox) -> None:
    sleepers: list[Running] = []

    async def fill() -> None:
        for _ in range(120):
            sleepers.append(await start(sandbox, ["sleep", "1000"]))

    with pytest.raises(SpawnError) as caught:
        await fill()
    assert caught.value.reason is SpawnFailure.RESOURCES
    with pytest.raises(RunyardError):
        await read_file(sandbox, "/etc/hostname")
    for sleeper in sleepers:
        sleeper.process.signal_group(signal.SIGKILL)
    for sleeper in sleepers:
        assert (await sleeper.result()).exit.signal == signal.SIGKILL
    assert (await run(sandbox, "true")).code == 0
    assert b"box" in await read_file(sandbox, "/etc/hostname")


async def test_memory_hog_is_killed_and_said_to_be_while_init_lives(sandbox: Sandbox) -> None:
    # tail keeps its last "line" in memory, and zeros have no end of line.
    result = await run(sandbox, "tail", "/dev/zero")
    assert result.exit.signal == signal.SIGKILL
    assert result.exit.oom_killed
    behind_a_shell = await sh(sandbox, "tail /dev/zero; exit $?")
    assert behind_a_shell.exit.code == 137
    assert behind_a_shell.exit.oom_killed
    assert not (await sh(sandbox, "kill -9 $$")).exit.oom_killed
    assert (await run(sandbox, "true")).code == 0


async def test_memory_that_outlives_its_processes_leaves_room_for_init(engine: Engine) -> None:
    sandbox = await engine.create(new_spec(limits=Limits(memory_bytes=64 * MIB, pids=100)))
    for _ in range(2):
        for folder in ("/dev/shm", "/tmp", "/run", "/dev"):
            await sh(sandbox, f"head -c 300000000 /dev/zero > {folder}/fill")
        await sh(sandbox, "for i in 1 2 3 4 5 6 7 8; do ipcmk -M 16000000; ipcmk -Q; ipcmk -S 200; done")
        await sh(sandbox, "tail /dev/zero")
    assert (await sh(sandbox, "rm -f /dev/shm/fill /dev/fill; echo recovered")).text == "recovered"
    await sandbox.set_limits(Limits(memory_bytes=1 << 30, pids=100))
    assert (
        await sh(sandbox, "head -c 200000000 /dev/zero > /dev/shm/fill; stat -c %s /dev/shm/fill")
    ).text == "200000000"
    await sandbox.destroy(keep_layer=False)


async def test_kill_of_everything_inside_leaves_init_alive(sandbox: Sandbox) -> None:
    sleeper = await start(sandbox, ["sleep", "1000"])
    for _ in range(5):
        await sh(sandbox, "kill -9 -1")
        await sh(sandbox, "kill -9 1; kill -TERM 1; kill -SEGV 1; kill -STOP 1; kill -HUP 1; kill -INT 1")
    assert (await sleeper.result()).exit.signal == signal.SIGKILL
    assert (await sh(sandbox, "echo alive")).text == "alive"


@pytest.mark.parametrize(
    "command",
    [
        "prlimit --pid 1 --nofile=0:0",
        "prlimit --pid 1 --cpu=1:1",
        "prlimit --pid 1 --nproc=0:0",
        "renice -n 19 -p 1",
        "taskset -p 1 1",
        "chrt -i -p 0 1",
        "ionice -c 3 -p 1",
        "echo 1000 > /proc/1/oom_score_adj",
    ],
)
async def test_settings_of_init_cannot_be_changed_from_inside(sandbox: Sandbox, command: str) -> None:
    assert (await sh(sandbox, command)).code != 0
    assert (await sh(sandbox, "prlimit --nofile=100:100 true; nice true; taskset 1 true")).code == 0


async def test_creation_of_many_at_once_makes_them_all(engine: Engine) -> None:
    made = await asyncio.gather(*(engine.create(new_spec(hostname="x" * 80)) for _ in range(20)))
    results = await asyncio.gather(*(run(one, "hostname") for one in made))
    assert {result.text for result in results} == {"x" * 63}
    await asyncio.gather(*(one.destroy(keep_layer=False) for one in made))


async def test_file_requests_during_a_massacre_answer_or_fail_but_never_hang(sandbox: Sandbox) -> None:
    killer = await start(sandbox, ["/bin/sh", "-c", "trap '' TERM; while :; do kill -9 -1; done"])
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(
            *(read_file(sandbox, "/etc/hostname") for _ in range(60)), return_exceptions=True
        )
    assert all(isinstance(outcome, bytes | RunyardError) for outcome in outcomes)
    killer.process.signal_group(signal.SIGKILL)
    await killer.result()
    assert await read_file(sandbox, "/etc/hostname")


async def test_orphans_are_reaped(sandbox: Sandbox) -> None:
    await sh(sandbox, "for i in 1 2 3 4 5 6 7 8 9 10; do (setsid sh -c 'sleep 0.05' &) ; done")

    async def reaped() -> bool:
        return (await sh(sandbox, "ps -eo stat,comm | grep -c -e Z -e sleep")).text == "0"

    await until(reaped)


async def test_frozen_sandbox_stands_still_and_goes_on_after_thaw(sandbox: Sandbox) -> None:
    script = "while :; do echo x >> /tmp/ticks; sleep 0.01; done"
    ticker = await start(sandbox, ["/bin/sh", "-c", script])

    async def ticking() -> bool:
        return (await run(sandbox, "test", "-s", "/tmp/ticks")).code == 0

    await until(ticking)
    await sandbox.freeze()
    file = asyncio.create_task(read_file(sandbox, "/tmp/ticks"))
    await asyncio.sleep(0.2)
    assert not file.done()
    await sandbox.thaw()
    async with asyncio.timeout(10):
        before = len(await file)

    async def grown() -> bool:
        return len(await read_file(sandbox, "/tmp/ticks")) > before

    await until(grown)
    ticker.process.signal_group(signal.SIGKILL)
    await ticker.result()


async def test_frozen_sandbox_can_be_destroyed(engine: Engine) -> None:
    sandbox = await engine.create(new_spec())
    sleeper = await start(sandbox, ["sleep", "1000"])
    await sandbox.freeze()
    async with asyncio.timeout(10):
        await sandbox.destroy(keep_layer=False)
    sleeper.close_stdin()
    await asyncio.gather(sleeper.result(), return_exceptions=True)


async def test_limits_can_be_changed_on_a_living_sandbox(sandbox: Sandbox) -> None:
    await sandbox.set_limits(Limits(memory_bytes=64 * MIB, pids=20))
    assert (await sh(sandbox, "head -c 100m /dev/zero | tail >/dev/null; echo done")).text == "done"
    assert ((await sandbox.usage()).oom_kills or 0) >= 1
    await sandbox.set_limits(Limits(memory_bytes=512 * MIB, pids=20))
    assert (await sh(sandbox, "head -c 100m /dev/zero | tail | wc -c")).text == str(100 * MIB)


async def test_disk_limit_holds_and_is_told(engine: Engine) -> None:
    sandbox = await engine.create(new_spec(limits=Limits(disk_bytes=16 * MIB)))
    result = await sh(sandbox, "head -c 64m /dev/urandom > /tmp/big; echo $?")
    assert result.text != "0"
    await sandbox.destroy(keep_layer=False)


async def test_init_killed_from_outside_ends_the_sandbox_with_a_reason(engine: Engine) -> None:
    sandbox = await engine.create(new_spec())
    sleeper = await start(sandbox, ["sleep", "1000"])
    os.kill(sandbox._parts.init_pid, signal.SIGKILL)  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        assert "killed from outside by signal 9" in await sandbox.wait_gone()
    with pytest.raises(SandboxGone):
        await sleeper.process.wait()
    with pytest.raises(SandboxGone):
        await run(sandbox, "true")
    await sandbox.destroy(keep_layer=False)
    sleeper.close_stdin()
    await asyncio.gather(sleeper.result(), return_exceptions=True)


async def test_launcher_killed_ends_all_sandboxes_and_is_started_again(engine: Engine) -> None:
    first, second = await asyncio.gather(engine.create(new_spec()), engine.create(new_spec()))
    os.kill(engine._launcher.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        reasons = await asyncio.gather(first.wait_gone(), second.wait_gone())
        assert all("launcher" in reason or "ended" in reason for reason in reasons)
        third = await engine.create(new_spec())
    assert (await run(third, "true")).code == 0
    for sandbox in (first, second, third):
        await sandbox.destroy(keep_layer=False)
