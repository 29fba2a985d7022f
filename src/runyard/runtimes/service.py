"""Verbs of runtimes. Decides who may do what to which runtime; the supervisor does it.

Every verb takes the caller and a reference, which is an id or, where the door allows it, a name.
"""

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import msgspec

from runyard.database.engine import Database
from runyard.database.errors import UniqueViolation
from runyard.identity.model import Principal, Scope
from runyard.kernel.clock import utc_now
from runyard.kernel.errors import InvalidArgument, NotFound
from runyard.kernel.ids import CheckpointId, RuntimeId
from runyard.kernel.jsons import encode_canonical
from runyard.kernel.paging import Page
from runyard.runtimes.amendment import Patch, amended
from runyard.runtimes.checkpoints import CheckpointService
from runyard.runtimes.definition import Definition, ResourceLimits, Resources, check_name
from runyard.runtimes.errors import (
    CheckpointNotReady,
    IdempotencyMismatch,
    RuntimeNotFound,
    TooManyRuntimes,
)
from runyard.runtimes.isolation.engine import CannotEnforce, Engine, Network
from runyard.runtimes.model import CheckpointState, Order, Runtime, Status, Verb, created_event
from runyard.runtimes.names import random_name
from runyard.runtimes.options import RuntimesOptions
from runyard.runtimes.references import only
from runyard.runtimes.resident import Resident
from runyard.runtimes.secrets import SecretService
from runyard.runtimes.store import Idempotency, RuntimeStore
from runyard.runtimes.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRuntime:
    """What a caller wants made."""

    definition: Definition
    name: str | None = None
    """None means the checkpoint's source's name, or two random words."""
    checkpoint: str | None = None
    """Id or name of the checkpoint to start from."""
    resources: Resources | None = None
    """For a restore: other resources than those of the checkpoint."""

    def digest(self) -> str:
        """Return a fingerprint by which a repeated request is known."""
        return hashlib.sha256(encode_canonical(msgspec.to_builtins(self))).hexdigest()


