"""Workspaces whose runs are executed here: make, change, deploy, destroy, and their tasks."""

import asyncio
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from runyard.database.engine import Transaction
from runyard.dialects.door import Call
from runyard.dialects.firefly import reading
from runyard.dialects.firefly.replies import send_json, send_nothing
from runyard.dialects.firefly.services import FireflyServices
from runyard.dialects.firefly.variables import new_variables
from runyard.dialects.firefly.views import NAMED, OWN, runners_item, task_item
from runyard.dialects.firefly.wire import MaybeText, StatusOut
from runyard.dialects.firefly.workspaces import runner_type
from runyard.dialects.firefly.workspacewire import (
    ApplyIn,
    DeployedItem,
    DeployIn,
    DestroyIn,
    ExecutionIn,
    ProvisionerIn,
    RemovedItem,
    RunnersWorkspaceChange,
    RunnersWorkspaceIn,
    RunStatusItem,
)
from runyard.infrastructure.runs.arguments import split
from runyard.infrastructure.runs.errors import RefusedArguments, RunNotFound
from runyard.infrastructure.runs.model import NewRun, Origin, Run, RunKind, RunStatus
from runyard.infrastructure.runs.tasks import TaskType, plan_task, task_of
from runyard.infrastructure.variables.model import Destination, NewVariable, Sensitivity
from runyard.infrastructure.workspaces.model import (
    Code,
    NewWorkspace,
    Workspace,
    WorkspaceChanges,
    WorkspaceQuery,
)
from runyard.kernel.ids import ProjectId
from runyard.kernel.jsons import encode_json

_new: Final = msgspec.json.Decoder(RunnersWorkspaceIn)
_change: Final = msgspec.json.Decoder(RunnersWorkspaceChange)
_deploy: Final = msgspec.json.Decoder(DeployIn)
_destroy: Final = msgspec.json.Decoder(DestroyIn)
_apply: Final = msgspec.json.Decoder(ApplyIn)
_KINDS: Final = {"plan": RunKind.PLAN, "apply": RunKind.APPLY}
_APPROVED: Final = frozenset({"-auto-approve", "-auto-approve=true"})
_GRANTED: Final = frozenset({*_APPROVED, "-input=false", "-no-color"})
"""Arguments that clients give and that are not the tool's: the first say how the run goes on, the others hold anyway."""
GONE: Final = "gone"
_DESTROYED: Final = (RunStatus.APPLY_SUCCESS, RunStatus.APPLY_NO_CHANGES, RunStatus.PLAN_NO_CHANGES)
"""Ends of a destruction after which its workspace goes too."""
DESTROY_WAIT_SECONDS: Final = 90.0
"""How long a deletion with its resources is waited for: less than the time after which clients give up."""


