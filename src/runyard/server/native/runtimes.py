"""Handlers of runtimes and checkpoints in the native words."""

from typing import Final

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call
from runyard.dialects.runta.exec import ExecHandlers
from runyard.kernel.errors import InvalidArgument
from runyard.runtimes.definition import (
    PLACEHOLDER,
    Definition,
    EgressMode,
    EgressPolicy,
    Resources,
    SecretFile,
    SecretUse,
    SecretVariable,
)
from runyard.runtimes.model import Checkpoint, CheckpointKind, Runtime, Status, Verb
from runyard.runtimes.requests import CommandRequest, CommandResult, text_of
from runyard.runtimes.service import NewRuntime
from runyard.server.house import House
from runyard.server.native.replies import encode, send_json, send_nothing
from runyard.server.native.wire import (
    CheckpointIn,
    CommandIn,
    CommandOut,
    Listed,
    NativeCheckpointOut,
    NativeRuntimeOut,
    RuntimeIn,
    SecretUseIn,
    SecretUseOut,
)

MAX_PAGE: Final = 1000
DOOR: Final = "native"
_HOME: Final = "/root/"

_runtime = msgspec.json.Decoder(RuntimeIn)
_checkpoint = msgspec.json.Decoder(CheckpointIn)
_command = msgspec.json.Decoder(CommandIn)
_EGRESS = {"open": EgressPolicy(), "none": EgressPolicy(mode=EgressMode.ALLOWLIST)}


class NativeRuntimeHandlers:
    """Runtimes by id or unique name."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._runtimes = house.runtimes

    async def listing(self, call: Call) -> None:
        """List runtimes, the newest first."""
        values = reading.query(call)
        limit = reading.integer(values, "limit", 50, 1, MAX_PAGE)
        statuses = set(reading.listed_words(values, "status", Status))
        page = await self._runtimes.page(call.caller.scope, statuses, limit, values.get("cursor") or None)
        await send_json(
            call, Listed(items=[runtime_view(one) for one in page.items], next_cursor=page.next_cursor)
        )

    async def create(self, call: Call) -> None:
        """Create a runtime, or restore a checkpoint into one."""
        body = await reading.read_optional_json(call, _runtime)
        default = self._runtimes.options.default_base
        key = reading.header(call, b"idempotency-key")
        if key is not None and not 1 <= len(key) <= 255:
            raise InvalidArgument("Idempotency-Key must be 1 to 255 characters")
        runtime = await self._runtimes.create(call.caller, _new_runtime(body, default), key)
        await send_json(call, runtime_view(runtime), status=201)

    async def get(self, call: Call) -> None:
        """Get one runtime."""
        runtime = await self._runtimes.get(call.caller.scope, call.params["runtime"])
        await send_json(call, runtime_view(runtime))

    async def delete(self, call: Call) -> None:
        """Delete a runtime with its files."""
        await self._order(call, Verb.DELETE)
        await send_nothing(call)

    async def start(self, call: Call) -> None:
        """Start."""
        await send_json(call, runtime_view(await self._order(call, Verb.START)))

    async def stop(self, call: Call) -> None:
        """Stop."""
        await send_json(call, runtime_view(await self._order(call, Verb.STOP)))

    async def pause(self, call: Call) -> None:
        """Pause."""
        await send_json(call, runtime_view(await self._order(call, Verb.PAUSE)))

    async def resume(self, call: Call) -> None:
        """Resume."""
        await send_json(call, runtime_view(await self._order(call, Verb.RESUME)))

    async def _order(self, call: Call, verb: Verb) -> Runtime:
        resident = await self._runtimes.resident(call.caller.scope, call.params["runtime"])
        return await self._runtimes.order(call.caller, resident, verb)


class NativeExecHandlers(ExecHandlers):
    """Buffered commands: the waiting answer is the same as the Runta door's, its words are not."""

    door = DOOR

    def read_command(self, body: bytes) -> CommandRequest:
        """Decode the body."""
        given = reading.decode(_command, body)
        return CommandRequest(
            argv=(given.command, *given.args) if given.args is not None else (),
            script=given.command if given.args is None else None,
            cwd=given.cwd,
            env=given.env,
            stdin=None if given.stdin is None else given.stdin.encode("utf-8", "surrogatepass"),
            timeout_secs=given.timeout_secs,
            max_output_bytes=given.max_output_bytes,
        )

    def write_result(self, result: CommandResult, runtime: Runtime) -> bytes:
        """Encode the result."""
        return encode(
            CommandOut(
                execution_id=result.execution_id,
                runtime_id=runtime.id,
                exit_code=result.exit_code,
                stdout=text_of(result.stdout, cut=result.stdout_truncated),
                stderr=text_of(result.stderr, cut=result.stderr_truncated),
                stdout_truncated=result.stdout_truncated,
                stderr_truncated=result.stderr_truncated,
                duration_ms=result.duration_ms,
            )
        )


