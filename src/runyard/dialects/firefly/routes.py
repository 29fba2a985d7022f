"""The Firefly door: every operation as data, bound to its handler."""

import itertools
from collections.abc import Iterator
from typing import Any, Final

from runyard.dialects.door import Door, Parameter, Route
from runyard.dialects.firefly import projectwire, reading, wire, workspacewire
from runyard.dialects.firefly.declaring import BASE, route
from runyard.dialects.firefly.errors import ErrorOut, write_error
from runyard.dialects.firefly.governance import GovernanceHandlers, governance_routes
from runyard.dialects.firefly.guardrails import GuardrailHandlers, guardrail_routes
from runyard.dialects.firefly.integrations import IntegrationHandlers
from runyard.dialects.firefly.login import LoginHandlers
from runyard.dialects.firefly.projects import MemberHandlers, ProjectHandlers
from runyard.dialects.firefly.resources import ResourceHandlers, resource_routes
from runyard.dialects.firefly.runners import RunnersHandlers
from runyard.dialects.firefly.services import FireflyServices
from runyard.dialects.firefly.variables import VariableHandlers, VariableSetHandlers
from runyard.dialects.firefly.workspaces import WorkspaceHandlers
from runyard.identity.model import Permission

RESOURCES: Final = (
    "login", "health", "workspaces", "guardrails", "runners", "governance", "users", "api/integrations", "api/vcs",
)  # fmt: skip
"""What the door's paths begin with, behind any of its prefixes."""
OLD_LOGIN: Final = "/api/v1.0/login/"
"""Where older tools of the vendor log in before they call the paths of today."""
_READ, _WRITE = Permission.WORKSPACES_READ, Permission.WORKSPACES_WRITE
_RUN, _APPROVE, _ADMIN = Permission.WORKSPACES_RUN, Permission.WORKSPACES_APPROVE, Permission.ADMIN


def _number(name: str, summary: str, low: int, high: int) -> Parameter:
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Parameter(name=name, summary=summary, schema=schema)


def _flag(name: str, summary: str) -> Parameter:
    return Parameter(name=name, summary=summary, schema={"type": "boolean"})


_SIZE = _number("pageSize", "Items on the page at most.", 1, reading.MAX_PAGE)
_PAGE = (_number("page", "Which page, from 0.", 0, reading.FARTHEST), _SIZE)
_WINDOW = (_SIZE, _number("offset", "How many items to leave out first.", 0, reading.FARTHEST))
_TEXT = Parameter(name="searchQuery", summary="Part of the name, case ignored.")
_POOL = Parameter(name="poolId", summary="Only with this runner pool.")
_SET = Parameter(name="variableSetId", summary="Only what uses this variable set.")


def _login(h: LoginHandlers) -> Iterator[Route]:
    yield route(
        "POST", "/login", "login", "Log in with a key pair.", h.log_in,
        open=True, request=wire.LoginIn, response=wire.LoginOut,
    )  # fmt: skip
    yield route("GET", "/health", "health", "Say that the server answers.", h.health, open=True, status=204)


def _workspaces(h: WorkspaceHandlers) -> Iterator[Route]:
    one = "/workspaces/{workspaceId}"
    yield route(
        "POST", "/workspaces/search", "searchWorkspaces", "List workspaces.", h.search,
        permission=_READ, request=workspacewire.WorkspaceSearchIn, response=list[workspacewire.WorkspaceItem], parameters=_PAGE,
    )  # fmt: skip
    yield route(
        "DELETE", one, "deleteWorkspace", "Delete a workspace with its runs.", h.delete,
        permission=_WRITE, response=workspacewire.DeletedItem,
    )  # fmt: skip
    yield route(
        "PUT", f"{one}/labels", "setLabels", "Replace the labels of a workspace.", h.set_labels,
        permission=_WRITE, request=workspacewire.LabelsIn, response=workspacewire.LabelsOut,
    )  # fmt: skip
    yield route(
        "POST", f"{one}/runs/search", "searchRuns", "List runs of a workspace.", h.search_runs,
        permission=_READ, request=workspacewire.RunSearchIn, response=list[workspacewire.RunItem], parameters=_PAGE,
    )  # fmt: skip


