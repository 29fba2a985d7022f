"""A process that keeps a ledger busy until it is killed: `python -m tests.support.busy_ledger FOLDER URL`.

Prints `ready`, then one line per fact that it was told: `started ID`, `wrote ID BYTES`, `ended ID BYTES`. A line is
printed only after the call returned, so whatever was printed must be found again.
"""

import asyncio
import random
import sys
from pathlib import Path

import runyard.actions.tables
import runyard.identity.tables
import runyard.runtimes.tables  # noqa: F401  every domain's tables
from runyard.database.engine import Database
from runyard.executions.model import Outcome, Status
from runyard.executions.output.log import OutputLog
from runyard.executions.output.model import Stream
from runyard.executions.service import ExecutionOptions, ExecutionService, NewAssignment, RunContext
from runyard.kernel.ids import AccountId, ProjectId
from tests.support.executions import TestTenant, new_execution


async def run(context: RunContext) -> Outcome:
    """Print some lines of known content, sometimes many, then end well."""
    chance = random.Random(context.execution.id)
    written = 0
    for _ in range(chance.randrange(1, 12)):
        line = (context.execution.id + "\n").encode() * chance.choice((1, 3, 4000))
        context.output.write(chance.choice((Stream.STDOUT, Stream.STDERR)), line)
        written += len(line)
        await asyncio.sleep(chance.choice((0, 0, 0.002)))
    return Outcome(status=Status.SUCCEEDED, exit_code=0, result={"written": written})


async def main(folder: Path, url: str, account: str, root: str) -> None:
    """Begin executions without end, eight at a time."""
    database = await Database.open(url, folder)
    await database.create_all()
    service = ExecutionService(database, OutputLog(folder / "output"), options=ExecutionOptions(slots=6))
    service.register_runner("busy", lambda assignment: run)
    await service.recover()
    tenant = TestTenant(AccountId(account), ProjectId(root))
    print("ready", flush=True)

    async def one(number: int) -> None:
        while True:
            new = new_execution(tenant, f"job {number}")
            if number % 2:
                handle = await service.start(new, run)
            else:
                handle = await service.submit(new, NewAssignment(runner="busy"))
            print("started", handle.execution.id, flush=True)
            ended = await handle.finished()
            print("ended", ended.id, ended.output_bytes, flush=True)

    await asyncio.gather(*(one(number) for number in range(8)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