class NativeCheckpointHandlers:
    """Checkpoints by id or unique name."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._runtimes = house.runtimes
        self._checkpoints = house.checkpoints

    async def listing(self, call: Call) -> None:
        """List checkpoints, the newest first."""
        values = reading.query(call)
        limit = reading.integer(values, "limit", 50, 1, MAX_PAGE)
        page = await self._checkpoints.page(call.caller.scope, limit, values.get("cursor") or None)
        await send_json(
            call, Listed(items=[checkpoint_view(one) for one in page.items], next_cursor=page.next_cursor)
        )

    async def create(self, call: Call) -> None:
        """Copy the writable files of a runtime."""
        resident = await self._runtimes.resident(call.caller.scope, call.params["runtime"])
        body = await reading.read_optional_json(call, _checkpoint)
        made = await self._checkpoints.create(call.caller, resident, CheckpointKind.FULL, body.name)
        await send_json(call, checkpoint_view(made), status=201)

    async def get(self, call: Call) -> None:
        """Get one checkpoint."""
        found = await self._checkpoints.get(call.caller.scope, call.params["checkpoint"])
        await send_json(call, checkpoint_view(found))

    async def delete(self, call: Call) -> None:
        """Delete a checkpoint; runtimes made from it stay."""
        await self._checkpoints.delete(call.caller, call.params["checkpoint"])
        await send_nothing(call)


def _new_runtime(body: RuntimeIn, default_base: str) -> NewRuntime:
    egress = _EGRESS.get("open" if body.egress is None else body.egress)
    if egress is None:
        raise InvalidArgument("egress must be open or none")
    memory = 1024 if body.memory_mib is None else body.memory_mib
    resources = Resources(
        vcpus=1 if body.vcpus is None else body.vcpus,
        memory_mib=memory,
        memory_limit_mib=memory,
        disk_gib=body.disk_gib,
    )
    definition = Definition(
        base=default_base if body.base is None else body.base,
        resources=resources,
        egress=egress,
        environment=body.environment,
        secrets=tuple(_secret_use(one) for one in body.secrets),
    )
    given = any(value is not None for value in (body.vcpus, body.memory_mib, body.disk_gib))
    return NewRuntime(
        definition=definition,
        name=body.name,
        checkpoint=body.checkpoint_id,
        resources=resources if given and body.checkpoint_id else None,
    )


def _secret_use(given: SecretUseIn) -> SecretUse:
    """Return where a secret goes; it is the whole variable or file. Raises InvalidArgument."""
    if given.env is None and given.file is None:
        raise InvalidArgument("a secret needs env, file or both")
    variable = () if given.env is None else (SecretVariable(name=given.env, value_template=PLACEHOLDER),)
    path = None if given.file is None else given.file.removeprefix(_HOME)
    file = () if path is None else (SecretFile(path=path, value_template=PLACEHOLDER),)
    return SecretUse(secret_id=given.name, environment=variable, files=file)


def runtime_view(one: Runtime) -> NativeRuntimeOut:
    """Return a runtime as the wire has it."""
    definition = one.definition
    return NativeRuntimeOut(
        id=one.id,
        name=one.display_name,
        status=one.status.value,
        desired_status=one.desired_status.value,
        base=definition.base,
        vcpus=definition.resources.vcpus,
        memory_mib=definition.resources.memory_limit_mib,
        disk_gib=definition.resources.disk_gib,
        egress="open" if definition.egress.is_open else "none",
        environment=definition.environment,
        secrets=[
            SecretUseOut(
                secret_id=use.secret_id,
                env=[variable.name for variable in use.environment],
                files=[file.path for file in use.files],
            )
            for use in definition.secrets
        ],
        project=one.project_id,
        revision=one.revision,
        created_at=one.created_at,
        updated_at=one.updated_at,
        error_code=one.error_code,
        error_message=one.error_message,
    )


def checkpoint_view(one: Checkpoint) -> NativeCheckpointOut:
    """Return a checkpoint as the wire has it."""
    return NativeCheckpointOut(
        id=one.id,
        name=one.display_name,
        state=one.state.value,
        runtime_id=one.source_runtime_id,
        runtime_name=one.source_runtime_name,
        size_bytes=one.size_bytes,
        created_at=one.created_at,
        error_code=one.error_code,
    )