def _projects(h: ProjectHandlers, r: RunnersHandlers) -> Iterator[Route]:
    base, one = "/runners/projects", "/runners/projects/{projectId}"
    yield route(
        "POST", base, "createProject", "Make a project.", h.create,
        permission=_ADMIN, status=201, request=projectwire.ProjectIn, response=projectwire.ProjectItem,
    )  # fmt: skip
    yield route(
        "GET", f"{base}/list", "listProjects", "List projects, the root first.", h.flat,
        permission=_READ, response=projectwire.ProjectPage,
        parameters=(*_WINDOW, _number("maxDepth", "Levels of the tree, the top included.", 1, 5), _POOL, _TEXT),
    )  # fmt: skip
    yield route(
        "GET", f"{base}/tree", "getProjectTree", "List projects as a tree.", h.tree,
        permission=_READ, response=projectwire.ProjectTree,
        parameters=(_TEXT, _SET, _flag("consumedOnly", "Only those to which its values flow.")),
    )  # fmt: skip
    yield route(
        "GET", f"{base}/labels", "listProjectLabels", "List labels of projects.", h.labels,
        permission=_READ, response=list[str],
    )  # fmt: skip
    yield route(
        "GET", one, "getProject", "Get a project.", h.get, permission=_READ, response=projectwire.ProjectItem
    )
    yield route(
        "PATCH", one, "updateProject", "Change a project.", h.update,
        permission=_ADMIN, request=projectwire.ProjectChange, response=projectwire.ProjectItem,
    )  # fmt: skip
    yield route(
        "DELETE", one, "deleteProject", "Delete a project with its workspaces.", h.delete,
        permission=_ADMIN, status=204,
    )  # fmt: skip
    yield route(
        "GET", f"{one}/workspaces", "listProjectWorkspaces", "List workspaces of a project.", r.of_project,
        permission=_READ, response=list[workspacewire.RunnersWorkspaceItem],
        parameters=(*_WINDOW, _TEXT, _POOL, _SET, _flag("explicitConsumption", "Only those bound to the set.")),
    )  # fmt: skip


def _members(h: MemberHandlers) -> Iterator[Route]:
    members = "/runners/projects/{projectId}/members"
    yield route(
        "GET", members, "listMembers", "List members of a project.", h.list,
        permission=_READ, response=list[projectwire.MemberItem],
    )  # fmt: skip
    yield route(
        "POST", members, "addMembers", "Add members, or give them other roles.", h.add,
        permission=_ADMIN, status=201, request=list[projectwire.MemberIn], response=list[projectwire.MemberItem],
    )  # fmt: skip
    yield route(
        "DELETE", members, "removeMembers", "Remove members by their ids.", h.remove,
        permission=_ADMIN, status=204, request=list[str],
    )  # fmt: skip
    yield route(
        "GET", "/users", "listUsers", "List users.", h.users,
        permission=_READ, response=list[projectwire.UserItem], parameters=(*_WINDOW, _TEXT),
    )  # fmt: skip


def _variables(h: VariableHandlers) -> Iterator[Route]:
    project = "/runners/variables/projects/{projectId}"
    workspace = "/runners/variables/workspaces/{workspaceId}"
    read: dict[str, Any] = {"permission": _READ, "response": list[projectwire.VariableItem]}
    write: dict[str, Any] = {"permission": _WRITE, "status": 204, "request": projectwire.VariablesIn}
    remove: dict[str, Any] = {"permission": _WRITE, "status": 204, "request": projectwire.VariableNamesIn}
    yield route("GET", project, "listProjectVariables", "List variables of a project.", h.of_project, **read)
    yield route(
        "POST", f"{project}/variables", "setProjectVariables", "Write variables of a project.",
        h.set_for_project, **write,
    )  # fmt: skip
    yield route(
        "DELETE", f"{project}/variables", "deleteProjectVariables", "Delete variables of a project.",
        h.delete_of_project, **remove,
    )  # fmt: skip
    path = f"{workspace}/variables"
    yield route(
        "GET", path, "listWorkspaceVariables", "List variables of a workspace.", h.of_workspace,
        parameters=_WINDOW, **read,
    )  # fmt: skip
    yield route(
        "POST", path, "setWorkspaceVariables", "Write variables of a workspace.", h.set_for_workspace, **write
    )
    yield route(
        "DELETE", path, "deleteWorkspaceVariables", "Delete variables of a workspace.",
        h.delete_of_workspace, **remove,
    )  # fmt: skip
    bound = f"{workspace}/variable-sets/{{variableSetId}}"
    yield route(
        "POST", f"{bound}/bind", "bindVariableSet", "Let a workspace use a variable set.", h.bind,
        permission=_WRITE, status=204,
    )  # fmt: skip
    yield route(
        "POST", f"{bound}/unbind", "unbindVariableSet", "Undo that.", h.unbind, permission=_WRITE, status=204
    )