class RunnersHandlers:
    """Managed workspaces and their tasks."""

    def __init__(self, services: FireflyServices) -> None:
        """Take the services."""
        self._services = services
        self._workspaces = services.workspaces
        self._runs = services.runs
        self._sets = services.variable_sets
        self._variables = services.variables

    async def create(self, call: Call) -> None:
        """Make a workspace with its variables and sets; when those are refused there is no workspace either."""
        body = await reading.read(call, _new)
        variables = [*new_variables(body.variables or []), *_legacy(body)]
        sets = list(dict.fromkeys(body.consumed_variable_sets or ()))

        async def add_lists(tx: Transaction, made: Workspace) -> None:
            if sets:
                await self._sets.bind_within(tx, call.caller, made, sets)
            if variables:
                await self._variables.add_to_workspace(tx, call.caller, made, variables, replace=False)

        made = await self._workspaces.create(call.caller, _new_workspace(body), add_lists)
        await send_json(call, runners_item(made), 201)

    async def get(self, call: Call) -> None:
        """Get a workspace."""
        await send_json(call, runners_item(await self._found(call)))

    async def labels(self, call: Call) -> None:
        """List the labels of workspaces."""
        await send_json(call, await self._workspaces.labels(call.caller.scope))

    async def of_project(self, call: Call) -> None:
        """List the workspaces of a project."""
        values = reading.query(call)
        offset, limit = reading.windowed(call)
        placed = await self._services.projects.get(call.caller, call.params["projectId"])
        explicit = reading.boolean(values, "explicitConsumption")
        ids = None
        if set_id := values.get("variableSetId"):
            path = placed.project.path
            inherited = False
            if not explicit:
                at = await self._sets.projects_with(call.caller, set_id, consume=True)
                inherited = bool(set(path.split("/")).intersection(at))
            ids = None if inherited else await self._sets.workspaces_with(call.caller, set_id)
        elif explicit:
            reading.required(None, "variableSetId")
        query = WorkspaceQuery(
            text=values.get("searchQuery", ""),
            project_ids=(placed.project.id,),
            ids=ids,  # type: ignore[arg-type]
            pool_id=values.get("poolId") or None,
            offset=offset,
            limit=limit,
        )
        found = await self._workspaces.search(call.caller.scope, query)
        await send_json(call, [runners_item(one) for one in found])

    async def update(self, call: Call) -> None:
        """Change what is given of a workspace, all of it or nothing. A list that is given is the whole list, as clients
        send it: what is no more in it is gone, of variables too.
        """
        body = await reading.read(call, _change)
        workspace = await self._found(call)

        async def change_lists(tx: Transaction) -> None:
            if not isinstance(body.consumed_variable_sets, UnsetType):
                sets = list(dict.fromkeys(body.consumed_variable_sets or ()))
                await self._sets.rebind_within(tx, call.caller, workspace, sets)
            if not isinstance(body.variables, UnsetType):
                wanted = new_variables(body.variables or [])
                await self._variables.add_to_workspace(tx, call.caller, workspace, wanted, replace=True)

        changed = await self._workspaces.update(call.caller, workspace.id, _changes(body), change_lists)
        await send_json(call, runners_item(changed))

    async def delete(self, call: Call) -> None:
        """Remove a workspace, with `destroy` after its resources. That may take longer than a client waits: then the
        answer says that it is under way.
        """
        values = reading.query(call)
        destroy = reading.boolean(values, "destroy")
        workspace = await self._found(call)
        run = await self._runs.delete_workspace(
            call.caller, workspace.id, destroy=destroy, description=values.get("description", "")[:512]
        )
        message, destroyed = "Workspace deleted successfully", False
        if run is not None:
            end = await self._end_of(call, run)
            destroyed = end == GONE
            if end is None:
                message = "The resources are being destroyed; the workspace is deleted after that"
            elif not destroyed:
                message = f"The workspace stays: its resources were not destroyed ({end})"
        await send_json(
            call, RemovedItem(message=message, workspace_id=workspace.id, resources_destroyed=destroyed)
        )

    async def _end_of(self, call: Call, run: Run) -> str | None:
        """Wait until a run that ends with its workspace is gone, or stands still; None when that takes too long."""
        topics = (f"run:{run.id}", f"workspace:{run.workspace_id}")
        with self._services.database.broker.subscribe(*topics) as events:
            try:
                async with asyncio.timeout(DESTROY_WAIT_SECONDS):
                    while True:
                        try:
                            found = await self._runs.get(call.caller.scope, run.id)
                        except RunNotFound:
                            return GONE
                        stopped = found.waits and found.status is RunStatus.BLOCKED
                        if stopped or (found.ended and found.status not in _DESTROYED):
                            return found.status.value
                        await events.next()
            except TimeoutError:
                return None

    async def deploy(self, call: Call) -> None:
        """Ask for a plan, or a plan and its apply."""
        body = await reading.read(call, _deploy)
        kind = _KINDS[reading.one_of(reading.required(body.task_type, "taskType"), _KINDS, "taskType")]
        new = NewRun(
            kind=kind,
            title=body.description or "",
            origin=Origin(branch=body.branch or ""),
            arguments=_arguments(body.cmd_arguments),
            auto_apply=_approves(body.cmd_arguments) if kind is RunKind.APPLY else None,
            door="firefly",
        )
        workspace = await self._found(call)
        run = await self._runs.create(call.caller, workspace.id, new)
        await send_json(call, DeployedItem(status=200, run_id=run.id, task_id=run.plan_task_id))

    async def destroy(self, call: Call) -> None:
        """Ask for the destruction of the resources of a workspace, which itself stays. With the id of a destruction that
        waits, that one goes on; any other id names nothing.
        """
        body = await reading.read(call, _destroy)
        if body.task_type:
            reading.one_of(body.task_type, ("destroy",), "taskType")
        workspace = await self._found(call)
        waiting = await self._waiting_destruction(call, workspace, body.task_id or "")
        if waiting is not None:
            run = await self._runs.approve(call.caller, waiting.id)
            await send_json(call, task_item(task_of(run, run.current_task_id)))
            return
        new = NewRun(
            kind=RunKind.DESTROY,
            title=body.description or "",
            arguments=_arguments(body.cmd_arguments),
            auto_apply=_approves(body.cmd_arguments),
            door="firefly",
        )
        run = await self._runs.create(call.caller, workspace.id, new)
        await send_json(call, task_item(plan_task(run)))

    async def _waiting_destruction(self, call: Call, workspace: Workspace, task_id: str) -> Run | None:
        if not task_id:
            return None
        try:
            run = await self._runs.by_task(call.caller.scope, task_id.lower())
        except RunNotFound:
            return None
        mine = run.workspace_id == workspace.id and run.kind is RunKind.DESTROY
        return run if mine and run.waits else None

    async def apply(self, call: Call) -> None:
        """Approve a task that waits, or acknowledge what guardrails found in it."""
        body = await reading.read(call, _apply)
        reading.one_of(reading.required(body.task_type, "taskType"), ("apply", "destroy"), "taskType")
        run = await self._run_of_task(call)
        if _arguments(body.cmd_arguments):
            raise RefusedArguments("an apply takes no arguments: it applies the plan as it was judged")
        if body.task_type == "destroy" and plan_task(run).type is not TaskType.DESTROY:
            raise RefusedArguments("Task Type is not valid: the task is no destruction")
        await self._runs.approve(call.caller, run.id)
        await send_json(call, StatusOut(status=200))

    async def discard(self, call: Call) -> None:
        """Give up a task that waits."""
        run = await self._run_of_task(call)
        await self._runs.discard(call.caller, run.id)
        await send_nothing(call)

    async def status(self, call: Call) -> None:
        """Tell where a run is."""
        workspace = await self._found(call)
        run = await self._runs.get(call.caller.scope, call.params["runId"])
        if run.workspace_id != workspace.id:
            raise RunNotFound(run.id)
        await send_json(call, RunStatusItem(status=run.status.value))

    async def _found(self, call: Call) -> Workspace:
        return await self._workspaces.get(call.caller.scope, call.params["workspaceId"])

    async def _run_of_task(self, call: Call) -> Run:
        workspace = await self._found(call)
        run = await self._runs.by_task(call.caller.scope, call.params["taskId"].lower())
        if run.workspace_id != workspace.id:
            raise RunNotFound(call.params["taskId"])
        task_of(run, call.params["taskId"])
        return run


