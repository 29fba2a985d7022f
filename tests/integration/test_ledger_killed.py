"""kill -9 at random moments: nothing that was acknowledged is lost, nothing is half-written, nothing is stuck."""

import asyncio
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runyard.database.engine import Database
from runyard.executions.model import Execution, ExecutionFilter, Outcome, Status
from runyard.executions.output.log import OutputLog
from runyard.executions.output.model import Stream
from runyard.executions.service import ExecutionService, RunContext
from runyard.kernel.ids import ExecutionId
from tests.support.executions import TestTenant

REPOSITORY = Path(__file__).parents[2]
LOSSES = {"the server stopped while it ran; how it ended is not known", "the server stopped before it began"}


def killed_run(folder: Path, url: str, tenant: TestTenant, after: float) -> dict[str, int | None]:
    """Run the busy process, kill it after a while, and return what it had acknowledged: id to bytes, None at start."""
    command = [
        sys.executable,
        "-m",
        "tests.support.busy_ledger",
        str(folder),
        url,
        tenant.account_id,
        tenant.root_id,
    ]
    facts: dict[str, int | None] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        timer = threading.Timer(after, process.kill)
        timer.start()
        for line in process.stdout:
            words = line.split()
            if len(words) >= 2 and line.endswith("\n"):
                facts[words[1]] = int(words[2]) if words[0] == "ended" else facts.get(words[1])
        timer.join()
    assert process.returncode == -9
    return facts


async def everything(service: ExecutionService, tenant: TestTenant) -> dict[ExecutionId, Execution]:
    found: dict[ExecutionId, Execution] = {}
    cursor = None
    while True:
        page = await service.list(tenant, ExecutionFilter(), 500, cursor)
        found |= {execution.id: execution for execution in page.items}
        cursor = page.next_cursor
        if cursor is None:
            return found


async def again(context: RunContext) -> Outcome:
    context.output.write(Stream.STDOUT, (context.execution.id + "\n").encode())
    return Outcome(status=Status.SUCCEEDED)


async def whole_log(service: ExecutionService, execution: Execution) -> bytes:
    return b"".join([chunk.data async for chunk in service.output.follow(execution.id)])


async def check(folder: Path, url: str, tenant: TestTenant, facts: dict[str, int | None]) -> None:
    """Open what the killed process left, and hold it against what it had acknowledged."""
    database = await Database.open(url, folder)
    service = ExecutionService(database, OutputLog(folder / "output"))
    service.register_runner("busy", lambda assignment: again)
    try:
        await service.recover()
        found = await everything(service, tenant)
        for execution_id in found:
            await asyncio.wait_for(service.wait(tenant, execution_id), 20)
        found = await everything(service, tenant)
        assert set(facts) <= set(found)
        for execution in found.values():
            assert execution.ended
            log = await whole_log(service, execution)
            line = (execution.id + "\n").encode()
            assert log == (line * (len(log) // len(line) + 1))[: len(log)], "foreign or torn bytes in a log"
            history = [event.type for event in await service.history(tenant, execution.id)]
            assert history[0] == "execution.requested"
            assert history[-1] == f"execution.{execution.status.value}"
            acknowledged = facts.get(execution.id)
            if acknowledged is not None:
                assert (execution.status, execution.output_bytes) == (Status.SUCCEEDED, acknowledged)
            if execution.status is Status.SUCCEEDED:
                assert len(log) == execution.output_bytes
            else:
                assert execution.status_reason in LOSSES
    finally:
        await service.stop(1)
        await database.close()


@pytest.mark.parametrize("seed", range(4))
async def test_ledger_killed_at_a_random_moment_is_whole_after_reopening(
    database_url: str, tmp_path: Path, seed: int
) -> None:
    tenant = TestTenant()
    chance = random.Random(seed)
    facts: dict[str, int | None] = {}
    for _ in range(2):
        facts |= await asyncio.to_thread(killed_run, tmp_path, database_url, tenant, chance.uniform(0.1, 0.9))
        await check(tmp_path, database_url, tenant, facts)
    assert facts
