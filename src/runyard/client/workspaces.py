"""Workspaces and their runs over the native API. Owns their paths and shapes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from runyard.client.http import Request, Transport, path_of
from runyard.client.models import Page, Wire
from runyard.client.paging import each_at


class Workspace(Wire, frozen=True, kw_only=True):
    """What is planned and applied together."""

    id: str
    name: str
    project_id: str = ""
    description: str = ""
    labels: list[str] = []
    runner_type: str = ""
    iac_type: str = ""
    iac_version: str = ""
    vcs_type: str = ""
    vcs_integration_id: str = ""
    repository: str = ""
    repository_url: str = ""
    branch: str = ""
    working_directory: str = ""
    apply_rule: str = ""
    cron: str = ""
    locked_by: str | None = None
    lock_reason: str | None = None
    resource_count: int | None = None
    last_run_status: str = ""
    last_run_at: datetime | None = None
    runs_count: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Run(Wire, frozen=True, kw_only=True):
    """One plan of a workspace and its apply."""

    id: str
    workspace_id: str
    workspace_name: str = ""
    kind: str = ""
    trigger: str = ""
    status: str = ""
    step: str = ""
    reason: str | None = None
    title: str = ""
    actor: str = ""
    branch: str = ""
    commit: str = ""
    iac_type: str = ""
    iac_version: str = ""
    plan_task_id: str
    apply_task_id: str | None = None
    block: str = "none"
    violations: list[dict[str, Any]] = []
    has_changes: bool | None = None
    counts: dict[str, int] = {}
    approved_by: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def failed(self) -> bool:
        """Tell whether it ended as nobody wished."""
        return self.ended_at is not None and self.status in (
            "init_error", "plan_error", "apply_error", "blocked", "cancelled", "discarded",
        )  # fmt: skip


class Variable(Wire, frozen=True, kw_only=True):
    """A variable that a run of a workspace would get; a secret has no value here."""

    key: str
    destination: str
    value: str | None = None
    secret: bool = False


class Violation(Wire, frozen=True, kw_only=True):
    """Something that a guardrail forbids; without an address it is about the plan as a whole."""

    rule_id: str
    rule_name: str
    type: str
    severity: str
    address: str
    message: str


class RuleResult(Wire, frozen=True, kw_only=True):
    """What one guardrail found in all."""

    rule_id: str
    rule_name: str
    type: str
    severity: str
    violations: int


class Verdict(Wire, frozen=True, kw_only=True):
    """What guardrails say of the plan of a run."""

    run_id: str
    blocked: str
    stops: bool
    rules: list[RuleResult]
    violations: list[Violation]
    judged_at: datetime
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None


class Workspaces:
    """Workspaces of the token's part of the tree, by id or name."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def list(self, *, text: str = "", limit: int = 50) -> Sequence[Workspace]:
        """Return workspaces, the newest first; `text` is a part of name, repository or a label."""
        return list(each_at(self._transport, path_of("workspaces"), Page[Workspace], {"text": text}, limit))

    def get(self, workspace: str) -> Workspace:
        """Return one workspace."""
        return self._transport.call(
            Request("GET", path_of("workspaces", workspace), repeatable=True), Workspace
        )

    def create(self, body: Mapping[str, object]) -> Workspace:
        """Add a workspace; the body has the members that the native API documents."""
        return self._transport.call(Request("POST", path_of("workspaces"), json=body), Workspace)

    def delete(self, workspace: str) -> None:
        """Delete a workspace with its runs and its state; its resources stay."""
        self._transport.send(Request("DELETE", path_of("workspaces", workspace)))

    def lock(self, workspace: str, reason: str = "") -> Workspace:
        """Keep runs from beginning."""
        path = path_of("workspaces", workspace, "lock")
        return self._transport.call(Request("POST", path, json={"reason": reason}), Workspace)

    def unlock(self, workspace: str, *, force: bool = False) -> Workspace:
        """Let runs begin again; with `force` also when somebody else has locked it."""
        path = path_of("workspaces", workspace, "unlock")
        return self._transport.call(Request("POST", path, json={"force": force}), Workspace)

    def runs(self, workspace: str, *, limit: int = 50) -> Sequence[Run]:
        """Return the runs of a workspace, the newest first."""
        return list(each_at(self._transport, path_of("workspaces", workspace, "runs"), Page[Run], {}, limit))

    def start(self, workspace: str, body: Mapping[str, object]) -> Run:
        """Ask for a run; the body has the members that the native API documents."""
        path = path_of("workspaces", workspace, "runs")
        return self._transport.call(Request("POST", path, json=body), Run)

    def run(self, run: str) -> Run:
        """Return one run."""
        return self._transport.call(Request("GET", path_of("runs", run), repeatable=True), Run)

    def variables(self, workspace: str) -> Sequence[Variable]:
        """Return the variables that a run would get, those of projects and sets among them."""
        request = Request("GET", path_of("workspaces", workspace, "variables"), repeatable=True)
        return self._transport.call(request, Page[Variable]).items

    def verdict(self, run: str) -> Verdict:
        """Return what guardrails say of the plan of a run."""
        request = Request("GET", path_of("runs", run, "guardrails"), repeatable=True)
        return self._transport.call(request, Verdict)

    def decide(self, run: str, verb: str) -> Run:
        """Do one of `approve`, `discard` and `cancel` to a run."""
        return self._transport.call(Request("POST", path_of("runs", run, verb)), Run)