def _arguments(text: str | None) -> tuple[str, ...]:
    return tuple(one for one in split(text or "") if one not in _GRANTED)


def _approves(text: str | None) -> bool | None:
    """Tell whether arguments ask for an apply that waits for nobody; None leaves it to the workspace's rule."""
    return True if _APPROVED.intersection(split(text or "")) else None


def _new_workspace(body: RunnersWorkspaceIn) -> NewWorkspace:
    execution = body.execution or ExecutionIn()
    return NewWorkspace(
        name=reading.required(body.workspace_name, "workspaceName"),
        project_id=ProjectId(body.project) if body.project else None,
        description=body.description or "",
        labels=tuple(body.labels or ()),
        runner_type=runner_type(reading.required(body.runner_type, "runnerType")),
        iac_type=reading.required(body.iac_type, "iacType"),
        iac_version=execution.terraform_version or "",
        code=Code(
            vcs_type=reading.required(body.vcs_type, "vcsType"),
            vcs_integration_id=reading.required(body.vcs_id, "vcsId"),
            repository=reading.required(body.repo, "repo"),
            branch=reading.required(body.default_branch, "defaultBranch"),
            working_directory=body.work_dir,
        ),
        apply_rule=execution.apply_rule or "manual",
        triggers=tuple(execution.triggers or ()),
        pool_id=body.pool_id or None,
        oidc=body.oidc_authentication,
        remote_state=True if body.is_remote is None else body.is_remote,
        extras={OWN: {NAMED: bool(body.project)}},
    )


