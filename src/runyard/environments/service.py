"""Verbs of environments: create, find, list, run commands, read logs, extend, tear down."""

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from runyard.database.engine import Database
from runyard.environments import access, store
from runyard.environments.commands import CommandRequest, EnvironmentCommands, Pending
from runyard.environments.errors import EnvironmentNotFound, EnvironmentNotReady, TooManyEnvironments
from runyard.environments.keeper import EnvironmentKeeper, sealed_variables
from runyard.environments.model import (
    Definition,
    Environment,
    Extend,
    State,
    created_event,
    not_ready,
)
from runyard.environments.options import EnvironmentOptions
from runyard.environments.packages.model import TaskPackage
from runyard.environments.packages.service import PackageService
from runyard.environments.resident import Resident
from runyard.environments.rewards import Verdict, translated
from runyard.environments.running import Done
from runyard.environments.usersecrets.service import UserSecretService
from runyard.environments.variables import filled
from runyard.environments.verification import Verifier
from runyard.executions.errors import ExecutionNotFound
from runyard.executions.output.log import OutputLog
from runyard.executions.output.model import Chunk
from runyard.executions.output.redact import mask_text
from runyard.identity.model import Principal, Scope
from runyard.identity.scoping import is_whole_account
from runyard.kernel.clock import utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import InvalidArgument, NotFound, RunyardError, Unimplemented
from runyard.kernel.ids import EnvironmentId, ExecutionId
from runyard.kernel.transitions import Refused
from runyard.runtimes.files import FileReader, FileWriter, inside
from runyard.runtimes.isolation.engine import OpenMode

LOG_BYTES: Final = 1 << 20
_INPUTS_MAX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEnvironment:
    """What a caller asks for."""

    task_ref: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    secret_ids: Sequence[str] = ()
    timeout_secs: int | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    """Models by role, instead of the task's own."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of environments and how many there are in all."""

    items: Sequence[Environment]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentParts:
    """What the verbs need of the house."""

    database: Database
    packages: PackageService
    secrets: UserSecretService
    keeper: EnvironmentKeeper
    commands: EnvironmentCommands
    verifier: Verifier
    output: OutputLog
    vault: Vault
    options: EnvironmentOptions


