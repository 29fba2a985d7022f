"""Keeps rows and sandboxes of environments in agreement. Owns every living environment of this server.

What is provisioned when the server is killed is provisioned again by the next one; what is ready comes back from its
files with fresh processes; what has ended is cleared away. A state is written before it is acted on.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Coroutine, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog

from runyard.database.engine import Database
from runyard.environments import store
from runyard.environments.building.model import Materials
from runyard.environments.errors import BuildFailed, EnvironmentNotFound
from runyard.environments.model import (
    ENDED,
    UNDER_WAY,
    Building,
    Built,
    Command,
    Environment,
    Fail,
    Freed,
    Moved,
    Ready,
    State,
    TearDown,
    apply,
)
from runyard.environments.options import EnvironmentOptions
from runyard.environments.packages.model import KeptTask
from runyard.environments.packages.service import PackageService
from runyard.environments.provisioning import Log, Provisioner
from runyard.environments.resident import Gate, Living, Resident
from runyard.executions.model import Kind, NewExecution, Outcome, Place, Status
from runyard.executions.output.redact import mask_text
from runyard.executions.service import ExecutionService
from runyard.executions.worker import RunContext, until_cancelled
from runyard.kernel.clock import utc_now
from runyard.kernel.crypto import CannotUnseal, Vault
from runyard.kernel.errors import NotFound, RunyardError, Unavailable
from runyard.kernel.ids import ExecutionId
from runyard.kernel.transitions import Changed, Refused, transition
from runyard.runtimes.isolation.engine import Sandbox

SYSTEM: Final = "system:environments"
"""The actor of everything that happens without a caller."""
_PAUSES: Final = (0.2, 1.0, 5.0, 30.0)
"""Seconds between the tries to clear an environment away, the last one again and again."""

_log = structlog.get_logger(__name__)


def place_of(environment: Environment) -> Place:
    """Return where executions of an environment run."""
    return Place("environment", environment.id, environment.task_ref)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperParts:
    """What keeping environments needs of the house."""

    database: Database
    executions: ExecutionService
    packages: PackageService
    provisioner: Provisioner
    vault: Vault


class EnvironmentKeeper:
    """Provisions environments, brings them back, and clears them away."""

    def __init__(self, parts: KeeperParts, options: EnvironmentOptions) -> None:
        """Take the parts; nothing runs before `start`."""
        self._database = parts.database
        self._executions = parts.executions
        self._packages = parts.packages
        self._provisioner = parts.provisioner
        self._vault = parts.vault
        self._options = options
        self._residents: dict[str, Resident] = {}
        self._turns = asyncio.Semaphore(options.provisions_at_once)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def living(self) -> int:
        """Return how many environments live here."""
        return sum(not one.environment.ended for one in self._residents.values())

    def living_of(self, account_id: str) -> int:
        """Return how many of them are an account's."""
        living = (one.environment for one in self._residents.values() if not one.environment.ended)
        return sum(one.account_id == account_id for one in living)

    # --- life of the server ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take up what an earlier server left, then watch for environments whose time is over."""
        self._packages.holders.append(self.held)
        await self._provisioner.drop_unfinished()
        async with self._database.read() as tx:
            left = await store.unfreed(tx)
        for environment in left:
            try:
                resident = await self._take_up(environment)
            except CannotUnseal as error:
                # One row must not keep a whole server from its start.
                await self.fail(self._residents[environment.id], f"its secrets are lost: {error.message}")
                continue
            if environment.state in ENDED:
                self.clear_away(resident)
            elif environment.state in UNDER_WAY:
                self._background(self._again(resident))
            else:
                resident.returning = self._background(self._bring_back(resident))
        self._background(self._reap())

    async def stop(self) -> None:
        """Stop watching. Sandboxes are ended by the engine, and rows keep their state for the next start."""
        self._stopping = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for resident in self._residents.values():
            await self._provisioner.let_go(resident.living)

    def _background(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("environments.task_broke", error=repr(task.exception()))

    # --- residents -------------------------------------------------------------------------------------------------

    def find(self, environment_id: str) -> Resident | None:
        """Return a resident by its id; scope is the caller's matter."""
        return self._residents.get(environment_id)

    async def _take_up(self, environment: Environment) -> Resident:
        async with self._database.read() as tx:
            digest, sealed = await store.secrets_of(tx, environment.id)
        resident = self.adopt(environment, digest)
        if sealed is not None:
            resident.secrets = json.loads(self._vault.open(sealed, seal_context(environment.id)))
        return resident

    def adopt(self, environment: Environment, token_digest: bytes) -> Resident:
        """Make a resident of an environment that was just written or read."""
        options = self._options
        gate = Gate(options.execs_at_once, options.execs_waiting, options.execs_wait_secs)
        resident = self._residents[environment.id] = Resident(environment, token_digest, gate)
        return resident

    def forget(self, environment_id: str) -> None:
        """Drop a resident whose row was not written."""
        self._residents.pop(environment_id, None)

    def needs_build(self, package: KeptTask) -> bool:
        """Tell whether something of a package has to be built before its environments can start."""
        return self._provisioner.needs_build(package)

    async def order(self, resident: Resident, command: Command, actor: str = SYSTEM) -> Environment | Refused:
        """Write a transition; return the environment as it is then, or the refusal. Raises EnvironmentNotFound."""
        now = utc_now()
        async with self._database.transaction() as tx:
            try:
                outcome = await transition(
                    tx,
                    store.EnvironmentRows(),
                    resident.environment.id,
                    command,
                    lambda before, decided: apply(before, decided, actor=actor, now=now),
                )
            except NotFound:
                raise EnvironmentNotFound from None
        if isinstance(outcome, Changed):
            resident.environment = outcome.value
            return outcome.value
        return outcome

    # --- provisioning ----------------------------------------------------------------------------------------------

    async def provision(
        self, resident: Resident, execution_id: ExecutionId, door: str, request_id: str | None
    ) -> None:
        """Begin to provision, as an execution of the ledger. Raises ServerStopping."""
        environment = resident.environment
        new = NewExecution(
            id=execution_id,
            account_id=environment.account_id,
            project_id=environment.project_id,
            project_path=environment.project_path,
            kind=Kind.PROVISION,
            name=environment.task_ref,
            actor=environment.actor,
            door=door,
            place=place_of(environment),
            command=f"provision {environment.task_ref}",
            request_id=request_id,
        )
        resident.provision = await self._executions.start(
            new,
            lambda context: until_cancelled(context, self._provision(resident, context)),
            secrets=resident.masks,
        )

    async def _again(self, resident: Resident) -> None:
        """Provision anew what was under way when the last server ended."""
        execution_id = ExecutionId.new()
        try:
            await self._provisioner.remove(resident)
            if not isinstance(await self.order(resident, Building(execution_id)), Refused):
                await self.provision(resident, execution_id, "server", None)
        except (RunyardError, OSError) as error:
            await self.fail(resident, f"the environment could not be provisioned again: {error}")

    async def _provision(self, resident: Resident, context: RunContext) -> Outcome:
        try:
            async with asyncio.timeout(self._options.provision_secs), self._turns:
                await self._bring_up(resident, Log(context))
        except TimeoutError:
            reason = f"the environment was not ready within {self._options.provision_secs:g} seconds"
        except BuildFailed as error:
            reason = f"task build failed: {error.message}"
        except RunyardError as error:
            reason = error.message
        except OSError as error:
            reason = f"the host refused: {error.strerror or error}"
        except Exception:  # noqa: BLE001  a mistake of ours must not leave an environment that never ends
            _log.exception("environments.provision_broke", environment=resident.environment.id)
            reason = "an internal error; the server's log tells more"
        else:
            return Outcome(status=Status.SUCCEEDED, result={"environment": str(resident.environment.id)})
        if self._stopping:
            # What fails now fails because the server ends; the next one provisions anew.
            return Outcome(status=Status.CANCELED, reason="the server is stopping")
        reason = context.mask(reason)
        Log(context)(reason)
        await self.fail(resident, reason)
        return Outcome(status=Status.FAILED, reason=reason)

    async def _bring_up(self, resident: Resident, log: Log) -> None:
        package = await self.package(resident.environment)
        materials = await self._provisioner.build(resident, package, log)
        expires_at = utc_now() + timedelta(seconds=resident.environment.definition.lifetime_secs)
        if isinstance(await self.order(resident, Built(expires_at)), Refused):
            return
        service_urls = await self._provisioner.assemble(resident, materials, log)
        variables = await self._provisioner.furnish(resident, materials, service_urls, log)
        if isinstance(await self.order(resident, Ready(service_urls, variables)), Refused):
            return
        self._settled(resident)

    async def _bring_back(self, resident: Resident) -> None:
        """Start the sandboxes of a ready environment from their files after a restart."""
        log = Log(None)
        try:
            async with asyncio.timeout(self._options.provision_secs), self._turns:
                package = await self.package(resident.environment)
                materials = await self._provisioner.build(resident, package, log)
                service_urls = await self._provisioner.assemble(resident, materials, log)
                self._provisioner.set_variables(resident, service_urls, resident.environment.variables)
                if service_urls != resident.environment.service_urls:
                    await self.order(resident, Moved(service_urls))
        except Exception as error:  # noqa: BLE001  as when it was provisioned first
            if not isinstance(error, RunyardError | OSError):
                _log.exception("environments.return_broke", environment=resident.environment.id)
            reason = error.message if isinstance(error, RunyardError) else str(error) or "it took too long"
            await self.fail(resident, f"the environment did not come back after a restart: {reason}")
        else:
            self._settled(resident)

    async def materials(self, resident: Resident, package: KeptTask) -> Materials:
        """Return what a living environment is made of. Raises BuildFailed."""
        return await self._provisioner.build(resident, package, Log(None))

    async def package(self, environment: Environment) -> KeptTask:
        """Return the package of an environment as it was at its create. Raises TaskNotFound."""
        return await self._packages.pinned(environment.definition.package, environment.definition.layer)

    async def held(self) -> AbstractSet[str]:
        """Return the digests of the package files that environments need."""
        async with self._database.read() as tx:
            return {one.definition.layer for one in await store.unfreed(tx)}

    def _settled(self, resident: Resident) -> None:
        for sandbox in resident.living.sandboxes:
            if sandbox is resident.living.main:
                self._background(self._watch(resident, sandbox))
        resident.usable.set()

    async def _watch(self, resident: Resident, sandbox: Sandbox) -> None:
        reason = await sandbox.wait_gone()
        if not self._stopping and not resident.environment.ended:
            await self.fail(resident, f"the environment's sandbox ended: {reason}")

    # --- ending ----------------------------------------------------------------------------------------------------

    async def fail(self, resident: Resident, error: str) -> None:
        """Let an environment fail, and clear it away. What services printed may be in the reason."""
        error = mask_text(error, resident.masks)
        with contextlib.suppress(EnvironmentNotFound):
            if not isinstance(await self.order(resident, Fail(error)), Refused):
                _log.warning("environments.failed", environment=resident.environment.id, reason=error)
        self.clear_away(resident)

    async def tear_down(self, resident: Resident, actor: str, reason: str | None) -> Environment:
        """End an environment; again is harmless. What is left of it goes in the background."""
        if not resident.environment.ended:
            await self.order(resident, TearDown(reason), actor)
            await self._provisioner.unpublish(resident.living)
        self.clear_away(resident)
        return resident.environment

    def clear_away(self, resident: Resident) -> None:
        """Free everything of an environment that has ended, once."""
        resident.usable.set()
        if resident.clearing is None:
            resident.clearing = self._background(self._clear(resident))

    async def _clear(self, resident: Resident) -> None:
        if resident.returning is not None:
            # It would go on making what is removed here.
            resident.returning.cancel()
            await asyncio.wait((resident.returning,))
            if resident.returning.cancelled():
                await self._provisioner.lay_down(resident)
        await self._end_executions(resident)
        if resident.environment.state is State.TORN_DOWN:
            await self._last_script(resident)
        for pause in itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1])):
            try:
                await self._provisioner.remove(resident)
                await self.order(resident, Freed())
            except (RunyardError, OSError) as error:
                # The row says so until it is true, here or after the next start.
                _log.warning("environments.not_freed", environment=resident.environment.id, reason=str(error))
                await asyncio.sleep(pause)
            else:
                break
        self._residents.pop(resident.environment.id, None)

    async def _end_executions(self, resident: Resident) -> None:
        running = list(resident.commands)
        # A provisioning that failed is what called for this: its own end is written in a moment.
        if resident.environment.state is State.TORN_DOWN and resident.provision is not None:
            running.append(resident.provision)
        for handle in running:
            with contextlib.suppress(RunyardError):
                await handle.cancel(SYSTEM, f"the environment is {resident.environment.state}")
        await asyncio.gather(*(handle.finished() for handle in running), return_exceptions=True)

    async def _last_script(self, resident: Resident) -> None:
        """Run the script with which a task cleans up outside; its failure changes nothing."""
        try:
            package = await self.package(resident.environment)
        except RunyardError:
            return
        use = package.manifest.teardown
        if use is None or (resident.living.main is None and not await self._raised_again(resident, package)):
            return
        environment = resident.environment
        new = NewExecution(
            account_id=environment.account_id,
            project_id=environment.project_id,
            project_path=environment.project_path,
            kind=Kind.EXEC,
            name="teardown",
            actor=SYSTEM,
            door="server",
            place=place_of(environment),
            command=use.script,
        )
        try:
            handle = await self._executions.start(
                new,
                lambda context: self._provisioner.last_script(resident, package, use, context),
                secrets=resident.masks,
            )
            await handle.finished()
        except RunyardError as error:
            _log.warning("environments.teardown_failed", environment=environment.id, reason=error.message)

    async def _raised_again(self, resident: Resident, package: KeptTask) -> bool:
        """Bring back what the last server was ending when it was killed, so that its last script runs; tell whether."""
        if resident.provision is not None:
            return False  # this server's own, ended before it was ready
        try:
            async with asyncio.timeout(self._options.provision_secs), self._turns:
                materials = await self._provisioner.build(resident, package, Log(None))
                service_urls = await self._provisioner.assemble(resident, materials, Log(None))
                self._provisioner.set_variables(resident, service_urls, resident.environment.variables)
        except Exception as error:  # noqa: BLE001  whatever it is, the environment must be cleared away
            _log.warning(
                "environments.teardown_failed", environment=resident.environment.id, reason=str(error)
            )
            return False
        return True

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(self._options.reap_secs)
            try:
                await self._reap_once()
            except Exception as error:  # noqa: BLE001  nothing else ends what is over: the next round may succeed
                _log.warning("environments.reaper_failed", reason=repr(error))

    async def _reap_once(self) -> None:
        async with self._database.read() as tx:
            over = await store.expired(tx, utc_now())
        for environment_id in over:
            resident = self._residents.get(environment_id)
            if resident is not None:
                await self.tear_down(resident, SYSTEM, "its lifetime is over")

    async def usable(self, resident: Resident) -> Living:
        """Wait until a ready environment can be used. Raises Unavailable when that takes too long."""
        if not resident.usable.is_set():
            try:
                async with asyncio.timeout(self._options.ready_secs):
                    await resident.usable.wait()
            except TimeoutError:
                raise Unavailable("the environment is still coming back after a restart") from None
        return resident.living


def seal_context(environment_id: str) -> bytes:
    """Return what sealed variables are bound to, so that they cannot be moved to another row."""
    return f"environment:{environment_id}".encode()


def sealed_variables(vault: Vault, environment_id: str, variables: Mapping[str, str]) -> bytes | None:
    """Seal the secret variables of an environment; None when there are none."""
    if not variables:
        return None
    return vault.seal(json.dumps(dict(variables)).encode(), seal_context(environment_id))
