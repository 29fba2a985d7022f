"""Executions: list, create, read, change, output. Owns the reading of their queries and bodies."""

import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from runyard.actions.errors import RunRefused
from runyard.actions.runs.model import Detail, NewRun, Record
from runyard.actions.runs.service import require_self
from runyard.dialects.door import Answer, Call, send_answer
from runyard.dialects.stackstorm import granting, reading
from runyard.dialects.stackstorm.asking import claimed_users, delay_of, new_run
from runyard.dialects.stackstorm.filters import FILTER_VALUES, filter_of
from runyard.dialects.stackstorm.replies import encode, send_json, send_parts, start_text
from runyard.dialects.stackstorm.services import StackStormServices
from runyard.dialects.stackstorm.views import EXECUTION_FIELDS, execution_view, narrowed_execution
from runyard.executions.output.model import OutputGone, Stream
from runyard.kernel.errors import InvalidArgument, NotFound

LARGEST_RESULT: Final = 14 << 20
STATUSES: Final = (
    "requested", "scheduled", "delayed", "running", "succeeded", "failed", "timeout", "abandoned",
    "canceling", "canceled", "pending", "pausing", "paused", "resuming",
)  # fmt: skip
_EXCLUDABLE: Final = ("result", "trigger_instance", "status")
_STREAMS: Final = {"stdout": Stream.STDOUT, "stderr": Stream.STDERR}
_BLOCK: Final = 1 << 20
_AT_ONCE: Final = 500
"""Executions of a list that are held at once; a longer list is sent in parts."""
_PART_BYTES: Final = 16 << 20
"""Of what is held at once, as the database keeps it."""


