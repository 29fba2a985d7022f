"""The services of actions over a database, without a server and without sandboxes: two runners stand for all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runyard.actions.catalogue import Catalogue
from runyard.actions.datastore import DatastoreService
from runyard.actions.runners.job import Job, JobRunner, outcome
from runyard.actions.runners.simple import noop
from runyard.actions.runs.changes import RunChanges
from runyard.actions.runs.model import NewRun, Record
from runyard.actions.runs.service import RunService
from runyard.actions.runs.worker import ActionWorker
from runyard.actions.traces import TraceService
from runyard.database.engine import Database
from runyard.executions.model import Outcome, Status
from runyard.executions.output.log import OutputLog
from runyard.executions.service import ExecutionService
from runyard.executions.worker import RunContext
from runyard.identity.model import Principal
from runyard.identity.service import IdentityService
from runyard.kernel.crypto import Vault


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        """Stand still at a time."""
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now


async def echo(job: Job, context: RunContext) -> Outcome:
    """Return the parameters as the result, like a shell would that prints them."""
    del context
    return outcome(Status.SUCCEEDED, {"given": dict(job.given.runner), "user": job.run.user_name})


class Reluctant:
    """A runner that runs until it is canceled, and obeys when tests let it."""

    def __init__(self) -> None:
        """Obey at once."""
        self.started = asyncio.Event()
        self.released = asyncio.Event()
        self.released.set()

    async def __call__(self, job: Job, context: RunContext) -> Outcome:
        """Run until somebody ends it."""
        del job
        self.started.set()
        await context.cancelled.wait()
        await self.released.wait()
        return Outcome(status=Status.CANCELED, reason=context.cancel_reason)


@dataclass
class Wing:
    """The services under test and a caller."""

    catalogue: Catalogue
    datastore: DatastoreService
    traces: TraceService
    runs: RunService
    changes: RunChanges
    caller: Principal
    clock: Clock
    folder: Path
    reluctant: Reluctant
    """What runs `http-request`."""

    async def run(self, action: str, **parameters: object) -> Record:
        """Run an action to its end."""
        made = await self.runs.create(self.caller, NewRun(action=action, parameters=parameters))
        await self.runs.executions.wait(self.caller.scope, made.execution.id)
        return await self.runs.get(self.caller.scope, made.execution.id)


@contextlib.asynccontextmanager
async def open_wing(database: Database, folder: Path) -> AsyncIterator[Wing]:
    """Put the services together over an empty database."""
    identity = IdentityService(database)
    await identity.bootstrap("an-admin-token")
    caller = await identity.authenticate("an-admin-token")
    vault, clock = Vault(folder / "keys"), Clock()
    executions = ExecutionService(database, OutputLog(folder / "output"))
    catalogue = Catalogue(database, vault, (folder / "packs",))
    catalogue.start()
    datastore, traces = DatastoreService(database, vault, clock), TraceService(database)
    runs = RunService(database, executions, catalogue, datastore, traces, vault)
    reluctant = Reluctant()
    runners: dict[str, JobRunner] = {"local-shell-cmd": echo, "noop": noop, "http-request": reluctant}
    ActionWorker(database, runs, catalogue, identity, runners).register()
    await executions.recover()
    yield Wing(catalogue, datastore, traces, runs, RunChanges(runs), caller, clock, folder, reluctant)
    await executions.stop(5)
