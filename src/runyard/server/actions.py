"""The composition of actions: their services over the shared parts. A list like the house, of which it is a wing."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from runyard.actions.access.service import AccessService
from runyard.actions.apikeys import ApiKeyService
from runyard.actions.catalogue import Catalogue
from runyard.actions.datastore import DatastoreService
from runyard.actions.followups.service import FollowupService
from runyard.actions.packs.service import PackService
from runyard.actions.runners.answers import ServerAnswers
from runyard.actions.runners.boxes import Boxes, Places
from runyard.actions.runners.http import HttpRunner
from runyard.actions.runners.job import Job, JobRunner
from runyard.actions.runners.python import PythonRunner
from runyard.actions.runners.reach import Reach
from runyard.actions.runners.shell import ScriptRunner, ShellRunner
from runyard.actions.runners.simple import AnnouncementRunner, noop
from runyard.actions.runners.virtualenv import Virtualenvs
from runyard.actions.runs.changes import RunChanges
from runyard.actions.runs.service import RunService
from runyard.actions.runs.worker import ActionWorker
from runyard.actions.traces import TraceService
from runyard.actions.values import JsonObject
from runyard.database.engine import Database
from runyard.executions.model import Outcome
from runyard.executions.output.log import OutputLog
from runyard.executions.service import ExecutionService
from runyard.executions.worker import RunContext
from runyard.identity.service import IdentityService
from runyard.kernel.clock import utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.events import Event
from runyard.runtimes.isolation.engine import Engine
from runyard.runtimes.isolation.process import ProcessEngine
from runyard.server import options
from runyard.settings import Settings


@dataclass(frozen=True, slots=True)
class Shared:
    """What actions use of the rest of the house."""

    database: Database
    identity: IdentityService
    executions: ExecutionService
    output: OutputLog
    engine: Engine
    vault: Vault
    stopping: asyncio.Event


@dataclass(frozen=True, kw_only=True)
class ActionHouse:
    """All services behind the StackStorm door."""

    identity: IdentityService
    database: Database
    executions: ExecutionService
    output: OutputLog
    access: AccessService
    catalogue: Catalogue
    datastore: DatastoreService
    traces: TraceService
    api_keys: ApiKeyService
    runs: RunService
    changes: RunChanges
    followups: FollowupService
    packs: PackService
    reach: Reach
    open_engine: ProcessEngine
    places: Places
    virtualenvs: Virtualenvs
    worker: ActionWorker
    stopping: asyncio.Event

    async def start(self) -> None:
        """Load the product's packs and take work; before the ledger offers what was left of it."""
        self.catalogue.start()
        self.worker.register()
        if self.places.open_packs:
            await self.open_engine.start()
        self.places.start()

    async def close(self) -> None:
        """Give up what is made in the background and free what waits."""
        await self.virtualenvs.close()
        await self.places.close()
        await self.open_engine.stop()


def make_actions(settings: Settings, shared: Shared) -> ActionHouse:
    """Put the services of actions together."""
    database = shared.database
    catalogue = Catalogue(
        database, shared.vault, (settings.data_dir / "packs", *settings.actions.pack_folders)
    )
    datastore, traces = DatastoreService(database, shared.vault), TraceService(database)
    runs = RunService(database, shared.executions, catalogue, datastore, traces, shared.vault)
    access = AccessService(
        database, enforced=settings.actions.rbac, isolated=settings.actions.permission_isolation
    )
    reach = Reach()
    open_engine = ProcessEngine(options.isolation_options(settings))
    places = Places(
        Boxes(shared.engine, options.box_options(settings), reach),
        Boxes(open_engine, options.open_box_options(settings), reach),
        settings.actions.unisolated_packs,
    )
    virtualenvs = Virtualenvs(places)
    packs = PackService(catalogue, virtualenvs, settings.data_dir / "packs")
    answers = ServerAnswers(shared.identity, access, datastore, packs)
    runners: dict[str, JobRunner] = {
        "local-shell-cmd": ShellRunner(places),
        "local-shell-script": ScriptRunner(places),
        "python-script": PythonRunner(places, virtualenvs, answers),
        "http-request": HttpRunner(block_private=settings.runtimes.block_private),
        "remote-shell-cmd": _Remote(script=False, known_hosts=settings.actions.known_hosts),
        "remote-shell-script": _Remote(script=True, known_hosts=settings.actions.known_hosts),
        "noop": noop,
        "announcement": AnnouncementRunner(_Announcer(database)),
    }
    return ActionHouse(
        identity=shared.identity,
        database=database,
        executions=shared.executions,
        output=shared.output,
        access=access,
        catalogue=catalogue,
        datastore=datastore,
        traces=traces,
        api_keys=ApiKeyService(database, shared.identity),
        runs=runs,
        changes=RunChanges(runs),
        followups=FollowupService(database, runs, settings.actions.callback_hosts),
        packs=packs,
        reach=reach,
        open_engine=open_engine,
        places=places,
        virtualenvs=virtualenvs,
        worker=ActionWorker(database, runs, catalogue, shared.identity, runners),
        stopping=shared.stopping,
    )


class _Remote:
    """The remote runner, made at its first use: the SSH client that it brings is a tenth of the server's start, and many
    servers never need it.
    """

    def __init__(self, *, script: bool, known_hosts: Path | None) -> None:
        self._script, self._known_hosts = script, known_hosts
        self._runner: JobRunner | None = None

    async def __call__(self, job: Job, context: RunContext) -> Outcome:
        if self._runner is None:
            # In a thread: what runs already must not stand still for it.
            self._runner = await asyncio.to_thread(self._make)
        return await self._runner(job, context)

    def _make(self) -> JobRunner:
        from runyard.actions.runners.remote import RemoteRunner

        return RemoteRunner(script=self._script, known_hosts=self._known_hosts)


class _Announcer:
    """Publishes announcements to whoever listens now; they are no history."""

    def __init__(self, database: Database) -> None:
        self._broker = database.broker

    def __call__(self, account: str, route: str, message: JsonObject, trace: JsonObject) -> None:
        self._broker.publish(
            Event(
                account_id=account,
                subject_kind="announcement",
                subject_id=route,
                type=route,
                actor="system:announcement",
                at=utc_now(),
                body={"payload": dict(message), "trace_context": dict(trace)},
            )
        )
