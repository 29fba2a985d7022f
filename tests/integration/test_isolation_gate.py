"""Commands that wait before they become the program: they run after the word, and never without it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from runyard.runtimes.isolation.engine import (
    Command,
    Engine,
    Prepared,
    Sandbox,
    SpawnError,
    SpawnFailure,
)
from tests.support.engines import ENV, new_spec, run, sh, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sandbox(engine: Engine) -> AsyncIterator[Sandbox]:
    """Make one sandbox for all."""
    made = await engine.create(new_spec())
    yield made
    await made.destroy(keep_layer=False)


def prepare(sandbox: Sandbox, *argv: str, cwd: str = "/root") -> Prepared:
    """Bring a command to its gate; its output goes nowhere."""
    fd = os.open(os.devnull, os.O_RDWR)
    try:
        made = sandbox.prepare(Command(argv=argv, env=ENV, cwd=cwd, stdin=fd, stdout=fd, stderr=fd))
    finally:
        os.close(fd)
    assert made is not None
    return made


async def exists(sandbox: Sandbox, path: str) -> bool:
    return (await sh(sandbox, f"test -e {path}")).code == 0


async def test_gated_command_runs_after_the_word_only(sandbox: Sandbox) -> None:
    made = prepare(sandbox, "touch", "/root/after")
    for _ in range(3):  # each of these is answered after the gated one was forked
        assert not await exists(sandbox, "/root/after")
    process = await made.go()
    assert (await process.wait()).code == 0
    assert await exists(sandbox, "/root/after")


async def test_dropped_command_never_runs(sandbox: Sandbox) -> None:
    prepare(sandbox, "touch", "/root/dropped").drop()
    forgotten = prepare(sandbox, "touch", "/root/dropped")
    del forgotten
    for _ in range(3):
        assert not await exists(sandbox, "/root/dropped")


async def test_brief_and_long_commands_end_with_their_own_codes(sandbox: Sandbox) -> None:
    brief = [prepare(sandbox, "/bin/sh", "-c", f"exit {code}") for code in range(20)]
    processes = [await made.go() for made in brief]
    assert [(await process.wait()).code for process in processes] == list(range(20))
    long = await prepare(sandbox, "sleep", "60").go()
    assert await long.ended_within(0) is None
    long.signal_group(signal.SIGTERM)
    assert (await long.wait()).signal == signal.SIGTERM


async def test_failures_are_told_at_the_word(sandbox: Sandbox) -> None:
    cases = [
        (("no-such-program",), "/root", SpawnFailure.NOT_FOUND),
        (("true",), "/no/such", SpawnFailure.BAD_CWD),
    ]
    for argv, cwd, reason in cases:
        with pytest.raises(SpawnError) as caught:
            await prepare(sandbox, *argv, cwd=cwd).go()
        assert caught.value.reason is reason


async def test_command_killed_at_its_gate_has_that_end(sandbox: Sandbox) -> None:
    made = prepare(sandbox, "true")
    await run(sandbox, "/bin/sh", "-c", "kill -9 -1")
    process = await made.go()
    assert (await process.wait()).signal == signal.SIGKILL


async def test_abandoned_wait_kills_the_command(sandbox: Sandbox) -> None:
    going = asyncio.ensure_future(prepare(sandbox, "sleep", "1234").go())
    await asyncio.sleep(0)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going

    async def gone() -> bool:
        script = 'for f in /proc/[0-9]*/comm; do read name < $f; [ "$name" = sleep ] && exit 1; done; exit 0'
        return (await sh(sandbox, script)).code == 0

    await until(gone)