def _sets(h: VariableSetHandlers) -> Iterator[Route]:
    base, one = "/runners/variables/variable-sets", "/runners/variables/variable-sets/{variableSetId}"
    yield route(
        "GET", base, "listVariableSets", "List variable sets.", h.list,
        permission=_READ, response=list[projectwire.VariableSetItem], parameters=(*_WINDOW, _TEXT),
    )  # fmt: skip
    yield route(
        "POST", base, "createVariableSet", "Make a variable set.", h.create,
        permission=_WRITE, status=201, request=projectwire.VariableSetIn, response=projectwire.VariableSetMade,
    )  # fmt: skip
    yield route(
        "GET", one, "getVariableSet", "Get a variable set.", h.get,
        permission=_READ, response=projectwire.VariableSetFull,
    )  # fmt: skip
    yield route(
        "PUT", one, "updateVariableSet", "Change a variable set.", h.update,
        permission=_WRITE, request=projectwire.VariableSetChange, response=str,
    )  # fmt: skip
    yield route(
        "DELETE", one, "deleteVariableSet", "Delete a variable set.", h.delete, permission=_WRITE, status=204
    )
    yield route(
        "GET", f"{one}/variables", "listSetVariables", "List variables of a set.", h.variables,
        permission=_READ, response=list[projectwire.VariableItem], parameters=_PAGE,
    )  # fmt: skip
    yield route(
        "POST", f"{one}/variables", "setSetVariables", "Write variables of a set.", h.set_variables,
        permission=_WRITE, status=204, request=projectwire.VariablesIn,
    )  # fmt: skip
    yield route(
        "DELETE", f"{one}/variables", "deleteSetVariables", "Delete variables of a set.", h.delete_variables,
        permission=_WRITE, status=204, request=projectwire.VariableNamesIn,
    )  # fmt: skip
    attached = "/runners/variables/projects/{projectId}/variable-sets/{variableSetId}"
    yield route(
        "POST", f"{attached}/attach", "attachVariableSet", "Make a variable set known at a project.", h.attach,
        permission=_WRITE, status=204, request=projectwire.AttachIn,
    )  # fmt: skip
    yield route(
        "POST",
        f"{attached}/detach",
        "detachVariableSet",
        "Undo that.",
        h.detach,
        permission=_WRITE,
        status=204,
    )