class EnvironmentService:
    """The environments of all accounts."""

    def __init__(self, parts: EnvironmentParts) -> None:
        """Take the parts."""
        self._parts = parts
        self._keeper = parts.keeper
        self.options = parts.options

    async def create(
        self, caller: Principal, scope: Scope, new: NewEnvironment, request_id: str | None, door: str
    ) -> tuple[Environment, str]:
        """Begin to provision a task in a part of the tree; return it with its execute token, which is shown this once.
        Raises TaskNotFound, InvalidArgument, NotFound (secret), TooManyEnvironments.
        """
        if self.options.engine != "runyard":
            raise Unimplemented(
                f"environments by {self.options.engine} are not implemented (environments.engine)"
            )
        lifetime = self.options.lifetimes.effective(new.timeout_secs)
        package = await self._parts.packages.get(caller.scope, new.task_ref)
        if len(new.inputs) > _INPUTS_MAX:
            raise InvalidArgument(f"inputs: at most {_INPUTS_MAX}", loc=["body", "inputs"])
        definition = Definition(
            package=package.ref,
            layer=package.layer_digest,
            inputs=new.inputs,
            models=_models(package, new.models),
            lifetime_secs=lifetime,
        )
        secrets = await self._secrets(caller, new.secret_ids)
        self._check_room(scope)
        environment = _fresh(caller, scope, package, definition, self._keeper.needs_build(package.kept))
        token, digest = access.new_token()
        resident = self._keeper.adopt(environment, digest)
        resident.secrets = secrets
        try:
            sealed = sealed_variables(self._parts.vault, environment.id, secrets)
            async with self._parts.database.transaction() as tx:
                await store.add(tx, environment, digest, sealed)
                await tx.record(created_event(environment))
        except BaseException:
            self._keeper.forget(environment.id)
            raise
        try:
            await self._begin(resident, door, request_id)
        except RunyardError as error:
            # Whoever asked gets no token, so nobody could use it.
            await self._keeper.fail(resident, error.message)
            raise
        return resident.environment, token

    def _check_room(self, scope: Scope) -> None:
        """Refuse one more than may live, and leave an eighth of all to other accounts. Raises TooManyEnvironments."""
        most = self.options.max_living
        share = most - most // 8
        if self._keeper.living >= most:
            why = f"this server runs {most} environments already"
        elif self._keeper.living_of(scope.account_id) >= share:
            why = f"{share} of the {most} environments that this server runs at most are yours, and one account has no more"
        else:
            return
        raise TooManyEnvironments(f"{why}; tear one down or try again later", retry_after=10.0)

    async def _secrets(self, caller: Principal, secret_ids: Sequence[str]) -> Mapping[str, str]:
        if not secret_ids:
            return {}
        return await self._parts.secrets.resolve(caller.scope.account_id, caller.user_id, secret_ids)

    async def _begin(self, resident: Resident, door: str, request_id: str | None) -> None:
        environment = resident.environment
        assert environment.execution_id is not None
        await self._keeper.provision(resident, environment.execution_id, door, request_id)
        if environment.state is State.PROVISIONING:
            waiting = asyncio.ensure_future(resident.usable.wait())
            await asyncio.wait((waiting,), timeout=self.options.settle_secs)
            waiting.cancel()

    async def get(self, scope: Scope, reference: str) -> Environment:
        """Find an environment by its id. Raises EnvironmentNotFound."""
        try:
            environment_id = EnvironmentId.parse(reference)
        except ValueError:
            raise EnvironmentNotFound from None
        resident = self._keeper.find(environment_id)
        if resident is not None and _reaches(scope, resident.environment):
            return resident.environment
        async with self._parts.database.read() as tx:
            found = await store.get(tx, scope, environment_id)
        if found is None:
            raise EnvironmentNotFound
        return found

    async def page(self, scope: Scope, states: Collection[State], offset: int, limit: int) -> Listed:
        """List environments of a part of the tree, the newest first."""
        async with self._parts.database.read() as tx:
            items, total = await store.page(tx, scope, states, offset, limit)
        return Listed(items, total)

    async def admit(self, scope: Scope, reference: str, token: str | None) -> Environment:
        """Find an environment whose execute token the caller has. Raises EnvironmentNotFound, WrongExecuteToken."""
        environment = await self.get(scope, reference)
        resident = self._keeper.find(environment.id)
        if resident is not None:
            access.check(token, resident.token_digest)
            return environment
        async with self._parts.database.read() as tx:
            digest, _ = await store.secrets_of(tx, environment.id)
        access.check(token, digest)
        return environment

    async def ready(self, environment: Environment) -> Resident:
        """Return the living environment, once it can be used. Raises EnvironmentNotReady, Unavailable."""
        resident = self._keeper.find(environment.id)
        if resident is None or resident.environment.state is not State.READY:
            raise EnvironmentNotReady(not_ready(environment if resident is None else resident.environment))
        await self._keeper.usable(resident)
        if resident.environment.state is not State.READY:
            raise EnvironmentNotReady(not_ready(resident.environment))
        return resident

    async def execute(
        self, caller: Principal, environment: Environment, request: CommandRequest, request_id: str
    ) -> Pending[Done]:
        """Begin a command in an environment. Raises InvalidArgument, EnvironmentNotReady, TooManyExecutes."""
        request.validate()
        return await self._parts.commands.begin(caller, await self.ready(environment), request, request_id)

    async def logs(self, environment: Environment) -> str:
        """Return the end of what building and provisioning said, and of what services print."""
        text = ""
        if environment.execution_id is not None:
            try:
                chunks = await self._parts.output.read(environment.execution_id, 0, 8 << 20)
            except (ExecutionNotFound, NotFound):
                chunks = ()
            text = b"".join(chunk.data for chunk in chunks)[-LOG_BYTES:].decode("utf-8", "replace")
        resident = self._keeper.find(environment.id)
        if resident is not None and resident.living.gateway is not None and resident.living.gateway.refused:
            text += f"\n--- not let out: {', '.join(resident.living.gateway.refused)}\n"
        for service in resident.living.services.values() if resident is not None else ():
            head, left_out, tail = service.log.parts()
            middle = f"\n... {left_out} bytes left out ...\n".encode() if left_out else b""
            ended = f" ({service.ended})" if service.ended else ""
            text += f"\n--- {service.name}{ended}\n{(head + middle + tail).decode('utf-8', 'replace')}"
        # What building said is masked where it is kept; services know the secrets too.
        return text if resident is None else mask_text(text, resident.masks)

    async def extend(self, caller: Principal, environment: Environment, seconds: int) -> Environment:
        """Let an environment live some seconds from now, at most as long as any may live in all.
        Raises InvalidArgument, EnvironmentNotReady.
        """
        allowed = self.options.lifetimes.effective(seconds)
        latest = environment.created_at + timedelta(seconds=self.options.lifetimes.max_secs)
        resident = self._keeper.find(environment.id)
        if resident is None:
            raise EnvironmentNotReady(not_ready(environment))
        until = min(utc_now() + timedelta(seconds=allowed), latest)
        if resident.environment.expires_at is not None:
            until = max(until, resident.environment.expires_at)
        outcome = await self._keeper.order(resident, Extend(until), caller.actor)
        if isinstance(outcome, Refused):
            raise EnvironmentNotReady(outcome.reason)
        return outcome

    async def verify(
        self,
        caller: Principal,
        environment: Environment,
        outputs: Sequence[str] | None,
        request_id: str,
        door: str,
    ) -> Pending[Verdict]:
        """Begin to judge the outcome of a ready environment. Raises EnvironmentNotReady, VerificationUnsupported,
        InvalidArgument, TooManyExecutes.
        """
        resident = await self.ready(environment)
        return await self._parts.verifier.begin(caller, resident, outputs, request_id, door)

    def follow(self, pending: Pending[Done]) -> AsyncIterator[Chunk]:
        """Follow the output of a command as it is kept."""
        return self._parts.output.follow(pending.handle.execution.id)

    @asynccontextmanager
    async def reading(self, environment: Environment, path: str) -> AsyncIterator[FileReader]:
        """Open a regular file where commands run. Raises NotFound, InvalidArgument, EnvironmentNotReady."""
        sandbox = (await self.ready(environment)).living.main
        assert sandbox is not None
        reader = FileReader(await sandbox.open_file(inside(path), OpenMode.READ))
        try:
            yield reader
        finally:
            reader.close()

    @asynccontextmanager
    async def writing(self, environment: Environment, path: str, mode: int) -> AsyncIterator[FileWriter]:
        """Begin a file where commands run, parents are made; leaving the context without `publish` discards it.
        Raises InvalidArgument, EnvironmentNotReady.
        """
        sandbox = (await self.ready(environment)).living.main
        assert sandbox is not None
        opened = await sandbox.open_file(inside(path), OpenMode.CREATE)
        os.fchmod(opened.fd, mode)
        writer = FileWriter(opened)
        try:
            yield writer
        finally:
            await writer.discard()

    def shown_instruction(self, environment: Environment) -> str | None:
        """Return the task's template as its reader needs it: what the provision script answered is filled in, because
        nobody else knows it; services and inputs are left to the reader, whose inputs win.
        """
        if environment.instruction is None or not environment.variables:
            return environment.instruction
        inputs = environment.definition.inputs
        known = {name: value for name, value in environment.variables.items() if name not in inputs}
        return filled(environment.instruction, known)

    def shown_verification(self, environment: Environment) -> Mapping[str, Any] | None:
        """Return how a task is verified, in the words that this installation shows."""
        if environment.verification is None or not self.options.translate_verification:
            return environment.verification
        return translated(environment.verification)

    async def tear_down(self, caller: Principal, environment: Environment) -> Environment:
        """End an environment; again is harmless."""
        resident = self._keeper.find(environment.id)
        if resident is None:
            return environment
        return await self._keeper.tear_down(resident, caller.actor, None)


