"""Verbs of runs: create, read, list, cancel, change, run again. Owns what an execution of an action is.

Every run is a row of the ledger; this writes what only actions have beside it, in the same transaction.
"""

import traceback
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

import msgspec

from runyard.actions.catalogue import Catalogue, runner_type
from runyard.actions.datastore import DatastoreService
from runyard.actions.errors import ParameterUnresolved, RunRefused
from runyard.actions.followups.model import kinds_of
from runyard.actions.followups.store import expect
from runyard.actions.ids import LiveActionId
from runyard.actions.keepable import cleaned
from runyard.actions.masking import (
    RESPOND_ACTION,
    mask_parameters,
    mask_respond_parameters,
    mask_result,
    redact,
    secret_texts,
)
from runyard.actions.model import Action, RunnerType
from runyard.actions.runs import store
from runyard.actions.runs.counting import Counter
from runyard.actions.runs.model import (
    EVERYTHING,
    Asker,
    Detail,
    NewRun,
    Record,
    Run,
    RunFilter,
    seal_context,
    stand_in,
    stand_in_result,
)
from runyard.actions.runs.resolving import Resolver
from runyard.actions.store import StoredAction
from runyard.actions.traces import Part, TraceService, add_part, add_trace
from runyard.actions.values import Json, JsonObject
from runyard.database.engine import Database, Transaction
from runyard.executions.dispatch.port import NewAssignment
from runyard.executions.errors import ExecutionNotFound
from runyard.executions.model import (
    Execution,
    Kind,
    NewExecution,
    Outcome,
    Reject,
    Schedule,
    Start,
    Status,
    Wait,
)
from runyard.executions.service import ExecutionService
from runyard.identity.model import ALL_PERMISSIONS, Principal, Scope
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied
from runyard.kernel.ids import ExecutionId
from runyard.kernel.jsons import encode_json

RUNNER: Final = "action"
"""The name under which the worker of actions is registered."""
DOOR: Final = "stackstorm"
NOBODY: Final = "inquiries"
"""The worker of executions that wait for a person: no process holds them."""
MAX_USER_NAME: Final = 256
"""Characters that the ledger has room for."""
_MAX_DEPTH: Final = 32
_AT_ONCE: Final = 500
_LONGEST_MINUTES: Final = 10.0 * 366 * 1440


