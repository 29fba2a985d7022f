"""The two phases of a run, as runners of the ledger. Owns the order of steps; how each is done is the parts' matter.

The run's row is written before its execution ends, so that an end of the execution without a word in the row always
means that the worker was lost. An apply uses the plan file that was judged, or nothing.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import structlog

from runyard.database.engine import Database
from runyard.executions.dispatch.port import Assignment
from runyard.executions.model import Outcome, Status
from runyard.executions.service import ExecutionService
from runyard.executions.worker import RunContext, Runner
from runyard.infrastructure.provisioner.applylog import ApplyLines
from runyard.infrastructure.provisioner.box import Box, Boxes
from runyard.infrastructure.provisioner.planfiles import PlanFiles
from runyard.infrastructure.provisioner.plugins import PluginCache, is_harmless
from runyard.infrastructure.provisioner.tools import Tools
from runyard.infrastructure.runs import job as inside
from runyard.infrastructure.runs import store
from runyard.infrastructure.runs.changes import (
    Advance,
    Applied,
    Applying,
    Cancelled,
    CheckedOut,
    Fail,
    Planned,
    RunCommand,
)
from runyard.infrastructure.runs.entries import APPLY_RUNNER, PLAN_RUNNER, change
from runyard.infrastructure.runs.job import Failed, Job, Stopped, uses_our_backend
from runyard.infrastructure.runs.line import ACTOR, RunLine
from runyard.infrastructure.runs.model import Block, Run, RunKind, RunStatus, Step, default_title
from runyard.infrastructure.runs.ports import Judge, Oidc, Plans, PlanSummary, State, Variables, Verdict
from runyard.infrastructure.runs.source import Code, Sources
from runyard.infrastructure.workspaces.model import IacType
from runyard.infrastructure.workspaces.service import WorkspaceService
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import RunyardError
from runyard.kernel.ids import RunId
from runyard.kernel.transitions import Changed, Refused

SHOW_BYTES: Final = 2 << 30
PLAN_BYTES: Final = 256 << 20
"""Of a plan file, which is sealed in memory."""
LINES_BYTES: Final = 64 << 20
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Limits of runs."""

    folder: Path
    """Of the server's own, for files on their way."""
    command_secs: float = 1800.0
    run_secs: float = 5400.0
    window: timedelta = timedelta(hours=48)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the phases use."""

    database: Database
    executions: ExecutionService
    workspaces: WorkspaceService
    line: RunLine
    boxes: Boxes
    tools: Tools
    sources: Sources
    plan_files: PlanFiles
    variables: Variables
    state: State
    plans: Plans
    judge: Judge
    oidc: Oidc
    own_variables: Callable[[Run], Mapping[str, str]]
    plugins: PluginCache


class RunWorker:
    """Obeys the assignments of plans and applies."""

    def __init__(self, parts: Parts, options: WorkerOptions, now: Now = utc_now) -> None:
        """Take the parts."""
        self._parts = parts
        self._options = options
        self._now = now
        self._planning: dict[RunId, asyncio.Event] = {}
        """Set when the box of a plan is gone: a plan is decided on before that."""

    def register(self) -> None:
        """Tell the ledger who obeys, and the line how to clear away; before what was left is offered again."""
        self._parts.executions.register_runner(PLAN_RUNNER, self._factory(self._plan))
        self._parts.executions.register_runner(APPLY_RUNNER, self._factory(self._apply))
        self._parts.line.settlers.append(self.settle)
        self._parts.line.state_holder = self._parts.state.locked_by

    async def settle(self, run: Run) -> None:
        """Remove what a run that is over left: its files, its plan, its access to the state with the lock."""
        await self._plan_cleared(run)
        await self._parts.boxes.forget(box_name(run.id))
        await self._parts.plan_files.delete(run.id)
        await self._parts.state.release(run)

    def _factory(
        self, phase: Callable[[RunContext, Run], Awaitable[Outcome]]
    ) -> Callable[[Assignment], Runner]:
        def make(assignment: Assignment) -> Runner:
            async def run(context: RunContext) -> Outcome:
                async with self._parts.database.read() as tx:
                    found = await store.by_id(tx, str(assignment.document["run_id"]))
                if found is None or found.ended:
                    return Outcome(status=Status.CANCELED, reason="the run is over")
                return await phase(context, found)

            return run

        return make

    # --- plan ---

    async def _plan(self, context: RunContext, run: Run) -> Outcome:
        done: list[Run] = []

        async def work() -> None:
            cleared = self._planning[run.id] = asyncio.Event()
            try:
                await self._planned(context, run, done.append)
            finally:
                del self._planning[run.id]
                cleared.set()

        failed = await self._guarded(context, run, work)
        if failed is not None:
            return failed
        after = done[0]
        if after.ended:
            await self._parts.line.settle(after)
        elif after.auto_apply and after.block is Block.NONE:
            await self._parts.line.begin_apply(after, actor=run.actor)
        elif not after.held:
            await self._parts.line.advance(after.workspace_id)
        blocked = after.ended and after.status is RunStatus.BLOCKED
        return Outcome(
            status=Status.FAILED if blocked else Status.SUCCEEDED,
            reason=after.reason if blocked else None,
            result={
                "run_id": str(run.id),
                "status": after.status.value,
                "has_changes": after.has_changes,
                "counts": dict(after.counts),
                "violations": len(after.violations),
            },
        )

    async def _planned(self, context: RunContext, run: Run, tell: Callable[[Run], None]) -> None:
        """Do the whole plan. Its result is written as soon as it is known: what is cleared away after that keeps nobody
        waiting.
        """
        parts = self._parts
        async with AsyncExitStack() as stack:
            job = await self._job(context, run, "plan")
            await parts.boxes.forget(box_name(run.id))
            opening = asyncio.ensure_future(stack.enter_async_context(self._box(job)))
            try:
                code = await stack.enter_async_context(parts.sources.code(job))
            finally:
                await asyncio.wait((opening,))
                unopened = opening.exception()
            if unopened is not None:
                raise unopened
            box = opening.result()
            job.check_stopped()
            unnamed = code.origin.archive is None and run.title == default_title(run.kind, run.trigger)
            title = (code.origin.commit_title if unnamed else "") or run.title
            job.run = self._accepted(
                await self._change(run, CheckedOut(code.origin, title, job.tool.version))
            )
            await box.unpack(code.tar, inside.CODE)
            folder = "/".join(part for part in (inside.CODE, code.working) if part)
            await self._furnish(job, box, folder)
            address = await stack.enter_async_context(parts.boxes.serving(box, job.access.path))
            environment = job.environment(box, address)
            await job.tool_command(box, environment, ("init", "-input=false", "-no-color"), folder=folder)
            await self._check_backend(box)
            await self._take_plugins(job, box, code)
            await self._step(job, Step.PLAN)
            changed = await job.tool_command(
                box, environment, self._plan_arguments(job, box), folder=folder, good=(0, 2)
            )
            await self._step(job, Step.GUARDRAILS)
            summary, verdict = await self._judged(job, box, environment, folder, changed == 2)
            await asyncio.gather(*code.aside)
            command = Planned(
                has_changes=summary.has_changes,
                counts=summary.counts,
                block=verdict.block,
                violations=verdict.violations,
                window=self._options.window,
            )
            # Before anybody hears of it: who approves at once gives the apply an access of its own, which a release that
            # came later would take away. A plan that fails is released by the end of its run.
            await parts.state.release(run)
            tell(self._accepted(await self._change(run, command)))

    def _plan_arguments(self, job: Job, box: Box) -> Sequence[str]:
        destroy = ("-destroy",) if job.run.kind is RunKind.DESTROY else ()
        fixed = ("plan", "-input=false", "-no-color", "-detailed-exitcode", "-lock-timeout=30s")
        return (*fixed, f"-out={box.place(inside.PLAN)}", *destroy, *job.run.arguments)

    async def _judged(
        self, job: Job, box: Box, environment: Mapping[str, str], folder: str, changed: bool
    ) -> tuple[PlanSummary, Verdict]:
        parts = self._parts
        with tempfile.NamedTemporaryFile(dir=self._options.folder, suffix=".json") as shown:
            await job.tool_command(
                box,
                environment,
                ("show", "-json", "-no-color", box.place(inside.PLAN)),
                folder=folder,
                kept=shown,
                limit=SHOW_BYTES,
            )
            shown.flush()
            path = Path(shown.name)
            summary = await parts.plans.ingest(job.workspace, job.run, path, job.secrets)
            verdict = await parts.judge.judge(job.workspace, job.run, path)
        job.check_stopped()
        for violation in verdict.violations[:50]:
            job.say(_violation(violation))
        if job.run.kind is not RunKind.PLAN:
            await self._keep_plan(job, box, folder)
        if changed and not summary.has_changes:
            summary = PlanSummary(has_changes=True, counts=summary.counts)
        return summary, verdict

    async def _keep_plan(self, job: Job, box: Box, folder: str) -> None:
        """Seal the plan file for the apply, and leave none in the files that are kept of the box."""
        plan = await box.get(inside.PLAN, PLAN_BYTES)
        if plan is None:
            raise Failed(f"{job.tool.program} plan left no plan")
        await self._parts.plan_files.put(job.run.id, plan)
        await box.put(inside.PLAN, b"")
        await box.put(_FOLDER_NOTE, folder.encode())

    # --- apply ---

    async def _plan_cleared(self, run: Run) -> None:
        """Wait for the end of a plan's box: its apply takes the files over, and whoever discards it forgets them."""
        cleared = self._planning.get(run.id)
        if cleared is not None:
            await cleared.wait()

    async def _apply(self, context: RunContext, run: Run) -> Outcome:
        await self._plan_cleared(run)
        decision = await self._change(run, Applying())
        if isinstance(decision, Refused):
            return Outcome(status=Status.CANCELED, reason=decision.reason)
        run = decision.value
        failed = await self._guarded(context, run, lambda: self._applied(context, run))
        if failed is not None:
            return failed
        after = await self._change(run, Applied(changed=bool(run.has_changes)))
        if isinstance(after, Changed):
            await self._parts.line.settle(after.value)
        return Outcome(status=Status.SUCCEEDED, result={"run_id": str(run.id), "counts": dict(run.counts)})

    async def _applied(self, context: RunContext, run: Run) -> None:
        parts = self._parts
        async with AsyncExitStack() as stack:
            job = await self._job(context, run, "apply")
            stack.push_async_callback(parts.state.release, run)
            plan = await parts.plan_files.get(run.id)
            box = await stack.enter_async_context(self._box(job))
            note = await box.get(_FOLDER_NOTE, 4096)
            if plan is None or note is None:
                raise Failed("what was planned is no longer there; plan again")
            folder = note.decode()
            await box.put(inside.PLAN, plan)
            if job.token is not None:
                await box.put(inside.TOKEN, job.token.encode())
            address = await stack.enter_async_context(parts.boxes.serving(box, job.access.path))
            environment = job.environment(box, address)
            arguments = (
                "apply",
                "-input=false",
                "-no-color",
                "-json",
                "-lock-timeout=30s",
                *_tuning(run.arguments),
            )
            with tempfile.TemporaryFile(dir=self._options.folder) as kept:
                lines = ApplyLines(job.write, kept, LINES_BYTES)
                try:
                    await job.tool_command(
                        box, environment, (*arguments, box.place(inside.PLAN)), folder=folder, kept=lines
                    )
                finally:
                    await asyncio.shield(
                        asyncio.ensure_future(self._after_apply(job, box, environment, folder, kept))
                    )

    async def _after_apply(
        self,
        job: Job,
        box: Box,
        environment: Mapping[str, str],
        folder: str,
        kept: Any,  # noqa: ANN401
    ) -> None:
        """Note what became of each resource, and bring home a state that the tool could not write."""
        kept.seek(0)
        try:
            await self._parts.plans.mark_applied(job.run, kept)
            if await box.has(f"{folder}/errored.tfstate"):
                job.say("the state was left in errored.tfstate; it is written now")
                await box.run(
                    job.context,
                    (f"{box.place(inside.TOOLS)}/{job.tool.program}", "state", "push", "errored.tfstate"),
                    environment,
                    folder=folder,
                    timeout_secs=self._options.command_secs,
                )
        except RunyardError as error:
            _log.warning("infrastructure.after_apply", run_id=job.run.id, error=error.message)

    # --- both ---

    async def _guarded(
        self, context: RunContext, run: Run, work: Callable[[], Awaitable[None]]
    ) -> Outcome | None:
        """Do the work of a phase; return how it ended when that was no success, with the run's row written."""
        try:
            await work()
        except Stopped as stopped:
            await self._end(run, Cancelled(context.mask(stopped.message)))
            return Outcome(status=Status.CANCELED, reason=stopped.message)
        except Failed as failed:
            await self._end(run, Fail(context.mask(failed.message), failed.timed_out))
            status = Status.TIMEOUT if failed.timed_out else Status.FAILED
            return Outcome(
                status=status, reason=failed.message, ended_by="timeout" if failed.timed_out else None
            )
        except RunyardError as error:
            await self._end(run, Fail(context.mask(error.message)))
            return Outcome(status=Status.FAILED, reason=error.message)
        except Exception as error:
            await self._end(run, Fail(f"internal error: {type(error).__name__}"))
            raise
        return None

    async def _end(self, run: Run, command: RunCommand) -> None:
        decision = await self._change(run, command)
        if isinstance(decision, Changed):
            await self._parts.line.settle(decision.value)

    async def _job(self, context: RunContext, run: Run, phase: str) -> Job:
        parts = self._parts
        workspace = await parts.workspaces.by_id(run.workspace_id)
        tool = await parts.tools.choose(workspace.iac_type, run.iac_version)
        resolved = await parts.variables.resolve(workspace)
        more = await parts.sources.secrets(run, workspace) if phase == "plan" else ()
        job = Job(
            context=context,
            run=run,
            workspace=workspace,
            phase=phase,
            tool=tool,
            resolved=resolved,
            more_secrets=more,
            own=parts.own_variables(run),
            access=await parts.state.backend(workspace, run, phase),
            token=await parts.oidc.token(workspace, run, phase),
            deadline=asyncio.get_running_loop().time() + self._options.run_secs,
            command_secs=self._options.command_secs,
        )
        job.hide()
        job.say(f"{tool.kind.value} {tool.version}")
        return job

    @asynccontextmanager
    async def _box(self, job: Job) -> AsyncIterator[Box]:
        shared = {
            inside.TOOLS: await self._parts.tools.shown(job.tool),
            inside.PROVIDERS: await self._parts.plugins.folder(job.run.account_id),
        }
        async with self._parts.boxes.box(box_name(job.run.id), shared) as box:
            yield box

    async def _furnish(self, job: Job, box: Box, folder: str) -> None:
        """Write what the tool finds beside the code."""
        config = cli_config(box.place(inside.PROVIDERS), direct=self._parts.boxes.connected)
        files = {
            f"{folder}/{inside.OVERRIDE}": inside.BACKEND,
            f"{folder}/{inside.VARIABLES}": job.variables(),
            f"{inside.HOME}/.keep": b"",
            inside.CLI_CONFIG: config,
        }
        if job.token is not None:
            files[inside.TOKEN] = job.token.encode()
        await asyncio.gather(*(box.put(name, content) for name, content in files.items()))

    async def _check_backend(self, box: Box) -> None:
        """Refuse code that has its state elsewhere by a trick: the server would neither keep nor lock it."""
        noted = await box.get(f"{inside.DATA}/terraform.tfstate", 1 << 20)
        if not uses_our_backend(noted):
            raise Failed("the code keeps its state elsewhere than in this server, which is not allowed")

    async def _take_plugins(self, job: Job, box: Box, code: Code) -> None:
        """Keep what `init` downloaded for the account's later runs, when nothing of the workspace can have run yet."""
        name = f"{inside.DATA}/providers"
        if all(is_harmless(one) for one in job.resolved.environment) and await box.has(name):
            named = code.tar if job.tool.kind is IacType.OPENTOFU else None
            await self._parts.plugins.take(box, job.run.account_id, name, code=named)

    async def _step(self, job: Job, step: Step) -> None:
        self._accepted(await self._change(job.run, Advance(step)))

    async def _change(self, run: Run, command: RunCommand) -> Changed[Run] | Refused:
        return await change(self._parts.database, self._now, run.id, command, actor=ACTOR)

    def _accepted(self, decision: Changed[Run] | Refused) -> Run:
        if isinstance(decision, Refused):
            raise Stopped(decision.reason)
        return decision.value


_FOLDER_NOTE: Final = "working-folder"


def box_name(run_id: RunId) -> str:
    """Return the id of the sandbox of a run, and of the files that are kept of it."""
    return f"run-{run_id}"


def cli_config(providers: str, *, direct: bool) -> bytes:
    """Return the configuration of the tool's command line: plugins of the shared folder, and, where the network is
    open, of their registries.
    """
    mirror = f'  filesystem_mirror {{\n    path = "{providers}"\n  }}\n'
    more = "  direct {}\n" if direct else ""
    return f"disable_checkpoint = true\nprovider_installation {{\n{mirror}{more}}}\n".encode()


def _tuning(arguments: Sequence[str]) -> Sequence[str]:
    """Return the extra arguments that an apply of a plan file takes too."""
    return [one for one in arguments if one.startswith(("-parallelism", "-compact-warnings"))]


def _violation(violation: Mapping[str, Any]) -> str:
    name, address = violation.get("rule_name", ""), violation.get("address") or "plan"
    return f"guardrail {name!r}: {address}: {violation.get('message', 'violated')}"