def _legacy(body: RunnersWorkspaceIn) -> list[NewVariable]:
    """Return the variables of the four older maps."""
    found = []
    for given, destination, sensitivity in (
        (body.terraform_variables, Destination.IAC, Sensitivity.STRING),
        (body.terraform_sensitive_variables, Destination.IAC, Sensitivity.SECRET),
        (body.providers_credentials, Destination.ENV, Sensitivity.SECRET),
        (body.runner_environment, Destination.ENV, Sensitivity.STRING),
    ):
        for key, value in (given or {}).items():
            text = value if isinstance(value, str) else encode_json(value).decode()
            found.append(NewVariable(key=key, value=text, sensitivity=sensitivity, destination=destination))
    return found


def _given(value: MaybeText, field: str) -> MaybeText:
    """Return a text of a change that no workspace can be without. Raises InvalidArgument for an empty one."""
    return reading.required(value, field) if isinstance(value, str) else value


def _changes(body: RunnersWorkspaceChange) -> WorkspaceChanges:
    given: dict[str, Any] = {
        "name": _given(body.name, "name"),
        "description": reading.unless_unset(body.description, ""),
        "labels": reading.tuple_unless_unset(body.labels),
        "vcs_integration_id": _given(body.vcs_integration_id, "vcsIntegrationId"),
        "repository": _given(body.repository, "repository"),
        "branch": _given(body.default_branch, "defaultBranch"),
        "vcs_type": _given(body.vcs, "vcs"),
        "working_directory": reading.unless_unset(body.working_directory, ""),
        "runner_type": runner_type(body.runner_type)
        if isinstance(body.runner_type, str)
        else body.runner_type,
        "cron": reading.unless_unset(body.cron_execution_pattern, ""),
        "pool_id": UNSET if body.pool_id is UNSET else body.pool_id or None,
        "oidc": body.oidc_authentication,
    }
    if not isinstance(body.parent_id, UnsetType):
        given["project_id"] = ProjectId(body.parent_id) if body.parent_id else None
        given["extras"] = {OWN: {NAMED: bool(body.parent_id)}}
    if isinstance(body.execution, ExecutionIn):
        execution = body.execution
        given["apply_rule"] = execution.apply_rule or UNSET
        given["triggers"] = UNSET if execution.triggers is None else tuple(execution.triggers)
        given["iac_version"] = execution.terraform_version or UNSET
    if isinstance(body.iac_provisioner, ProvisionerIn):
        given["iac_type"] = body.iac_provisioner.type or UNSET
        given["iac_version"] = body.iac_provisioner.version or UNSET
    # Null says nothing where a workspace cannot be without: clients send it for what they do not know.
    nullable = ("pool_id", "oidc", "project_id")
    return WorkspaceChanges(
        **{name: UNSET if value is None and name not in nullable else value for name, value in given.items()}
    )