def _runners(h: RunnersHandlers) -> Iterator[Route]:
    base, one = "/runners/workspaces", "/runners/workspaces/{workspaceId}"
    yield route(
        "POST", base, "createWorkspace", "Make a workspace.", h.create,
        permission=_WRITE, status=201, request=workspacewire.RunnersWorkspaceIn, response=workspacewire.RunnersWorkspaceItem,
    )  # fmt: skip
    yield route(
        "GET", f"{base}/labels", "listWorkspaceLabels", "List labels of workspaces.", h.labels,
        permission=_READ, response=list[str],
    )  # fmt: skip
    yield route(
        "GET", one, "getWorkspace", "Get a workspace.", h.get,
        permission=_READ, response=workspacewire.RunnersWorkspaceItem,
    )  # fmt: skip
    for method in ("PATCH", "PUT"):
        yield route(
            method, one, f"updateWorkspace{'' if method == 'PATCH' else 'ByPut'}", "Change a workspace.", h.update,
            permission=_WRITE, request=workspacewire.RunnersWorkspaceChange, response=workspacewire.RunnersWorkspaceItem,
        )  # fmt: skip
    yield route(
        "POST", one, "deployWorkspace", "Ask for a plan, or a plan and its apply.", h.deploy,
        permission=_RUN, request=workspacewire.DeployIn, response=workspacewire.DeployedItem,
    )  # fmt: skip
    yield route(
        "DELETE", one, "removeWorkspace", "Delete a workspace, if asked with its resources.", h.delete,
        permission=_WRITE, response=workspacewire.RemovedItem,
        parameters=(
            _flag("destroy", "Destroy the resources first."),
            Parameter(name="description", summary="Title of the run that destroys them."),
        ),
    )  # fmt: skip
    yield route(
        "POST", f"{one}/tasks/destroy", "destroyWorkspace", "Destroy the resources of a workspace.", h.destroy,
        permission=_RUN, request=workspacewire.DestroyIn, response=workspacewire.TaskItem,
    )  # fmt: skip
    task = f"{one}/tasks/{{taskId}}"
    yield route(
        "POST", f"{task}/apply", "applyTask", "Approve a task that waits.", h.apply,
        permission=_APPROVE, request=workspacewire.ApplyIn, response=wire.StatusOut,
    )  # fmt: skip
    yield route(
        "POST", f"{task}/discard", "discardTask", "Give up a task that waits.", h.discard,
        permission=_RUN, status=204,
    )  # fmt: skip
    yield route(
        "GET", f"{one}/run/{{runId}}/status", "getRunStatus", "Tell where a run is.", h.status,
        permission=_READ, response=workspacewire.RunStatusItem,
    )  # fmt: skip


def _integrations(h: IntegrationHandlers) -> Iterator[Route]:
    yield route(
        "GET", "/api/integrations/global/vcs", "listIntegrations", "List integrations by kind.", h.list,
        permission=_READ, response=dict[str, list[projectwire.IntegrationItem]],
    )  # fmt: skip
    one = "/api/vcs/{type}/{integrationId}"
    yield route(
        "GET", f"{one}/repos", "listRepositories", "List repositories of an integration.", h.repositories,
        permission=_READ, response=list[projectwire.RepositoryItem],
        parameters=(_flag("onlyPrivateRepos", "Taken, and without effect: all are reached by the integration."),),
    )  # fmt: skip
    yield route(
        "GET", f"{one}/directory-tree", "getDirectoryTree", "Show the folders of a repository.", h.tree,
        permission=_READ, response=projectwire.TreeNode,
        parameters=(
            Parameter(name="repo", summary="Name of the repository.", required=True),
            Parameter(name="branch", summary="Branch; the default one when left out."),
            _flag("includeFiles", "Show files too."),
        ),
    )  # fmt: skip


def register(services: FireflyServices) -> Door:
    """Build the door over the domain services."""
    runners = RunnersHandlers(services)
    routes = itertools.chain(
        _login(LoginHandlers(services)),
        _workspaces(WorkspaceHandlers(services)),
        _projects(ProjectHandlers(services), runners),
        _members(MemberHandlers(services)),
        _variables(VariableHandlers(services)),
        _sets(VariableSetHandlers(services)),
        _runners(runners),
        _integrations(IntegrationHandlers(services)),
        guardrail_routes(GuardrailHandlers(services), _PAGE),
        governance_routes(GovernanceHandlers(services)),
        resource_routes(ResourceHandlers(services), _PAGE),
    )
    fronts = ("/", f"{BASE}/", "/api/v2/")
    return Door(
        name="firefly",
        title="Firefly: workspaces, plans, guardrails, variables",
        routes=tuple(routes),
        prefixes=(*(f"{front}{name}/" for front in fronts for name in RESOURCES), OLD_LOGIN),
        credential=reading.credential,
        write_error=write_error,
        error_body=ErrorOut,
        aliases=(
            *(
                (f"{front}{name}/", f"{BASE}/{name}/")
                for front in fronts
                if front != f"{BASE}/"
                for name in RESOURCES
            ),
            (OLD_LOGIN, f"{BASE}/login/"),
        ),
    )