class ExecutionHandlers:
    """Executions."""

    def __init__(self, services: StackStormServices) -> None:
        """Take the services."""
        self._services = services
        self._runs = services.runs

    async def list(self, call: Call) -> None:
        """List executions."""
        values = reading.query(call)
        included, excluded = reading.attributes(values, EXECUTION_FIELDS, _EXCLUDABLE)
        offset, limit = reading.paging(call, values, 100)
        owner = granting.access_of(call).owner
        wanted = msgspec.structs.replace(filter_of(values), owner=owner, offset=offset, limit=limit)
        roots = {name.partition(".")[0] for name in included}
        detail = Detail(
            secrets=reading.shows_secrets(call, values),
            history=not roots or "log" in roots,
            results=not roots or bool(roots & {"result", "result_size"}),
        )
        ids, total = await self._runs.listed(call.caller.scope, wanted)
        base = base_of(call)

        async def parts() -> AsyncIterator[list[bytes]]:
            for start in range(0, len(ids), _AT_ONCE):
                some = ids[start : start + _AT_ONCE]
                sizes = await self._runs.sizes(some, results=detail.results)
                for part in _bounded(some, sizes):
                    found = await self._runs.records(call.caller.scope, part, detail)
                    views = (execution_view(one, base) for one in found)
                    yield [encode(narrowed_execution(view, included, excluded)) for view in views]

        await send_parts(call, parts(), total, limit)

    async def create(self, call: Call) -> None:
        """Ask for an execution."""
        values = reading.query(call)
        body = await reading.read_object(call)
        new = new_run(call, body)
        for user in claimed_users(new):
            require_self(call.caller, user, reading.is_admin(call))
        access = granting.access_of(call)
        if access.enforced:
            await self._require_runnable(call, new.action)
            new = msgspec.structs.replace(new, roles=access.roles)
        await self._require_parent(call, new)
        record = await self._runs.create(call.caller, new)
        await self._send_new(call, record, values)

    async def _require_runnable(self, call: Call, ref: str) -> None:
        stored = await self._services.catalogue.find(call.caller.scope.account_id, ref)
        if stored is not None:
            granting.require_action(call, "action_execute", stored.action)

    async def _require_parent(self, call: Call, new: NewRun) -> None:
        """Refuse to hang an execution below one that the caller cannot see."""
        for context in (new.header_context, new.context):
            parent = context.get("parent")
            if isinstance(parent, Mapping) and isinstance(parent.get("execution_id"), str):
                record = await self._runs.get(call.caller.scope, parent["execution_id"])
                granting.require_execution(call, "execution_view", record)

    async def _send_new(self, call: Call, record: Record, values: Mapping[str, str]) -> None:
        if reading.shows_secrets(call, values):
            record = msgspec.structs.replace(record, parameters=self._runs.opened(record.run))
        await send_json(call, execution_view(record, base_of(call), fresh=True), 201)

    async def get(self, call: Call) -> None:
        """Get an execution."""
        values = reading.query(call)
        included, excluded = reading.attributes(values, EXECUTION_FIELDS, _EXCLUDABLE)
        largest = reading.number(values, "max_result_size", 0) or 0
        if largest < 0:
            raise InvalidArgument("max_result_size must be a positive number")
        if largest > LARGEST_RESULT:
            raise InvalidArgument("max_result_size query parameter must be smaller than 14 MB")
        record = await self._named(call, secrets=reading.shows_secrets(call, values))
        document = execution_view(record, base_of(call))
        if largest and document.get("result_size", 0) > largest:
            document.pop("result", None)
        await send_json(call, narrowed_execution(document, included, excluded))

    async def update(self, call: Call) -> None:
        """Set status and result."""
        body = await reading.read_object(call)
        unknown = [name for name in body if name not in ("status", "result")]
        if unknown:
            raise InvalidArgument(f"Additional properties are not allowed ('{unknown[0]}' was unexpected)")
        status, result = body.get("status"), body.get("result")
        if status is not None and status not in STATUSES:
            raise InvalidArgument(f"'{status}' is not one of {list(STATUSES)}")
        if result is not None and not isinstance(result, dict):
            raise InvalidArgument(f"{result!r} is not of type 'object'")
        if status is None:
            raise InvalidArgument("'status' is a required property")
        if call.params["execution"] == "last":
            raise NotFound('Unable to identify resource with id "last".')
        record = await self._named(call, "execution_stop")
        await self._services.changes.set_status(call.caller, record.execution.id, status, result)
        await self._send_changed(call, record)

    async def cancel(self, call: Call) -> None:
        """End an execution; one that cannot be is told of in a sentence, with 200."""
        record = await self._named(call, "execution_stop")
        try:
            await self._services.changes.cancel(call.caller, record.execution.id)
        except RunRefused as error:
            await send_json(call, {"faultstring": error.message})
            return
        await self._send_changed(call, record)

    async def _send_changed(self, call: Call, record: Record) -> None:
        secrets = reading.shows_secrets(call, reading.query(call))
        changed = await self._runs.get(call.caller.scope, record.execution.id, secrets=secrets)
        await send_json(call, execution_view(changed, base_of(call)))

    async def attribute(self, call: Call) -> None:
        """Get one member."""
        name = call.params["attribute"]
        if name not in ("result", "status", "trigger_instance"):
            raise InvalidArgument(
                f'Invalid attribute "{name}" specified. Valid attributes are: result, trigger_instance, status'
            )
        reading.object_id(call.params["execution"])
        record = await self._named(call, secrets=reading.shows_secrets(call, reading.query(call)))
        document = execution_view(record, base_of(call))
        await send_json(call, document.get(name, {} if name == "result" else None))

    async def children(self, call: Call) -> None:
        """List all below an execution."""
        values = reading.query(call)
        included, excluded = reading.attributes(values, EXECUTION_FIELDS, _EXCLUDABLE)
        depth = reading.number(values, "depth", -1)
        detail = Detail(secrets=reading.shows_secrets(call, values))
        top = await self._named(call, secrets=detail.secrets)
        depth = -1 if depth is None else depth
        found = await self._runs.descendants(call.caller.scope, top, depth, detail)
        access = granting.access_of(call)
        records = [record for record in found if granting.owns(access, record)]
        if values.get("result_fmt") == "sorted":
            records.sort(key=lambda one: one.execution.created_at)
        base = base_of(call)
        items = [narrowed_execution(execution_view(one, base), included, excluded) for one in records]
        await send_json(call, items)

    async def output(self, call: Call) -> None:
        """Send what an execution wrote so far."""
        values = reading.query(call)
        record = await self._named(call, secrets=reading.shows_secrets(call, values))
        kind = values.get("output_type") or "all"
        await start_text(call)
        log, offset = self._services.output, 0 if kind in ("all", *_STREAMS) else None
        with contextlib.suppress(OutputGone):  # as if nothing had been written
            while offset is not None:
                chunks = await log.read(record.execution.id, offset, _BLOCK, _STREAMS.get(kind))
                part = b"".join(chunk.data for chunk in chunks if chunk.stream is not Stream.SYSTEM)
                if part:
                    await call.send({"type": "http.response.body", "body": part, "more_body": True})
                offset = chunks[-1].end if chunks else None
        await call.send({"type": "http.response.body", "body": b""})

    async def result(self, call: Call) -> None:
        """Send the result, to be looked at or kept."""
        values = reading.query(call)
        name = reading.object_id(call.params["execution"])
        try:
            record = await self._named(call, secrets=reading.shows_secrets(call, values))
        except NotFound:
            raise NotFound("The resource could not be found.") from None
        found = dict(record.result or {})
        pretty = reading.flag(values, "pretty_format")
        body = json.dumps(found, indent=2).encode() if pretty else encode(found)
        kind, headers, ending = "text/json", [], "json"
        if reading.flag(values, "compress"):
            body, kind, ending = gzip.compress(body), "application/x-gzip", "json.gz"
            headers.append((b"content-encoding", b"gzip"))
        if reading.flag(values, "download"):
            file = f"attachment; filename=execution_{name}_result.{ending}"
            headers.append((b"content-disposition", file.encode()))
        await send_answer(call, Answer(200, body, kind, headers))

    async def filters(self, call: Call) -> None:
        """Send the distinct values that lists can be filtered by."""
        asked = reading.words(reading.query(call), "types")
        kept = [name for name in FILTER_VALUES if not asked or name in asked]
        owner = granting.access_of(call).owner
        await send_json(call, await self._runs.filters(call.caller.scope, kept, owner))

    async def re_run(self, call: Call) -> None:
        """Run again."""
        values = reading.query(call)
        body = await reading.read_object(call)
        parameters, tasks, reset = body.get("parameters", {}), body.get("tasks", []), body.get("reset", [])
        for value, kind, word in (
            (parameters, dict, "object"), (tasks, list, "array"), (reset, list, "array"),
        ):  # fmt: skip
            if not isinstance(value, kind):
                raise InvalidArgument(f"{value!r} is not of type '{word}'")
        for task in (*tasks, *reset):
            if not isinstance(task, str):
                raise InvalidArgument(f"{task!r} is not of type 'string'")
        before = await self._named(call)
        granting.require_execution(call, "execution_rerun", before)
        if (tasks or reset) and parameters:
            raise InvalidArgument(
                "Parameters override is not supported when re-running task(s) for a workflow."
            )
        if tasks and before.run.runner != "orquesta":
            raise InvalidArgument("Task option is only supported for Orquesta workflows.")
        if set(reset) - set(tasks):
            raise InvalidArgument("List of tasks to reset does not match the tasks to rerun.")
        user = reading.optional_text(body, "user")
        require_self(call.caller, user, reading.is_admin(call))
        access = granting.access_of(call)
        new = NewRun(
            action="",
            parameters=parameters,
            user=user,
            delay_ms=delay_of(body),
            request_id=call.request_id[:64],
            roles=access.roles if access.enforced else None,
        )
        record = await self._runs.re_run(call.caller, before.execution.id, new)
        await self._send_new(call, record, values)

    async def _named(
        self, call: Call, permission: str = "execution_view", *, secrets: bool = False
    ) -> Record:
        """Find the execution of the path. Raises NotFound, PermissionDenied."""
        owner = granting.access_of(call).owner
        record = await self._runs.get(
            call.caller.scope, call.params["execution"], secrets=secrets, owner=owner
        )
        granting.require_execution(call, permission, record)
        return record


def _bounded(ids: Sequence[str], sizes: Mapping[str, int]) -> Iterator[Sequence[str]]:
    """Cut a list into parts that are no larger than may be held at once, or of one: it may have 14 MB."""
    part: list[str] = []
    left = _PART_BYTES
    for name in ids:
        size = sizes.get(name, 0)
        if part and size > left:
            yield part
            part, left = [], _PART_BYTES
        part.append(name)
        left -= size
    if part:
        yield part


def base_of(call: Call) -> str:
    """Return the address of the pages, as the caller reached this server."""
    return f"https://{reading.header(call, b'host') or 'localhost'}"