def within_host(limits: ResourceLimits) -> ResourceLimits:
    """Return the limits, lowered to what this host has: more could be promised, but never given."""
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return replace(
        limits,
        vcpus=min(limits.vcpus, os.cpu_count() or 1),
        memory_mib=min(limits.memory_mib, memory_mib),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A page with the number of all that the filter matches."""

    page: Page[Runtime]
    total: int


class RuntimeService:
    """Creates, finds, changes and deletes runtimes."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        supervisor: Supervisor,
        secrets: SecretService,
        checkpoints: CheckpointService,
        options: RuntimesOptions,
    ) -> None:
        """Take the parts."""
        self._database = database
        self._engine = engine
        self._supervisor = supervisor
        self._secrets = secrets
        self._checkpoints = checkpoints
        self.options = options
        self.limits = within_host(options.limits)
        self._store = RuntimeStore()

    # --- finding ---------------------------------------------------------------------------------------------------

    async def resident(self, scope: Scope, reference: str, *, names: bool = True) -> Resident:
        """Find a runtime by id, then by name. Raises RuntimeNotFound, AmbiguousName listing the ids, InvalidArgument
        when it is no id and names are not allowed.
        """
        known = self._supervisor.find(scope, reference)
        if known is not None:
            return known
        async with self._database.read() as tx:
            try:
                found = await self._store.get(tx, scope, RuntimeId.parse(reference))
            except ValueError:
                if not names:
                    raise InvalidArgument("runtime_id must be a UUID") from None
                found = None
            named = await self._store.named(tx, scope, reference) if found is None and names else []
        found = found or only(named, reference, "runtimes")
        if found is None:
            raise RuntimeNotFound(reference)
        return self._supervisor.adopt(found)

    async def get(self, scope: Scope, reference: str, *, names: bool = True) -> Runtime:
        """Return a runtime as it is now. Raises as `resident`."""
        return (await self.resident(scope, reference, names=names)).runtime

    async def page(
        self, scope: Scope, statuses: Collection[Status], limit: int, after: str | int | None = None
    ) -> Page[Runtime]:
        """List runtimes, the newest first, from a cursor or an offset."""
        async with self._database.read() as tx:
            return await self._store.page(tx, scope, statuses, limit, after)

    async def counted(
        self, scope: Scope, statuses: Collection[Status], limit: int, after: str | int | None = None
    ) -> Counted:
        """List as `page` and count all matches."""
        async with self._database.read() as tx:
            page = await self._store.page(tx, scope, statuses, limit, after)
            return Counted(page=page, total=await self._store.count(tx, scope, statuses))

    # --- creating --------------------------------------------------------------------------------------------------

    async def create(self, principal: Principal, new: NewRuntime, key: str | None = None) -> Runtime:
        """Make a runtime and begin to boot it. With an idempotency key, the same request answers the same runtime.
        Raises InvalidArgument, Unimplemented, CannotEnforce, TooManyRuntimes, CheckpointNotReady, IdempotencyMismatch.
        """
        idempotency = None if key is None else Idempotency(key, new.digest())
        if idempotency is not None:
            replayed = await self._replay(principal.scope, idempotency)
            if replayed is not None:
                return replayed
        runtime = await self._planned(principal, new)
        try:
            async with self._database.transaction() as tx:
                if await self._store.count_account(tx, runtime.account_id) >= self.options.max_runtimes:
                    raise TooManyRuntimes(retry_after=60)
                await self._store.insert(tx, runtime, idempotency)
                await tx.record(created_event(runtime, principal.actor))
        except UniqueViolation:
            # Two tries of one call met: the row of the other one is the answer to both.
            replayed = await self._replay(principal.scope, idempotency) if idempotency else None
            if replayed is None:
                raise
            return replayed
        resident = self._supervisor.adopt(runtime)
        return await self._booted(resident)

    async def _booted(self, resident: Resident) -> Runtime:
        await self._supervisor.settle(self._supervisor.begin_boot(resident), self.options.settle_secs)
        error = resident.boot_error
        if resident.runtime.status is Status.ERROR and isinstance(error, CannotEnforce | NotFound):
            # Refused, not failed: nothing was made, so nothing is left behind.
            await self._remove(resident, "system:runtimes", None)
            raise error
        return resident.runtime

    async def _replay(self, scope: Scope, idempotency: Idempotency) -> Runtime | None:
        async with self._database.read() as tx:
            found = await self._store.by_key(tx, scope.account_id, idempotency.key)
        if found is None:
            return None
        runtime, digest = found
        if digest != idempotency.digest or not runtime.project_path.startswith(scope.project_path):
            raise IdempotencyMismatch
        return self._supervisor.adopt(runtime).runtime

    async def _planned(self, principal: Principal, new: NewRuntime) -> Runtime:
        definition, name, restored_from = new.definition, new.name, None
        if new.checkpoint is not None:
            checkpoint = await self._checkpoints.get(principal.scope, new.checkpoint)
            if checkpoint.state is not CheckpointState.READY:
                raise CheckpointNotReady(
                    f"checkpoint '{checkpoint.id}' is not ready (state: {checkpoint.state})"
                )
            source, restored_from = checkpoint.definition, CheckpointId(checkpoint.id)
            definition = replace(
                definition,
                base=source.base,
                resources=new.resources or source.resources,
                environment=definition.environment or source.environment,
                secrets=definition.secrets or source.secrets,
            )
            name = name or checkpoint.source_runtime_name
        elif definition.base not in {base.name for base in self._engine.bases()}:
            raise InvalidArgument(f"there is no image '{definition.base}' on this server")
        if name is not None:
            check_name(name)
        definition.validate(self.limits)
        scope, now = principal.scope, utc_now()
        return Runtime(
            id=RuntimeId.new(),
            account_id=scope.account_id,
            project_id=scope.project_id,
            project_path=scope.project_path,
            owner_user_id=principal.user_id,
            display_name=name or random_name(),
            definition=replace(definition, secrets=await self._secrets.resolve(scope, definition.secrets)),
            restored_from=restored_from,
            created_at=now,
            updated_at=now,
        )

    # --- life cycle ------------------------------------------------------------------------------------------------

    async def order(
        self, principal: Principal, resident: Resident, verb: Verb, expected: int | None = None
    ) -> Runtime:
        """Start, stop, pause, resume or delete. Repeating what already holds succeeds. Raises TransitionRefused with
        what to do instead, RevisionConflict, CannotEnforce.
        """
        command = Order(verb=verb, actor=principal.actor, at=utc_now(), expected_revision=expected)
        match verb:
            case Verb.START:
                return await self._start(resident, command)
            case Verb.RESUME:
                async with resident.lock:
                    return await self._supervisor.unfreeze(resident, command)
            case Verb.PAUSE:
                return await self._pause(resident, command)
            case Verb.STOP:
                async with resident.lock:
                    runtime = await self._supervisor.order(resident, command)
                    await self._supervisor.end_sandbox(resident, keep_layer=True)
                return runtime
            case Verb.DELETE:
                return await self._remove(resident, principal.actor, expected)
            case _:
                raise InvalidArgument(f"{verb} is not for callers")

    async def _start(self, resident: Resident, command: Order) -> Runtime:
        async with resident.lock:
            runtime = await self._supervisor.unfreeze(resident, command)
        if runtime.status is Status.CREATING:
            await self._supervisor.settle(self._supervisor.begin_boot(resident), self.options.settle_secs)
        return resident.runtime

    async def _pause(self, resident: Resident, command: Order) -> Runtime:
        if resident.runtime.status is Status.CREATING:
            await self._supervisor.settle(self._supervisor.begin_boot(resident), self.options.ready_secs)
        async with resident.lock:
            return await self._supervisor.freeze(resident, command)

    async def _remove(self, resident: Resident, actor: str, expected: int | None) -> Runtime:
        async with resident.lock:
            command = Order(verb=Verb.DELETE, actor=actor, at=utc_now(), expected_revision=expected)
            runtime = await self._supervisor.order(resident, command)
        await self._supervisor.settle(self._supervisor.begin_removal(resident), self.options.settle_secs)
        return runtime

    # --- changing --------------------------------------------------------------------------------------------------

    async def patch(
        self, principal: Principal, resident: Resident, patch: Patch, expected: int | None = None
    ) -> Runtime:
        """Change what the owner decides; what concerns living processes takes effect at once. Raises InvalidArgument,
        Unimplemented, RevisionConflict, CannotEnforce.
        """
        if patch.secrets is not None:
            patch = replace(patch, secrets=await self._secrets.resolve(principal.scope, patch.secrets))
        async with resident.lock:
            before = resident.runtime
            amend = amended(before, patch, principal.actor, expected)
            amend.definition.validate(self.limits)
            await self._enforce(resident, before.definition, amend.definition)
            try:
                runtime = await self._supervisor.order(resident, amend)
            except BaseException:
                await self._enforce(resident, amend.definition, before.definition)
                raise
            if patch.secrets is not None:
                await self._supervisor.rewrite_secrets(resident)
            return runtime

    async def _enforce(self, resident: Resident, old: Definition, new: Definition) -> None:
        sandbox = resident.sandbox
        if sandbox is None:
            return
        if old.resources != new.resources:
            await sandbox.set_limits(self._supervisor.limits(new.resources))
        if old.egress.is_open != new.egress.is_open:
            await sandbox.set_network(Network.OPEN if new.egress.is_open else Network.NONE)

    # --- facts -----------------------------------------------------------------------------------------------------

    async def disk_gib(self, resident: Resident) -> float | None:
        """Measure the disk space that a living runtime uses; None when nobody can tell."""
        usage = await resident.sandbox.usage() if resident.sandbox is not None else None
        return None if usage is None or usage.disk_bytes is None else usage.disk_bytes / (1 << 30)

    def images(self) -> Mapping[str, bool]:
        """Return the bases that `create` accepts, and which one is the default."""
        return {base.name: base.name == self.options.default_base for base in self._engine.bases()}
