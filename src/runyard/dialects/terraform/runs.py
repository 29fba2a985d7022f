"""Runs in the words of the protocol: ask for one, look how far it is, decide, and read its logs as they grow."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import msgspec

from runyard.dialects.door import Answer, Call, send_answer
from runyard.dialects.reading import integer
from runyard.dialects.streaming import send_pieces
from runyard.dialects.terraform import reading
from runyard.dialects.terraform.addresses import Addresses, Purpose
from runyard.dialects.terraform.finding import organization
from runyard.dialects.terraform.reading import Resource
from runyard.dialects.terraform.replies import HEADERS, resource, send_list, send_nothing, send_resource
from runyard.dialects.terraform.runviews import (
    EXTRAS,
    apply_view,
    bare,
    check_text,
    check_view,
    plan_view,
    run_view,
    status_of,
    still_applying,
)
from runyard.dialects.terraform.services import TerraformServices
from runyard.dialects.terraform.workspaces import workspace_view
from runyard.executions.output.model import OutputGone
from runyard.identity.model import Scope
from runyard.infrastructure.runs.model import (
    Archive,
    NewRun,
    Origin,
    Run,
    RunKind,
    RunQuery,
    RunStatus,
    Trigger,
)
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.clock import utc_now
from runyard.kernel.errors import InvalidArgument, NotFound, Unimplemented
from runyard.kernel.ids import AccountId, ExecutionId, ProjectId

START, END = b"\x02", b"\x03"
"""The bytes that frame a log."""
WAIT_SECONDS: Final = 2.0
"""How long a request for what comes next of a log is held: shorter than any client's patience, and output shows at once."""
LARGEST_PIECE: Final = 1 << 20
_REMEMBERED: Final = 1000
_PLAN, _APPLY = "plan", "apply"