class RunService:
    """Executions of actions."""

    def __init__(
        self,
        database: Database,
        executions: ExecutionService,
        catalogue: Catalogue,
        datastore: DatastoreService,
        traces: TraceService,
        vault: Vault,
        now: Now = utc_now,
    ) -> None:
        """Take the parts."""
        self.executions = executions
        self.catalogue = catalogue
        self.resolver = Resolver(catalogue, datastore)
        self.traces = traces
        self.followed: set[str] = set()
        """Executions that this process took and whose end something follows."""
        self._database = database
        self._vault = vault
        self._now = now
        self._counter = Counter(now)

    # --- create ---

    async def create(self, caller: Principal, new: NewRun) -> Record:
        """Ask for an execution; it is `requested` and begins as soon as it can. Raises InvalidArgument with the
        published texts, ParameterUnresolved after a failed execution was stored, PermissionDenied.
        """
        stored = await self._runnable(caller, new.action)
        parameters = self.catalogue.parameters(stored)
        context = self._context(caller, stored.action, new)
        execution_id = ExecutionId.new()
        runner = parameters.runner
        run = Run(
            execution_id=execution_id,
            liveaction_id=LiveActionId.new(),
            action_ref=stored.action.ref,
            runner=runner.name,
            user_name=str(context["user"]),
            created_at=self._now(),
            action={"id": stored.id, **stored.action.as_dict()},
            context=context,
            notify=stored.action.notify or new.notify,
            callback=new.callback,
            delay_ms=new.delay_ms,
            asker=_asker(caller),
            cause=new.cause,
        )
        trace_id = await self._trace(caller, context)
        try:
            found = await self.resolver.prepared(caller.scope.account_id, parameters, new.parameters, context)
            live: dict[str, Json] = cleaned(found)
        except ParameterUnresolved as error:
            await self._store_failed(caller, run, runner, new, error)
            raise
        run = msgspec.structs.replace(run, sealed=self._sealed(execution_id, live))
        made = self._new_execution(caller, run, runner, live, new)
        beside = partial(self._beside, run=run, trace_id=trace_id)
        if runner.name == "inquirer":
            return await self._ask(caller, run, made, live, trace_id)
        not_before = self._now() + timedelta(milliseconds=new.delay_ms) if new.delay_ms > 0 else None
        assignment = NewAssignment(runner=RUNNER, not_before=not_before)
        handle = await self.executions.submit(made, assignment, beside=beside)
        return Record(execution=handle.execution, run=run, parameters=made.parameters)

    async def _runnable(self, caller: Principal, ref: str) -> StoredAction:
        stored = await self.catalogue.find(caller.scope.account_id, ref) if "." in ref else None
        if stored is None:
            raise InvalidArgument(f'Action "{ref}" cannot be found.')
        if not stored.action.enabled:
            raise InvalidArgument(f'Unable to execute. Action "{ref}" is disabled.')
        runner = stored.action.runner_type
        if runner in await self.catalogue.disabled_runners(caller.scope.account_id):
            raise InvalidArgument(f'Unable to execute. Runner "{runner}" is disabled.')
        return stored

    def _context(self, caller: Principal, action: Action, new: NewRun) -> dict[str, Json]:
        user = new.user or caller.user_name
        context: dict[str, Json] = {**new.context, "user": user, "pack": action.pack}
        context.update(new.header_context)
        # Nobody is not a user, and what stands for it as text may be the name of one.
        context["user"] = str(context["user"] or user)
        if new.roles is not None:
            context["rbac"] = {"user": context["user"], "roles": list(new.roles)}
        parent = context.get("parent")
        if isinstance(parent, Mapping) and parent.get("user"):
            context["user"] = str(parent["user"])
        if len(context["user"]) > MAX_USER_NAME:
            raise InvalidArgument(f"The name of a user has at most {MAX_USER_NAME} characters.")
        return context

    async def _trace(self, caller: Principal, context: Mapping[str, Json]) -> str | None:
        """Return the trace that the context names. Raises InvalidArgument when there is none."""
        named = context.get("trace_context")
        if not isinstance(named, Mapping) or not named.get("id_"):
            return None
        try:
            return (await self.traces.get(caller.scope, str(named["id_"]))).id
        except NotFound:
            raise InvalidArgument(
                f"Unable to find the TraceDB instance. {{'id': '{named['id_']}'}}"
            ) from None

    async def _beside(self, tx: Transaction, execution: Execution, *, run: Run, trace_id: str | None) -> None:
        """Write run and trace of a new execution."""
        # One time for both rows: lists are in its order, and either table may lead.
        run = msgspec.structs.replace(run, created_at=execution.created_at)
        await store.insert_run(tx, execution.account_id, run)
        if run.notify or run.callback:
            for kind in kinds_of(run):
                await expect(tx, execution.account_id, run.execution_id, kind, run.created_at)
            tx.after_commit(partial(self.followed.add, run.execution_id))
        if trace_id is None:
            if execution.parent_id is not None:
                return
            named = run.context.get("trace_context")
            tag = named.get("trace_tag") if isinstance(named, Mapping) else None
            tag = str(tag or f"execution-{run.liveaction_id}")
            trace_id = await add_trace(tx, execution.account_id, tag, run.created_at)
        part = Part(
            kind="execution", object_id=run.execution_id, ref=run.action_ref, updated_at=run.created_at
        )
        await add_part(tx, trace_id, part)

    def _new_execution(
        self, caller: Principal, run: Run, runner: RunnerType, live: JsonObject, new: NewRun
    ) -> NewExecution:
        parent = run.context.get("parent")
        parent_id = parent.get("execution_id") if isinstance(parent, Mapping) else None
        hidden = secret_texts(live, run.action["parameters"], runner.runner_parameters)
        # A template may have copied a secret parameter into another one that is shown.
        shown = redact(masked_parameters(run, runner, live), hidden)
        command = redact(str(live.get("cmd") or run.action_ref), hidden)
        scope = caller.scope
        return NewExecution(
            id=ExecutionId(run.execution_id),
            account_id=scope.account_id,
            project_id=scope.project_id,
            project_path=scope.project_path,
            kind=Kind.WORKFLOW if runner.is_workflow else Kind.ACTION,
            name=run.action_ref,
            actor=run.user_name,
            door=DOOR,
            command=command,
            parameters=shown,
            parent_id=None if not parent_id else ExecutionId(str(parent_id)),
            request_id=new.request_id,
        )

    async def _store_failed(
        self, caller: Principal, run: Run, runner: RunnerType, new: NewRun, error: ParameterUnresolved
    ) -> None:
        """Keep an execution whose parameters could not be worked out."""
        trace = "".join(traceback.format_exception_only(error))
        run = msgspec.structs.replace(run, sealed=self._sealed(run.execution_id, new.parameters))
        outcome = Outcome(
            status=Status.FAILED, reason=error.message, result={"error": error.message, "traceback": trace}
        )
        made = self._new_execution(caller, run, runner, new.parameters, new)
        beside = partial(self._beside, run=run, trace_id=None)
        await self.executions.record(made, [Reject(outcome)], beside=beside)

    async def _ask(
        self, caller: Principal, run: Run, made: NewExecution, live: JsonObject, trace_id: str | None
    ) -> Record:
        """Put a question to people: it waits as a row, held by no process, until an answer or its time is up."""
        parameters = self.catalogue.parameters(await self._runnable(caller, run.action_ref))
        given, _ = await self.resolver.dispatched(caller.scope.account_id, parameters, live, run.context)
        minutes = min(float(given.runner.get("ttl") or 0), _LONGEST_MINUTES)
        inquiry = {name: given.runner.get(name) for name in ("schema", "roles", "users", "route", "ttl")}
        expires = run.created_at + timedelta(minutes=minutes) if minutes > 0 else None
        run = msgspec.structs.replace(run, inquiry=inquiry, expires_at=expires)
        commands = (Schedule(), Start(NOBODY), Wait("inquiry"))
        beside = partial(self._beside, run=run, trace_id=trace_id)
        execution = await self.executions.record(made, commands, beside=beside)
        return Record(execution=execution, run=run, parameters=made.parameters)

    def _sealed(self, execution_id: str, parameters: JsonObject) -> bytes:
        return self._vault.seal(encode_json(parameters), seal_context(execution_id))

    def opened(self, run: Run) -> dict[str, Json]:
        """Return the parameters of a run in clear."""
        found: dict[str, Json] = msgspec.json.decode(
            self._vault.open(run.sealed, seal_context(run.execution_id))
        )
        return found

    # --- look ---

    async def get(
        self, scope: Scope, execution_id: str, *, secrets: bool = False, owner: str | None = None
    ) -> Record:
        """Return an execution; `last` is the newest, of the owner's when one is given. Raises NotFound with the
        published text, InvalidArgument.
        """
        if execution_id == "last":
            async with self._database.read() as tx:
                found = await store.newest(tx, scope, owner)
            if found is None:
                raise InvalidArgument("No executions found in the database")
            execution_id = found
        records = await self.records(scope, [execution_id], Detail(secrets=secrets))
        if not records:
            raise ExecutionNotFound(f'Unable to identify resource with id "{execution_id}".')
        return records[0]

    async def page(
        self, scope: Scope, wanted: RunFilter, detail: Detail = EVERYTHING
    ) -> tuple[list[Record], int]:
        """List executions and count all that the filter matches."""
        ids, total = await self.listed(scope, wanted)
        return await self.records(scope, ids, detail), total

    async def listed(self, scope: Scope, wanted: RunFilter) -> tuple[Sequence[str], int]:
        """List the ids of executions and count all that the filter matches: for lists too long to be held whole."""
        async with self._database.scan() as tx:
            ids = await store.page(tx, scope, wanted)
            return ids, await self._counter.count(tx, scope, wanted)

    async def sizes(self, ids: Sequence[str], *, results: bool) -> Mapping[str, int]:
        """Measure what the records of listed executions take, with their results or without."""
        async with self._database.scan() as tx:
            return await store.sizes_of(tx, ids, results=results)

    async def records(self, scope: Scope, ids: Sequence[str], detail: Detail = EVERYTHING) -> list[Record]:
        """Return those executions that are there, in the order of the ids."""
        if len(ids) > _AT_ONCE:
            # A statement takes a bounded number of values.
            parts = [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]
            return [record for part in parts for record in await self.records(scope, part, detail)]
        if not ids:
            return []
        executions = await self.executions.several(scope, ids, results=detail.results)
        names = [one.id for one in executions]
        happened = await self.executions.histories(names) if detail.history else {}
        async with self._database.read() as tx:
            runs = await store.runs_of(tx, names, secrets=detail.secrets)
            children = await store.children(tx, names)
        return [
            self._record(
                one, runs.get(one.id), happened.get(one.id, ()), children.get(one.id, ()), detail.secrets
            )
            for one in executions
        ]

    def _record(
        self,
        execution: Execution,
        run: Run | None,
        history: Sequence[Any],
        children: Sequence[str],
        secrets: bool,
    ) -> Record:
        common: dict[str, Any] = {"execution": execution, "history": history, "children": children}
        if run is None:
            return Record(
                run=stand_in(execution),
                parameters={"cmd": execution.command} if execution.command else {},
                result=execution.result or stand_in_result(execution),
                stands_in=True,
                **common,
            )
        result = execution.result
        if result is None and run.inquiry and execution.status is Status.WAITING:
            result = run.inquiry
        ending = execution.status in (Status.CANCELING, Status.CANCELED)
        if result is None and ending and run.context.get("cancelled_by"):
            result = canceled_result(str(run.context["cancelled_by"]))
        if secrets and run.sealed_result is not None:
            result = msgspec.json.decode(self._vault.open(run.sealed_result, seal_context(execution.id)))
        parameters = self.opened(run) if secrets else execution.parameters
        return Record(run=run, parameters=parameters, result=result, **common)

    async def descendants(
        self, scope: Scope, top: Record, depth: int, detail: Detail = EVERYTHING
    ) -> list[Record]:
        """List all below an execution in pre-order, direct children first at depth 1."""
        found: list[Record] = []
        if depth and top.children:
            for child in await self.records(scope, top.children, detail):
                below = min(depth - 1, _MAX_DEPTH) if depth > 0 else _MAX_DEPTH
                found += [child, *await self.descendants(scope, child, below, detail)]
        return found

    async def filters(
        self, scope: Scope, names: Sequence[str], owner: str | None = None
    ) -> dict[str, list[str]]:
        """Return the distinct values of columns by their names, of one owner's executions when one is given."""
        async with self._database.scan() as tx:
            return {name: await store.distinct(tx, scope, name, owner) for name in names}

    # --- change ---

    async def note(self, execution_id: str, more: Mapping[str, Json]) -> None:
        """Write more into the context of a run."""
        async with self._database.transaction() as tx:
            await store.add_context(tx, execution_id, more)

    async def keep_result(self, execution_id: str, result: JsonObject) -> None:
        """Keep a result in clear whose masked form goes into the ledger."""
        sealed = self._vault.seal(encode_json(result), seal_context(execution_id))
        async with self._database.transaction() as tx:
            await store.set_sealed_result(tx, execution_id, sealed)

    async def concealed(self, record: Record, result: JsonObject) -> JsonObject:
        """Return a result that somebody set by hand as it may be kept, and keep it in clear under seal where that
        differs.
        """
        run, runner = record.run, runner_of_run(record.run)
        secrets = secret_texts(self.opened(run), run.action["parameters"], runner.runner_parameters)
        masked: JsonObject = redact(mask_result(result, runner, run.action["output_schema"]), secrets)
        if masked != result:
            await self.keep_result(run.execution_id, result)
        return masked

    async def overdue(self) -> Sequence[str]:
        """Return the executions whose inquiry has to be given up now."""
        async with self._database.read() as tx:
            return await store.overdue(tx, self._now())

    async def re_run(self, caller: Principal, execution_id: str, new: NewRun) -> Record:
        """Run again with the same parameters, overlaid with the given ones. Raises NotFound and as `create`."""
        before = await self.get(caller.scope, execution_id, secrets=True)
        if before.stands_in:
            raise RunRefused("Only executions of actions can be run again.")
        again: dict[str, Json] = {"ref": str(before.execution.id), **dict(new.context)}
        context: dict[str, Json] = {"re-run": again}
        trace_id = await self.traces.of_execution(before.execution.id)
        if trace_id is not None:
            context["trace_context"] = {"id_": trace_id}
        asked = msgspec.structs.replace(
            new,
            action=before.run.action_ref,
            parameters={**before.parameters, **new.parameters},
            context=context,
        )
        return await self.create(caller, asked)


def _asker(caller: Principal) -> Asker:
    scopes = ("*",) if caller.scopes == ALL_PERMISSIONS else tuple(sorted(one.value for one in caller.scopes))
    return Asker(str(caller.user_id), scopes)


def masked_parameters(run: Run, runner: RunnerType, live: JsonObject) -> JsonObject:
    """Return the parameters of a run as they are shown."""
    if run.action_ref == RESPOND_ACTION:
        return mask_respond_parameters(live)
    return mask_parameters(live, run.action["parameters"], runner.runner_parameters)


def canceled_result(user: str) -> dict[str, Json]:
    """Return the result of an execution that somebody ended."""
    return {"message": "Action canceled by user.", "user": user}


def require_self(caller: Principal, user: str | None, is_admin: bool) -> None:
    """Refuse to act as somebody else. Raises PermissionDenied."""
    if user and user != caller.user_name and not is_admin:
        raise PermissionDenied('"user" attribute can only be provided by admins')


def runner_of_run(run: Run) -> RunnerType:
    """Return the runner type of a run. Raises NotFound."""
    return runner_type(run.runner)
