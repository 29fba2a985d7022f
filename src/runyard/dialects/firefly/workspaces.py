"""Workspaces of every kind and their runs, as the console lists them."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from runyard.dialects.door import Call
from runyard.dialects.firefly import reading
from runyard.dialects.firefly.replies import send_json, send_projected
from runyard.dialects.firefly.services import FireflyServices
from runyard.dialects.firefly.workspacewire import (
    BackendSummary,
    DeletedItem,
    LabelsIn,
    LabelsOut,
    RunFilters,
    RunItem,
    RunSearchIn,
    WorkspaceFilters,
    WorkspaceItem,
    WorkspaceMatch,
    WorkspaceSearchIn,
)
from runyard.infrastructure.guardrails.model import Guardrail
from runyard.infrastructure.guardrails.service import GuardrailFilter
from runyard.infrastructure.integrations.model import commit_page
from runyard.infrastructure.runs.model import Run, RunQuery
from runyard.infrastructure.workspaces.model import (
    MANAGED,
    Match,
    Workspace,
    WorkspaceChanges,
    WorkspaceQuery,
)

_search: Final = msgspec.json.Decoder(WorkspaceSearchIn)
_runs: Final = msgspec.json.Decoder(RunSearchIn)
_labels: Final = msgspec.json.Decoder(LabelsIn)
_SORTS: Final[Mapping[str, str]] = {
    "lastRunTime": "last_run_at",
    "workspaceName": "name",
    "repository": "repository",
    "terraformVersion": "iac_version",
    "lastRunStatus": "last_run_status",
    "ciTool": "runner_type",
    "createdAt": "created_at",
}
_RUN_SORTS: Final[Mapping[str, str]] = {
    "updatedAt": "updated_at",
    "createdAt": "created_at",
    "title": "title",
    "commitId": "commit",
    "branch": "branch",
    "status": "status",
    "ciTool": "runner_type",
    "vcsType": "vcs_type",
    "repository": "repository",
}
MOST_RULES: Final = 1000
"""Guardrails that a listing looks at."""
OLD_MANAGED: Final = "firefly_runners"
"""Another published spelling of the runner type of workspaces whose runs are executed here."""


class WorkspaceHandlers:
    """Workspaces and their runs."""

    def __init__(self, services: FireflyServices) -> None:
        """Take the services."""
        self._workspaces = services.workspaces
        self._runs = services.runs
        self._guardrails = services.guardrails
        self._integrations = services.integrations

    async def search(self, call: Call) -> None:
        """List workspaces."""
        body = await reading.read(call, _search)
        offset, limit = reading.paged(call)
        filters = body.filters
        query = WorkspaceQuery(
            match=_match(filters),
            any_of=_alternatives(filters),
            text=body.search_value or "",
            sort=_order(body.sort, _SORTS),
            offset=offset,
            limit=limit,
        )
        found = await self._workspaces.search(call.caller.scope, query)
        rules: Sequence[Guardrail] = ()
        if found and (not body.projection or "guardrails" in body.projection):
            rules = await self._guardrails.search(call.caller.scope, GuardrailFilter(), 0, MOST_RULES)
        pages = await self._integrations.pages(found)
        await send_projected(call, await workspace_items(found, rules, pages), body.projection)

    async def delete(self, call: Call) -> None:
        """Remove a workspace with its runs."""
        workspace = await self._workspaces.get(call.caller.scope, call.params["workspaceId"])
        await self._runs.delete_workspace(call.caller, workspace.id)
        await send_json(call, DeletedItem(status=200, data={"message": "Workspace deleted successfully"}))

    async def set_labels(self, call: Call) -> None:
        """Replace the labels of a workspace."""
        body = await reading.read(call, _labels)
        changes = WorkspaceChanges(labels=tuple(body.labels))
        changed = await self._workspaces.update(call.caller, call.params["workspaceId"], changes)
        await send_json(
            call,
            LabelsOut(
                id=changed.record_id,
                workspace_name=changed.name,
                labels=list(changed.labels),
                updated_at=changed.updated_at,
            ),
        )

    async def search_runs(self, call: Call) -> None:
        """List runs of a workspace."""
        body = await reading.read(call, _runs)
        offset, limit = reading.paged(call)
        workspace = await self._workspaces.get(call.caller.scope, call.params["workspaceId"])
        filters = body.filters or RunFilters()
        query = RunQuery(
            workspace_id=workspace.id,
            run_ids=tuple(filters.run_id or ()),
            titles=tuple(filters.run_name or ()),
            statuses=tuple(filters.status or ()),
            branches=tuple(filters.branch or ()),
            commits=tuple(filters.commit_id or ()),
            runner_types=_runner_types(filters.ci_tool),
            vcs_types=tuple(filters.vcs_type or ()),
            repositories=tuple(filters.repository or ()),
            text=body.search_value or "",
            sort=_order(body.sort, _RUN_SORTS),
            offset=offset,
            limit=limit,
        )
        found = await self._runs.search(call.caller.scope, query)
        pages = await self._integrations.pages([_at(workspace, one) for one in found])
        items = [run_item(one, page) for one, page in zip(found, pages, strict=True)]
        await send_projected(call, items, body.projection)


def _at(workspace: Workspace, run: Run) -> Workspace:
    """Return a workspace with the repository that it had when it ran."""
    code = msgspec.structs.replace(
        workspace.code, repository=run.repository, repository_url=run.repository_url, vcs_type=run.vcs_type
    )
    return msgspec.structs.replace(workspace, code=code)


def _match(given: WorkspaceMatch | None) -> Match:
    if given is None:
        return Match()
    return Match(
        names=tuple(given.workspace_name or ()),
        repositories=tuple(given.repositories or ()),
        runner_types=_runner_types(given.ci_tool),
        labels=tuple(given.labels or ()),
        statuses=tuple(given.status or ()),
        vcs_types=tuple(given.vcs_type or ()),
        managed=given.is_managed_workflow,
    )


def _alternatives(given: WorkspaceFilters | None) -> Match | None:
    """Return the conditions of which one is enough; none of them is no condition."""
    found = _match(None if given is None else given.any_of)
    return None if found == Match() else found


def _runner_types(given: Sequence[str] | None) -> Sequence[str]:
    return tuple(runner_type(one) for one in given or ())


def runner_type(given: str) -> str:
    """Return the runner type that a word means."""
    return MANAGED if given == OLD_MANAGED else given


def _order(given: Any, known: Mapping[str, str]) -> Sequence[tuple[str, bool]]:  # noqa: ANN401  two published forms
    return [(known[name], not descends) for name, descends in reading.sorting(given, known)]


async def workspace_items(
    found: Sequence[Workspace], rules: Sequence[Guardrail], pages: Sequence[str]
) -> list[WorkspaceItem]:
    """Return workspaces as a listing has them. Others get their turn in between: there may be a million pairs of a
    workspace and a rule, which are seconds of work.
    """
    items = []
    for one, page in zip(found, pages, strict=True):
        items.append(workspace_item(one, rules, page))
        if rules:
            await asyncio.sleep(0)
    return items


def workspace_item(one: Workspace, rules: Sequence[Guardrail], page: str) -> WorkspaceItem:
    """Return a workspace as a listing has it, with the names of those of some guardrails that are for it and the page of
    its repository.
    """
    return WorkspaceItem(
        id=one.record_id,
        account_id=one.account_id,
        created_at=one.created_at,
        updated_at=one.updated_at,
        workspace_id=one.id,
        workspace_name=one.name,
        repo=one.code.repository,
        repo_url=one.code.repository_url or page,
        vcs_type=one.code.vcs_type,
        runner_type=one.runner_type,
        last_run_status=one.last_run_status,
        last_apply_time=one.last_apply_at or UNSET,
        last_plan_time=one.last_plan_at or UNSET,
        last_run_time=one.last_run_at or UNSET,
        iac_type=one.iac_type.value,
        iac_type_version=one.iac_version,
        backend_summary=_backend(one),
        labels=list(one.labels),
        pool_id=one.pool_id or UNSET,
        runs_count=one.runs_count,
        is_workflow_managed=one.managed,
        guardrails=[rule.name for rule in rules if _is_for(rule, one)],
        oidc_authentication=one.oidc,
        is_remote=one.remote_state,
    )


def _is_for(rule: Guardrail, one: Workspace) -> bool:
    covered = rule.scope.covers(one.name, one.code.repository, one.code.branch, one.labels)
    return rule.enabled and covered and one.project_path.startswith(rule.project_path)


def _backend(one: Workspace) -> BackendSummary | UnsetType:
    if one.resource_count is None:
        return UNSET
    return BackendSummary(
        backend_type="remote" if one.remote_state else "http",
        backend_config={},
        iac_stack_id=one.record_id,
        managed_resource_count=one.resource_count,
    )


def run_item(one: Run, page: str) -> RunItem:
    """Return a run as a listing has it, with the page of its repository."""
    origin = one.origin
    return RunItem(
        id=one.record_id,
        account_id=one.account_id,
        created_at=one.created_at,
        updated_at=one.updated_at,
        workspace_id=one.workspace_id,
        workspace_name=one.workspace_name,
        run_id=one.id,
        run_name=one.title,
        status=one.status.value,
        pull_request_id=origin.pull_request_id,
        pull_request_url=origin.pull_request_url,
        branch=origin.branch,
        commit_id=origin.commit,
        commit_url=origin.commit_url or commit_page(one.vcs_type, page, origin.commit),
        runner_type=one.runner_type,
        build_id=origin.build_id,
        build_url=origin.build_url,
        build_name=origin.build_name,
        vcs_type=one.vcs_type,
        repo=one.repository,
        repo_url=one.repository_url or page,
        title=origin.commit_title or one.title,
        terraform_version=one.iac_version,
        iac_type=one.iac_type,
        plan_task_id=one.plan_task_id,
        apply_task_id=UNSET if one.apply_task_id is None else one.apply_task_id,
    )