class RunHandlers:
    """Runs."""

    def __init__(self, services: TerraformServices, addresses: Addresses) -> None:
        """Take the services."""
        self._services = services
        self._runs = services.runs
        self._addresses = addresses
        self._heard: OrderedDict[str, None] = OrderedDict()
        """Runs whose apply was read to its end by somebody, the last ones."""

    async def create(self, call: Call) -> None:
        """Ask for a run."""
        asked = await reading.read_document(call)
        reference = reading.related(asked, "workspace")
        if reference is None:
            raise InvalidArgument("the relationship workspace is needed")
        found = await self._services.workspaces.look_up(call.caller.scope, reference)
        made = await self._runs.create(call.caller, found.id, await self._wanted(call, found, asked))
        await send_resource(call, run_view(made, call.caller), 201)

    async def _wanted(self, call: Call, found: Workspace, asked: Resource) -> NewRun:
        flag = reading.attribute
        if flag(asked, "allow-config-generation", bool, default=False):
            raise Unimplemented("-generate-config-out is not implemented for runs on the server")
        origin, speculative, extras = Origin(), False, {}
        configuration_id = reading.related(asked, "configuration-version")
        if configuration_id is not None:
            ready = self._services.configurations.ready
            configuration = await ready(call.caller.scope, configuration_id, found.id)
            origin = Origin(archive=Archive(blob=configuration.blob or "", store="configurations"))
            speculative = configuration.speculative
            extras["configuration"] = str(configuration.id)
        elif not (found.code.repository or found.code.repository_url):
            raise InvalidArgument("the workspace has no repository: the run needs a configuration version")
        speculative = speculative or flag(asked, "plan-only", bool, default=False)
        save = flag(asked, "save-plan", bool, default=False)
        destroy = flag(asked, "is-destroy", bool, default=False)
        kind = RunKind.PLAN if speculative else RunKind.DESTROY if destroy else RunKind.APPLY
        auto = asked.attributes.get("auto-apply")
        return NewRun(
            kind=kind,
            trigger=Trigger.CLI,
            title=flag(asked, "message", str, "")[:512],
            origin=origin,
            arguments=_arguments(asked, destroy=destroy and speculative),
            auto_apply=False if save else auto if isinstance(auto, bool) else None,
            saved=save,
            variables=_variables(asked),
            door="terraform",
            extras={EXTRAS: extras},
        )

    async def get(self, call: Call) -> None:
        """Show a run, with its plan, apply and workspace beside it when they are asked for."""
        run = await self._run(call)
        wanted = set(reading.query(call).get("include", "").split(","))
        included: list[dict[str, Any]] = []
        if "plan" in wanted:
            included.append(plan_view(run, self._log(call, run, _PLAN)))
        if "apply" in wanted:
            included.append(apply_view(run, self._log(call, run, _APPLY)))
        if "workspace" in wanted:
            found = await self._services.workspaces.get(call.caller.scope, run.workspace_id)
            account = await self._services.tenancy.account_of(call.caller.scope)
            lock = await self._services.locks.holder(found.id)
            included.append(workspace_view(found, account, call.caller, lock))
        await send_resource(call, run_view(run, call.caller), included=included)

    async def list(self, call: Call) -> None:
        """List the runs of a workspace, the newest first."""
        found = await self._services.workspaces.look_up(call.caller.scope, call.params["workspace"])
        await self._send_page(call, RunQuery(workspace_id=found.id))

    async def queue(self, call: Call) -> None:
        """List the runs of the organization that are not over."""
        await organization(self._services, call)
        waiting = (RunStatus.PENDING, RunStatus.PLANNING, RunStatus.APPLYING)
        await self._send_page(call, RunQuery(statuses=[one.value for one in waiting]))

    async def _send_page(self, call: Call, query: RunQuery) -> None:
        number, size = reading.page(call)
        query = msgspec.structs.replace(query, offset=(number - 1) * size, limit=size + 1)
        found = await self._runs.search(call.caller.scope, query)
        items = [run_view(one, call.caller) for one in found[:size]]
        await send_list(call, items, number, size, more=len(found) > size)

    async def capacity(self, call: Call) -> None:
        """Say how many runs are at work and how many wait."""
        found = await organization(self._services, call)
        counts = {}
        for name, status in (("pending", RunStatus.PENDING), ("running", RunStatus.PLANNING)):
            query = RunQuery(statuses=[status.value], limit=100)
            counts[name] = len(await self._runs.search(call.caller.scope, query))
        await send_resource(call, resource("organization-capacity", found.slug, counts))

    async def events(self, call: Call) -> None:
        """List what happened to a run, as far as clients have words for it: nothing."""
        await self._run(call)
        await send_list(call, [], 1, 20)

    async def apply(self, call: Call) -> None:
        """Confirm a run that waits."""
        await self._runs.approve(call.caller, bare(call.params["run"]))
        await send_nothing(call, 202)

    async def discard(self, call: Call) -> None:
        """Give up a run that waits."""
        await self._runs.discard(call.caller, bare(call.params["run"]))
        await send_nothing(call, 202)

    async def cancel(self, call: Call) -> None:
        """Interrupt a run."""
        await self._runs.cancel(call.caller, bare(call.params["run"]))
        await send_nothing(call, 202)

    async def plan(self, call: Call) -> None:
        """Show the plan of a run."""
        run = await self._run(call)
        await send_resource(call, plan_view(run, self._log(call, run, _PLAN)))

    async def plan_json(self, call: Call) -> None:
        """Send the plan in the form of `show -json`, masked."""
        run = await self._run(call)
        await _send_document(call, await self._services.plans.document(call.caller.scope, run.id))

    async def plan_drawable(self, call: Call) -> None:
        """Send the plan in the form from which the command draws it."""
        run = await self._run(call)
        await _send_document(call, await self._services.plans.drawable(call.caller.scope, run.id))

    async def applied(self, call: Call) -> None:
        """Show the apply of a run."""
        run = await self._run(call)
        await send_resource(call, apply_view(run, self._log(call, run, _APPLY)))

    # --- guardrails, as checks of policies ---

    async def checks(self, call: Call) -> None:
        """List the checks of a run."""
        run = await self._run(call)
        await send_list(call, [check_view(run, call.caller)] if run.violations else [], 1, 20)

    async def check(self, call: Call) -> None:
        """Show what guardrails said."""
        await send_resource(call, check_view(await self._run(call), call.caller))

    async def check_output(self, call: Call) -> None:
        """Send what guardrails said, as text."""
        text = check_text(await self._run(call)).encode()
        await send_answer(call, Answer(200, text, "text/plain; charset=utf-8"))

    async def override(self, call: Call) -> None:
        """Take note that a person goes on in spite of a flexible guardrail. The acknowledgement is the confirmation that
        follows; a run that shall apply by itself has no other one, so it goes on here.
        """
        run = await self._run(call)
        if not run.waits:
            raise NotFound("the run does not wait for this")
        if run.auto_apply:
            run = await self._runs.approve(call.caller, run.id)
        await send_resource(call, check_view(run, call.caller))

    # --- logs ---

    async def log(self, call: Call) -> None:
        """Send a piece of a log, what there is, after waiting a moment when there is nothing yet. The address is the
        permission.
        """
        subject, place = self._addresses.open(call.params["address"], Purpose.LOG)
        values = reading.query(call)
        offset = integer(values, "offset", 0, 0, 2**62)
        limit = integer(values, "limit", 65_536, 1, LARGEST_PIECE)
        run_id, _, phase = subject.partition("/")
        account, project, path = place.split(" ")
        run = await self._runs.get(Scope(AccountId(account), ProjectId(project), path), run_id)
        body = await self._piece(run, phase, offset, limit)
        await send_answer(call, Answer(200, body, "text/plain; charset=utf-8"))

    async def _piece(self, run: Run, phase: str, offset: int, limit: int) -> bytes:
        """Return a piece of the log as clients count it: a start, what was printed, a last word, an end."""
        if offset == 0:
            return START
        task, place = _task(run, phase), offset - 1
        if task is None:
            if not run.ended:
                await asyncio.sleep(WAIT_SECONDS / 2)
                return b""
        else:
            data, closed = await self._read(task, place, limit)
            if data or not (closed or run.ended):
                return data
        ending = _last_word(run, phase) + END
        if task is not None:
            place -= await self._end_of(task, place, len(ending))
        piece = ending[place : place + limit]
        if phase == _APPLY and piece.endswith(END):
            self._hear(run)
        return piece

    async def _end_of(self, task: ExecutionId, near: int, within: int) -> int:
        """Return where the output ends that was read to its end before, at most `within` bytes before a place."""
        start = max(0, near - within)
        with contextlib.suppress(OutputGone):
            return start + sum(
                len(chunk.data) for chunk in await self._services.output.read(task, start, within)
            )
        return 0

    def _hear(self, run: Run) -> None:
        self._heard[run.id] = None
        while len(self._heard) > _REMEMBERED:
            self._heard.popitem(last=False)

    async def _read(self, task: ExecutionId, offset: int, limit: int) -> tuple[bytes, bool]:
        """Return what comes next, and whether nothing will come any more."""
        with contextlib.suppress(TimeoutError, OutputGone):
            async with asyncio.timeout(WAIT_SECONDS):
                async for chunk in self._services.output.follow(task, offset):
                    return chunk.data[:limit], False
                return b"", True
        return b"", False

    def _log(self, call: Call, run: Run, phase: str) -> str:
        place = f"{run.account_id} {run.project_id} {run.project_path}"
        return self._addresses.make(call, Purpose.LOG, f"{run.id}/{phase}", place)

    async def _run(self, call: Call) -> Run:
        run = await self._runs.get(call.caller.scope, bare(call.params["run"]))
        return run if run.id in self._heard else still_applying(run, utc_now())


