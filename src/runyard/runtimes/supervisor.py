"""Keeps rows and sandboxes in agreement. Owns every living sandbox of this server; speaks no dialect.

A status is written before what follows from it is done (stop, delete) or after what it promises was done (running,
paused), so that a kill at any point leaves a row from which `recover` can go on: sandboxes die with the server, files
stay.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine, Iterable
from typing import Any

import structlog

from runyard.database.engine import Database
from runyard.identity.model import Scope
from runyard.kernel.clock import monotonic, utc_now
from runyard.kernel.errors import NotFound, RunyardError, Unavailable
from runyard.kernel.transitions import Changed, Refused, transition
from runyard.runtimes.definition import IdleMode, Resources
from runyard.runtimes.errors import NotRunning, RevisionConflict, RuntimeNotFound, TransitionRefused
from runyard.runtimes.injection import Injector
from runyard.runtimes.isolation.engine import Engine, Limits, Network, Sandbox, SandboxGone, SandboxSpec
from runyard.runtimes.model import STALE, Amend, Order, Runtime, Status, Verb, apply, decide, not_running
from runyard.runtimes.options import AfterRestart, RuntimesOptions
from runyard.runtimes.resident import Resident
from runyard.runtimes.store import RuntimeStore

REMOVAL_PAUSES = (0.2, 1.0, 5.0, 30.0)
"""Seconds between the tries to remove a runtime, the last one again and again."""

SYSTEM = "system:runtimes"
"""The actor of everything that happens without a caller."""

_log = structlog.get_logger(__name__)


class Supervisor:
    """Boots, freezes, thaws and ends the sandboxes of runtimes, and reacts when one ends by itself."""

    def __init__(
        self, database: Database, engine: Engine, injector: Injector, options: RuntimesOptions
    ) -> None:
        """Take the parts; nothing runs before `start`."""
        self._database = database
        self._engine = engine
        self._injector = injector
        self._options = options
        self._store = RuntimeStore()
        self._residents: dict[str, Resident] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._boots = asyncio.Semaphore(options.boots_at_once)
        self._stopping = False

    async def start(self) -> None:
        """Take up what an earlier server left, then watch for idle runtimes."""
        await self._recover()
        self._background(self._scan())

    async def stop(self) -> None:
        """Stop watching. Sandboxes are ended by `Engine.stop`, and rows keep their status for the next start."""
        self._stopping = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("runtimes.task_broke", error=repr(task.exception()))

    # --- residents -------------------------------------------------------------------------------------------------

    def find(self, scope: Scope, runtime_id: str) -> Resident | None:
        """Return the resident when this server knows it and the scope reaches it; no statement is run."""
        resident = self._residents.get(runtime_id)
        if resident is None or not reaches(scope, resident.runtime):
            return None
        return resident

    def adopt(self, runtime: Runtime) -> Resident:
        """Return the resident of a runtime that was just read or made; a known one keeps what it knows."""
        resident = self._residents.get(runtime.id)
        if resident is None:
            resident = self._residents[runtime.id] = Resident(runtime)
        return resident

    async def order(self, resident: Resident, command: Order | Amend) -> Runtime:
        """Write a transition; the caller holds the lock. Raises TransitionRefused, RevisionConflict, RuntimeNotFound."""
        if isinstance(command, Order) and apply(resident.runtime, command) is resident.runtime:
            return resident.runtime
        async with self._database.transaction() as tx:
            try:
                outcome = await transition(tx, self._store, resident.runtime.id, command, decide)
            except NotFound:
                raise RuntimeNotFound(resident.runtime.id) from None
        if isinstance(outcome, Changed):
            resident.runtime = outcome.value
            return outcome.value
        raise _refused(outcome, resident.runtime)

    # --- booting ---------------------------------------------------------------------------------------------------

    def begin_boot(self, resident: Resident) -> asyncio.Task[None]:
        """Bring up a sandbox for a runtime that should have one; one boot at a time."""
        if resident.boot is None or resident.boot.done():
            resident.boot = self._background(self._boot(resident))
        return resident.boot

    async def settle(self, task: asyncio.Task[None], seconds: float) -> None:
        """Wait a while for background work, so that most callers see its end in their first answer."""
        await asyncio.wait({task}, timeout=seconds)

    async def _boot(self, resident: Resident) -> None:
        async with self._boots, resident.lock:
            if resident.runtime.status not in (Status.CREATING, Status.RUNNING):
                return
            command = Order(verb=Verb.BOOTED, actor=SYSTEM, at=utc_now())
            if resident.sandbox is None:
                resident.boot_error = await self._try_to_raise(resident)
                if resident.boot_error is not None:
                    verb = Verb.CRASH if resident.runtime.status is Status.RUNNING else Verb.FAIL
                    reason = resident.boot_error.message
                    _log.warning("runtimes.boot_failed", runtime=resident.runtime.id, reason=reason)
                    command = Order(verb=verb, actor=SYSTEM, at=utc_now(), reason=reason)
            await self.order(resident, command)

    async def _try_to_raise(self, resident: Resident) -> RunyardError | None:
        """Make the sandbox, or return why not: whatever goes wrong ends in a status, never in a runtime that is
        `creating` for ever.
        """
        try:
            await self.raise_sandbox(resident)
        except TimeoutError:
            return Unavailable(f"the sandbox did not come up within {self._options.boot_secs:g} seconds")
        except RunyardError as error:
            return error
        except OSError as error:
            return Unavailable(f"the host refused: {error.strerror or error}")
        except Exception as error:  # noqa: BLE001  see above
            _log.exception("runtimes.boot_broke", runtime=resident.runtime.id)
            return Unavailable(f"internal error: {type(error).__name__}")
        return None

    async def raise_sandbox(self, resident: Resident) -> Sandbox:
        """Make the sandbox and write its secret files; the caller holds the lock."""
        runtime = resident.runtime
        async with asyncio.timeout(self._options.boot_secs):
            sandbox = await self._engine.create(self._spec(runtime))
            try:
                resident.masks = await self._injector.write_files(sandbox, runtime)
            except BaseException:
                await sandbox.destroy(keep_layer=True)
                raise
        resident.sandbox = sandbox
        resident.last_used = monotonic()
        resident.watch = self._background(self._watch(resident, sandbox))
        return sandbox

    async def rewrite_secrets(self, resident: Resident) -> None:
        """Write changed secret files into the living sandbox; the caller holds the lock. A frozen or absent sandbox
        gets them at its next boot.
        """
        if resident.sandbox is not None and resident.runtime.status is Status.RUNNING:
            resident.masks += await self._injector.write_files(resident.sandbox, resident.runtime)

    def _spec(self, runtime: Runtime) -> SandboxSpec:
        definition = runtime.definition
        return SandboxSpec(
            id=runtime.id,
            hostname=self._options.hostname,
            base=definition.base,
            limits=self.limits(definition.resources),
            network=Network.OPEN if definition.egress.is_open else Network.NONE,
            restore_from=runtime.restored_from,
        )

    def limits(self, resources: Resources) -> Limits:
        """Return the engine's limits for what a runtime was given."""
        if not self._options.enforce_limits:
            return Limits()
        return Limits(
            memory_bytes=resources.memory_limit_mib << 20,
            pids=self._options.pids,
            cpus=float(resources.vcpus),
            disk_bytes=None if resources.disk_gib is None else resources.disk_gib << 30,
        )

    async def _watch(self, resident: Resident, sandbox: Sandbox) -> None:
        reason = await sandbox.wait_gone()
        if resident.sandbox is not sandbox or self._stopping:
            return
        async with resident.lock:
            if resident.sandbox is not sandbox:
                return
            resident.sandbox = None
            await sandbox.destroy(keep_layer=True)
            with contextlib.suppress(TransitionRefused, RuntimeNotFound):
                await self.order(resident, Order(verb=Verb.CRASH, actor=SYSTEM, at=utc_now(), reason=reason))
        _log.warning("runtimes.crashed", runtime=resident.runtime.id, reason=reason)

    # --- use -------------------------------------------------------------------------------------------------------

    async def ready(self, resident: Resident) -> Sandbox:
        """Return the running sandbox: at once, after its creation, or after waking it. Raises NotRunning."""
        sandbox = resident.sandbox
        if sandbox is not None and resident.runtime.status is Status.RUNNING:
            return sandbox
        return await self._made_ready(resident)

    async def _made_ready(self, resident: Resident) -> Sandbox:
        deadline = monotonic() + self._options.ready_secs
        while monotonic() < deadline:
            runtime = resident.runtime
            if runtime.status is Status.RUNNING and resident.sandbox is not None:
                return resident.sandbox
            if runtime.status in (Status.CREATING, Status.RUNNING):
                await asyncio.wait({self.begin_boot(resident)}, timeout=deadline - monotonic())
            elif (
                runtime.status is Status.SUSPENDED
                and runtime.definition.idle.mode is IdleMode.SUSPEND_AND_WAKEUP
            ):
                await self._wake(resident)
            else:
                break
        raise NotRunning(not_running(resident.runtime))

    async def _wake(self, resident: Resident) -> None:
        async with resident.lock:
            # Of several callers that found it asleep, the first one wakes it.
            if resident.runtime.status is Status.SUSPENDED:
                await self.unfreeze(
                    resident, Order(verb=Verb.WAKE, actor=SYSTEM, at=utc_now(), reason="traffic")
                )

    async def freeze(self, resident: Resident, command: Order) -> Runtime:
        """Stop all processes where they are, then write the status; the caller holds the lock."""
        self.check(resident, command)
        sandbox, frozen = resident.sandbox, resident.runtime.status is not Status.RUNNING
        if sandbox is not None and not frozen:
            await sandbox.freeze()
        try:
            return await self.order(resident, command)
        except BaseException:
            if sandbox is not None and not frozen:
                await sandbox.thaw()
            raise

    async def unfreeze(self, resident: Resident, command: Order) -> Runtime:
        """Let processes run on, or start afresh from the files when they died with an earlier server; then write the
        status. The caller holds the lock.
        """
        self.check(resident, command)
        if resident.runtime.status not in (Status.PAUSED, Status.SUSPENDED):
            return await self.order(resident, command)
        try:
            if resident.sandbox is None:
                await self.raise_sandbox(resident)
            else:
                await resident.sandbox.thaw()
        except SandboxGone as error:
            raise NotRunning(f"runtime '{resident.runtime.id}' is not running: {error.message}") from None
        resident.last_used = monotonic()
        return await self.order(resident, command)

    def check(self, resident: Resident, command: Order) -> None:
        """Raise what the transition would be refused with, before anything is done for it."""
        outcome = apply(resident.runtime, command)
        if isinstance(outcome, Refused):
            raise _refused(outcome, resident.runtime)

    # --- ending ----------------------------------------------------------------------------------------------------

    async def end_sandbox(self, resident: Resident, *, keep_layer: bool) -> None:
        """Kill all that runs inside; the caller holds the lock and wrote the status."""
        if resident.sandbox is not None:
            await resident.sandbox.destroy(keep_layer=keep_layer)
            resident.sandbox = None

    def begin_removal(self, resident: Resident) -> asyncio.Task[None]:
        """Free everything of a runtime whose status is `deleting`, then forget it."""
        return self._background(self._remove(resident))

    async def _remove(self, resident: Resident) -> None:
        for pause in itertools.chain(REMOVAL_PAUSES, itertools.repeat(REMOVAL_PAUSES[-1])):
            try:
                await self._remove_now(resident)
            except (RunyardError, OSError) as error:
                # The row says `deleting` until it is true, here or after the next start.
                _log.warning("runtimes.removal_failed", runtime=resident.runtime.id, reason=str(error))
                await asyncio.sleep(pause)
            else:
                return

    async def _remove_now(self, resident: Resident) -> None:
        runtime_id = resident.runtime.id
        async with resident.lock:
            await self.end_sandbox(resident, keep_layer=False)
            await self._engine.delete_layer(runtime_id)
            async with self._database.transaction() as tx:
                await self._store.delete(tx, runtime_id)
            self._residents.pop(runtime_id, None)

    # --- idling ----------------------------------------------------------------------------------------------------

    async def _scan(self) -> None:
        while True:
            await asyncio.sleep(self._options.idle_scan_secs)
            for resident in [item for item in self._residents.values() if idle(item)]:
                try:
                    await self._suspend(resident)
                except (RunyardError, OSError) as error:
                    # A host without a freezer cannot suspend; say so and look after the others.
                    _log.warning("runtimes.suspend_failed", runtime=resident.runtime.id, reason=str(error))

    async def _suspend(self, resident: Resident) -> None:
        async with resident.lock:
            if idle(resident):
                seconds = resident.runtime.definition.idle.suspend_after_secs
                why = f"idle for {seconds} seconds"
                await self.freeze(resident, Order(verb=Verb.SUSPEND, actor=SYSTEM, at=utc_now(), reason=why))

    # --- recovery --------------------------------------------------------------------------------------------------

    async def _recover(self) -> None:
        async with self._database.read() as tx:
            left = await self._store.in_status(tx, (Status.CREATING, Status.RUNNING, Status.DELETING))
        for runtime in left:
            resident = self.adopt(runtime)
            if runtime.status is Status.DELETING:
                self.begin_removal(resident)
            elif runtime.status is Status.RUNNING and self._options.after_restart is AfterRestart.CRASH:
                reason = "the server was restarted; processes ended with it, files were kept"
                await self.order(resident, Order(verb=Verb.CRASH, actor=SYSTEM, at=utc_now(), reason=reason))
            elif runtime.status is Status.CREATING and runtime.revision == 1:
                self._background(self._recreate(resident))
            else:
                self.begin_boot(resident)

    async def _recreate(self, resident: Resident) -> None:
        """Begin a first creation anew: its files may be a half-copied checkpoint."""
        async with resident.lock:
            if resident.sandbox is None and resident.runtime.status is Status.CREATING:
                await self._engine.delete_layer(resident.runtime.id)
        await self.begin_boot(resident)

    def living(self) -> Iterable[Resident]:
        """Iterate over the runtimes that have a sandbox now."""
        return (resident for resident in self._residents.values() if resident.sandbox is not None)


def reaches(scope: Scope, runtime: Runtime) -> bool:
    """Tell whether a scope covers a runtime."""
    return runtime.account_id == scope.account_id and runtime.project_path.startswith(scope.project_path)


def idle(resident: Resident) -> bool:
    """Tell whether the idle policy says that it is time."""
    runtime = resident.runtime
    after = runtime.definition.idle.suspend_after_secs
    if (
        runtime.status is not Status.RUNNING
        or runtime.definition.idle.mode is IdleMode.DISABLED
        or after is None
    ):
        return False
    return resident.sandbox is not None and not resident.active and monotonic() - resident.last_used >= after


def _refused(refusal: Refused, runtime: Runtime) -> RunyardError:
    if refusal.code == STALE:
        return RevisionConflict(int(refusal.reason), runtime.revision)
    return TransitionRefused(refusal.reason)
