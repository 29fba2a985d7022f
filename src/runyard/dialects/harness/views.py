"""Workspaces in the dialect's words. Owns which of its fields are fields of a workspace, and where the rest is kept.

What only this dialect knows stands in the workspace's extras under `harness`: connectors, tags, pipelines, and the
name, where the account has another workspace of that name already.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from runyard.dialects.harness.reading import Where
from runyard.dialects.harness.replies import millis
from runyard.dialects.harness.wire import CreateWorkspace, WorkspaceBody
from runyard.infrastructure.state.model import Lock as StateLock
from runyard.infrastructure.workspaces.model import IacType, Workspace
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.jsons import encode_json

OPERATIONS: Final = ("plan", "apply", "destroy", "drift")
PROVISIONERS: Final = ("terraform", "opentofu", "terragrunt")
EXTRAS: Final = "harness"
"""Under which workspaces, projects and variable sets keep what only this dialect knows."""
BUILT_IN: Final[Mapping[str, str]] = {"plan": "plan"}
"""The pipelines of operations that nobody names: plans of local code run by themselves. They stand there as the
project's: a client that manages workspaces takes a pipeline of the workspace that it did not set for a change.
"""
_SUBMODULES: Final = ("false", "true", "recursive")
_CONNECTORS: Final = ("aws", "azure", "gcp", "vault")
_OWN: Final = (
    "provider_connector", "repository_connector", "tags", "provisioner_configuration", "terragrunt_provider",
    "terragrunt_version", "run_all", "repository_commit", "repository_sha", "repository_submodules",
    "sparse_checkout", "terraform_variable_files", "variable_sets", "provider_connectors", "default_pipelines",
    "cost_estimation_enabled", "ccm_cost_enabled", "budget", "prune_sensitive_data", "associated_template",
)  # fmt: skip
"""Fields that are kept as they came and given back."""
_STATUSES: Final = {
    "": "inactive",
    "planning": "provisioning",
    "applying": "provisioning",
    "pending": "provisioning",
    "init_error": "failed",
    "plan_error": "failed",
    "apply_error": "failed",
}


def own_of(workspace: Workspace) -> Mapping[str, Any]:
    """Return what only this dialect knows of a workspace."""
    found = workspace.extras.get("harness")
    return found if isinstance(found, Mapping) else {}


def default_pipelines(workspace: Workspace, common: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the default pipelines by operation; `common` are the project's. A workspace that names an operation without
    any pipeline wants none.
    """
    found: dict[str, Any] = {
        operation: {"workspace_pipeline": None, "project_pipeline": name}
        for operation, name in {**BUILT_IN, **common}.items()
    }
    for operation, named in (own_of(workspace).get("default_pipelines") or {}).items():
        above = found.get(operation) or {}
        if named.get("workspace_pipeline") is not None and named.get("project_pipeline") is None:
            named = {**named, "project_pipeline": above.get("project_pipeline")}
        found[operation] = named
    return found


def default_pipeline(workspace: Workspace, operation: str, common: Mapping[str, str]) -> str | None:
    """Return the pipeline of an operation: the workspace's own, else the project's; None when there is none."""
    named = default_pipelines(workspace, common).get(operation) or {}
    own: str | None = named.get("workspace_pipeline")
    above: str | None = named.get("project_pipeline")
    return above if own is None else own


def status_of(workspace: Workspace) -> str:
    """Return the dialect's status."""
    return _STATUSES.get(workspace.last_run_status, "active")


def name_of(workspace: Workspace) -> str:
    """Return the name that was given through this dialect, else the workspace's."""
    return str(own_of(workspace).get("name") or workspace.name)


def summary(where: Where, workspace: Workspace) -> dict[str, Any]:
    """Return a workspace as an item of a list."""
    return {
        "account": where.account.slug,
        "org": where.org_name,
        "project": where.project_name,
        "identifier": workspace.identifier,
        "name": name_of(workspace),
        "description": workspace.description,
        "created": millis(workspace.created_at),
        "updated": millis(workspace.updated_at),
        "status": status_of(workspace),
        "provisioner": workspace.iac_type.value,
        "tags": own_of(workspace).get("tags") or {},
    }


def fits(workspace: Workspace, statuses: Sequence[str], tags: Sequence[str]) -> bool:
    """Tell whether a workspace has any of the statuses and all of the tags, each a key or `key:value`."""
    if statuses and status_of(workspace) not in statuses:
        return False
    own = own_of(workspace).get("tags") or {}
    return {*own, *(f"{key}:{value}" for key, value in own.items())} >= set(tags)


