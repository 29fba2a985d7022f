"""Request types of the workspace service. A field that is not known here is ignored, as the published server does."""

from collections.abc import Mapping
from typing import Any

import msgspec


class ValueIn(msgspec.Struct):
    """A variable."""

    key: str | None = None
    value: str | None = None
    value_type: str = "string"


class DefaultPipeline(msgspec.Struct):
    """The pipelines of one operation."""

    project_pipeline: str | None = None
    workspace_pipeline: str | None = None


class WorkspaceBody(msgspec.Struct, kw_only=True):
    """What creating and replacing have in common."""

    name: str
    provisioner: str
    provider_connector: str
    terraform_variables: Mapping[str, ValueIn]
    environment_variables: Mapping[str, ValueIn]
    description: str = ""
    tags: Mapping[str, str] | None = None
    provisioner_version: str | None = None
    provisioner_configuration: Mapping[str, str] | None = None
    terragrunt_provider: bool | None = None
    terragrunt_version: str | None = None
    run_all: bool | None = None
    repository: str | None = None
    repository_connector: str | None = None
    repository_branch: str | None = None
    repository_commit: str | None = None
    repository_sha: str | None = None
    repository_path: str | None = None
    repository_submodules: str | None = None
    sparse_checkout: Any = None
    terraform_variable_files: list[dict[str, Any]] | None = None
    variable_sets: list[str] | None = None
    provider_connectors: list[dict[str, Any]] | None = None
    default_pipelines: Mapping[str, DefaultPipeline] | None = None
    cost_estimation_enabled: bool | None = None
    ccm_cost_enabled: bool | None = None
    budget: float | None = None
    prune_sensitive_data: bool | None = None
    associated_template: dict[str, Any] | None = None


class CreateWorkspace(WorkspaceBody, kw_only=True):
    """A new workspace."""

    identifier: str


class VariableSetBody(msgspec.Struct, kw_only=True):
    """A variable set."""

    identifier: str = ""
    name: str = ""
    connectors: list[dict[str, Any]] | None = None
    terraform_variable_files: list[dict[str, Any]] | None = None
    description: str = ""
    terraform_variables: Mapping[str, ValueIn] = {}
    environment_variables: Mapping[str, ValueIn] = {}


class LockBody(msgspec.Struct):
    """Why a workspace is locked."""

    reason: str = ""


class CloneBody(msgspec.Struct):
    """What a copy is called."""

    identifier: str
    name: str


class SearchBody(msgspec.Struct):
    """Which resources are wanted."""

    selectors: list[dict[str, Any]] | None = None
    page: int = 1
    limit: int = 30


class PipelineBody(msgspec.Struct):
    """The default pipeline of an operation."""

    operation: str
    provisioner: str = ""
    pipeline: str | None = None
    workspace: str | None = None
