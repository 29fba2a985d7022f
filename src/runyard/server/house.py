"""The composition root: all services of one server, put together once.

Owns the order in which parts start and stop. It is a list: what a part does is written in the part.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import structlog

from runyard.database.engine import Database
from runyard.executions.model import Execution
from runyard.executions.output.log import OutputLog
from runyard.executions.service import ExecutionService
from runyard.identity.service import IdentityService
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import Unavailable
from runyard.runtimes.checkpoints import CheckpointService
from runyard.runtimes.commands import CommandService
from runyard.runtimes.files import FileService
from runyard.runtimes.images import ImageService
from runyard.runtimes.injection import Injector
from runyard.runtimes.isolation.absent import AbsentEngine
from runyard.runtimes.isolation.engine import CannotEnforce, Engine
from runyard.runtimes.isolation.namespaces import NamespacesEngine
from runyard.runtimes.isolation.process import ProcessEngine
from runyard.runtimes.secrets import SecretService
from runyard.runtimes.service import RuntimeService
from runyard.runtimes.supervisor import Supervisor
from runyard.server import options
from runyard.server.actions import ActionHouse, Shared, make_actions
from runyard.server.emptiness import Emptiness
from runyard.server.environments import EnvironmentHouse, make_environments
from runyard.server.infrastructure import InfrastructureHouse, make_infrastructure
from runyard.server.metrics import Metrics
from runyard.settings import Settings

_log = structlog.get_logger(__name__)


SWEEP_SECONDS = 3600.0
"""How often files are looked for that no row names any more."""


@dataclass(kw_only=True)
class House:
    """All services of one server."""

    settings: Settings
    database: Database
    identity: IdentityService
    output: OutputLog
    executions: ExecutionService
    engine: Engine
    supervisor: Supervisor
    runtimes: RuntimeService
    commands: CommandService
    files: FileService
    checkpoints: CheckpointService
    secrets: SecretService
    images: ImageService
    metrics: Metrics
    actions: ActionHouse
    environments: EnvironmentHouse
    infrastructure: InfrastructureHouse
    emptiness: Emptiness
    first_token: str | None = None
    """The admin token that was made for a new data folder and must be shown once."""
    stop_task: asyncio.Task[None] | None = None
    """The stop of the executions, once it was begun by a signal."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server begins to stop: live readers end then."""


async def open_house(settings: Settings, stack: AsyncExitStack, *, new_admin_token: bool = False) -> House:
    """Start every part in order; the stack stops them in the reverse one. Raises RunyardError with a sentence."""
    database = await Database.open(settings.database_url, settings.data_dir)
    stack.push_async_callback(database.close)
    await database.migrate()
    vault = Vault(settings.data_dir / "keys")
    identity = IdentityService(database, vault=vault)
    engine = await _started(make_engine(settings), stack)
    house = _assemble(settings, database, identity, vault, engine)
    stack.callback(house.output.close)
    stack.callback(house.commands.close)
    stack.callback(house.environments.close)
    await house.actions.start()
    stack.push_async_callback(house.actions.close)
    house.infrastructure.running.start()
    stack.callback(house.infrastructure.running.boxes.close)
    report = await house.executions.recover()
    if report.abandoned:
        _log.warning("server.executions_abandoned", count=report.abandoned)
    stack.push_async_callback(house.executions.stop, settings.stop_secs)
    house.actions.changes.start()
    stack.push_async_callback(house.actions.changes.stop)
    kept = house.infrastructure.kept
    _every(stack, SWEEP_SECONDS, kept.states.sweep)
    _every(stack, SWEEP_SECONDS, kept.configurations.sweep)
    _every(stack, SWEEP_SECONDS, house.infrastructure.remote.sweep)
    house.infrastructure.guards.start(stack)
    house.actions.followups.start()
    stack.push_async_callback(house.actions.followups.stop)
    await house.infrastructure.line.start()
    stack.push_async_callback(house.infrastructure.line.stop)
    house.infrastructure.drift.start()
    stack.push_async_callback(house.infrastructure.drift.stop)
    await house.checkpoints.start()
    stack.push_async_callback(house.checkpoints.stop)
    await house.supervisor.start()
    stack.push_async_callback(house.supervisor.stop)
    await house.environments.keeper.start()
    stack.push_async_callback(house.environments.keeper.stop)
    stack.push_async_callback(identity.flush_last_used)
    _every(stack, 30.0, identity.flush_last_used)
    _every(stack, 600.0, house.environments.packages.sweep)
    _every(stack, 600.0, house.infrastructure.guards.forget_old)
    given = settings.admin_token.get_secret_value() if settings.admin_token else None
    # The last step: a token that is made by a start which then fails would never be shown to anybody.
    house.first_token = await identity.bootstrap(given)
    if new_admin_token and house.first_token is None:
        house.first_token = await identity.new_admin_token()
    return house


async def _started(engine: Engine, stack: AsyncExitStack) -> Engine:
    """Start the engine, or put one in its place that refuses with the reason: a host that cannot isolate still has a
    ledger to serve. A second server on the data folder is no such reason and ends the start.
    """
    stack.push_async_callback(engine.stop)
    try:
        await engine.start()
    except (Unavailable, CannotEnforce) as error:
        _log.error("server.engine_absent", engine=engine.name, reason=error.message)
        return AbsentEngine(engine.name, error.message)
    return engine


def make_engine(settings: Settings) -> Engine:
    """Return the isolation engine that the settings name."""
    chosen = options.isolation_options(settings)
    return ProcessEngine(chosen) if settings.runtimes.engine == "process" else NamespacesEngine(chosen)


def _assemble(
    settings: Settings, database: Database, identity: IdentityService, vault: Vault, engine: Engine
) -> House:
    metrics = Metrics()
    chosen = options.runtimes_options(settings)
    output = OutputLog(settings.data_dir / "output", options.output_options(settings))
    executions = ExecutionService(database, output, options=options.execution_options(settings))
    injector = Injector(database, vault)
    supervisor = Supervisor(database, engine, injector, chosen)
    secrets = SecretService(database, vault, injector)
    checkpoints = CheckpointService(database, engine, chosen)
    stopping = asyncio.Event()
    shared = Shared(database, identity, executions, output, engine, vault, stopping)
    runtimes = RuntimeService(database, engine, supervisor, secrets, checkpoints, chosen)
    environments = make_environments(settings, shared)
    emptiness = Emptiness(runtimes, checkpoints, secrets, environments.environments)
    actions = make_actions(settings, shared)

    def ended(execution: Execution) -> None:
        metrics.observe_execution(execution)
        actions.followups.ended(execution)

    executions.on_ended = ended
    return House(
        actions=actions,
        environments=environments,
        infrastructure=make_infrastructure(settings, shared, emptiness.check),
        emptiness=emptiness,
        stopping=stopping,
        settings=settings,
        database=database,
        identity=identity,
        output=output,
        executions=executions,
        engine=engine,
        supervisor=supervisor,
        runtimes=runtimes,
        commands=CommandService(executions, supervisor, injector, chosen.exec),
        files=FileService(supervisor),
        checkpoints=checkpoints,
        secrets=secrets,
        images=ImageService(database, identity, engine, chosen.default_base),
        metrics=metrics,
    )


def _every(stack: AsyncExitStack, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do something again and again until the stack ends; a failure is logged and does not stop it."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception as error:  # noqa: BLE001  the next round may succeed
                _log.warning(
                    "server.periodic_failed",
                    work=getattr(work, "__qualname__", repr(work)),
                    error=repr(error),
                )

    task = asyncio.get_running_loop().create_task(repeat())

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)