async def _send_document(call: Call, pieces: AsyncIterator[bytes]) -> None:
    await send_pieces(call, None, pieces, [(b"content-type", b"application/json"), *HEADERS])


def _task(run: Run, phase: str) -> ExecutionId | None:
    return run.plan_task_id if phase == _PLAN else run.apply_task_id


def _last_word(run: Run, phase: str) -> bytes:
    """Return why a run ended as it did, for the end of its last log: the command shows nothing else of it."""
    last = _PLAN if run.apply_task_id is None else _APPLY
    if phase != last or not run.reason or status_of(run) not in ("errored", "canceled", "discarded"):
        return b""
    return f"\nThe run ended: {run.reason}\n".encode()


def _arguments(asked: Resource, *, destroy: bool) -> list[str]:
    arguments = ["-destroy"] if destroy else []
    if not reading.attribute(asked, "refresh", bool, default=True):
        arguments.append("-refresh=false")
    if reading.attribute(asked, "refresh-only", bool, default=False):
        arguments.append("-refresh-only")
    for name, flag in (("target-addrs", "-target"), ("replace-addrs", "-replace")):
        for address in reading.attribute(asked, name, list, []):
            if not isinstance(address, str):
                raise InvalidArgument(f"{name} must be a list of texts")
            arguments.append(f"{flag}={address}")
    return arguments


def _variables(asked: Resource) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for one in reading.attribute(asked, "variables", list, []):
        key, value = (one.get("key"), one.get("value")) if isinstance(one, dict) else (None, None)
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidArgument("variables must be a list of keys with values")
        found[key] = _literal(value)
    return found


def _literal(value: str) -> str:
    """Return a value as an environment variable has it: clients write texts as quoted literals of the language, and
    everything else as it is.
    """
    if not (len(value) >= 2 and value[0] == value[-1] == '"'):
        return value
    try:
        text = msgspec.json.decode(value, type=str)
    except msgspec.MsgspecError:
        return value
    return text.replace("$${", "${").replace("%%{", "%{")