def _fresh(
    caller: Principal, scope: Scope, package: TaskPackage, definition: Definition, needs_build: bool
) -> Environment:
    now = utc_now()
    return Environment(
        id=EnvironmentId.new(),
        account_id=scope.account_id,
        project_id=scope.project_id,
        project_path=scope.project_path,
        owner_user_id=caller.user_id,
        actor=caller.actor,
        task_ref=package.ref,
        definition=definition,
        state=State.BUILDING if needs_build else State.PROVISIONING,
        created_at=now,
        updated_at=now,
        expires_at=now + timedelta(seconds=definition.lifetime_secs),
        instruction=package.manifest.instruction,
        verification=package.manifest.document.get("verification"),
        execution_id=ExecutionId.new(),
    )


def _reaches(scope: Scope, environment: Environment) -> bool:
    if scope.account_id != environment.account_id:
        return False
    return is_whole_account(scope) or environment.project_path.startswith(scope.project_path)


def _models(package: TaskPackage, overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the models by role. Raises InvalidArgument for a role that the task does not let others choose."""
    models = {role: use.model for role, use in package.manifest.models.items()}
    for role, model in overrides.items():
        declared = package.manifest.models.get(role)
        if declared is None or not declared.overridable:
            raise InvalidArgument(
                f"model_overrides: the task declares no overridable role '{role[:64]}'",
                loc=["body", "model_overrides", role[:64]],
            )
        models[role] = model
    return models