def show(
    where: Where,
    workspace: Workspace,
    variables: Mapping[str, Any],
    common: Mapping[str, str],
    held: StateLock | None,
) -> dict[str, Any]:
    """Return a whole workspace; `variables` are the two maps and the sets, `common` the default pipelines of its project,
    `held` the lock of its state.
    """
    own = own_of(workspace)
    document = {
        **summary(where, workspace),
        "provisioner_version": workspace.iac_version or None,
        "provisioner_data": "",
        "repository": workspace.code.repository or None,
        "repository_connector": own.get("repository_connector") or workspace.code.vcs_integration_id,
        "repository_branch": workspace.code.branch or None,
        "repository_path": workspace.code.working_directory or None,
        "provider_connector": own.get("provider_connector", ""),
        "default_pipelines": default_pipelines(workspace, common),
        "backend_locked": held is not None,
        "lock": lock_view(workspace, held),
        **variables,
    }
    for name in _OWN:
        if document.get(name) is None and own.get(name) is not None:
            document[name] = own[name]
    return {name: value for name, value in document.items() if value is not None}


def lock_view(workspace: Workspace, held: StateLock | None) -> dict[str, Any] | None:
    """Return the lock of a workspace: a person's, else the one that the tool took on its state."""
    lock = workspace.lock
    if lock is None:
        return None if held is None else _state_lock_view(held)
    return {
        "id": lock.holder or str(workspace.record_id),
        "manual": not lock.holder,
        "reason": lock.reason,
        "created_at": millis(lock.at),
        "locked_by_principal_id": lock.actor,
        "locked_by_principal_type": "USER",
        "locked_by_display_name": lock.actor,
    }


def _state_lock_view(held: StateLock) -> dict[str, Any]:
    return {
        "id": held.lock_id,
        "manual": False,
        "reason": held.info.get("Operation", ""),
        "created_at": millis(held.created_at),
        "locked_by_principal_id": held.actor,
        "locked_by_principal_type": "USER",
        "locked_by_display_name": held.actor,
    }


def extras_of(body: WorkspaceBody) -> dict[str, Any]:
    """Return what is kept of a body beside the workspace's own fields. Raises InvalidArgument."""
    _check(body)
    kept = {name: getattr(body, name) for name in _OWN}
    if body.default_pipelines is not None:
        unknown = set(body.default_pipelines) - set(OPERATIONS)
        if unknown:
            raise InvalidArgument(
                f"default_pipelines has the operation {min(unknown)!r}; there are {', '.join(OPERATIONS)}"
            )
        kept["default_pipelines"] = {
            operation: {
                "project_pipeline": one.project_pipeline,
                "workspace_pipeline": one.workspace_pipeline,
            }
            for operation, one in body.default_pipelines.items()
        }
    return check_kept(
        {"name": body.name, **{name: value for name, value in kept.items() if value is not None}}
    )


def check_kept(kept: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be kept as it came, unless a database could not. Raises InvalidArgument."""
    if b"\\u0000" in encode_json(kept):
        raise InvalidArgument("a text must not contain a NUL")
    return kept


def _check(body: WorkspaceBody) -> None:
    if isinstance(body, CreateWorkspace) and not 1 <= len(body.identifier) <= 128:
        raise InvalidArgument("length of identifier must be between 1 and 128")
    if not 1 <= len(body.name) <= 128:
        raise InvalidArgument("length of name must be between 1 and 128")
    if body.provisioner not in PROVISIONERS:
        raise InvalidArgument(f"provisioner must be one of {', '.join(PROVISIONERS)}")
    if body.repository == "" and body.repository_connector == "":
        raise InvalidArgument("repository name can't be empty")
    if body.repository_submodules is not None and body.repository_submodules not in _SUBMODULES:
        raise InvalidArgument(f"repository_submodules must be one of {', '.join(_SUBMODULES)}")
    check_connectors(body.provider_connectors or ())


def check_connectors(connectors: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a connector without a reference and a known type. Raises InvalidArgument."""
    for connector in connectors:
        if connector.get("type") not in _CONNECTORS or not isinstance(connector.get("connector_ref"), str):
            raise InvalidArgument(
                f"a provider connector needs a connector_ref and a type among {', '.join(_CONNECTORS)}"
            )


def iac_type_of(provisioner: str) -> IacType:
    """Return the tool of a provisioner."""
    return IacType(provisioner)
