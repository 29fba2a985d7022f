"""Guardrails and verdicts. Owns their types and what a severity does; reads no plan and no database."""

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from runyard.infrastructure.guardrails.wildcards import Selection
from runyard.kernel.ids import AccountId, HexId, ProjectId


class GuardrailId(HexId):
    """Names a guardrail."""

    __slots__ = ()
    kind = "guardrail"


class RuleType(enum.StrEnum):
    """What a rule looks at."""

    POLICY = "policy"
    COST = "cost"
    RESOURCE = "resource"
    TAG = "tag"


class Severity(enum.IntEnum):
    """What a violation does, by its number on the wire."""

    FLEXIBLE = 1
    """Blocks the run until somebody who may acknowledges it."""
    STRICT = 2
    """Blocks the run for good: only a new plan that passes helps."""
    WARNING = 3
    """Is reported; the run goes on."""


class Blocked(enum.StrEnum):
    """What a verdict does to the run."""

    NONE = "none"
    FLEXIBLE = "flexible"
    STRICT = "strict"


_BLOCKS: Final = {
    Severity.FLEXIBLE: Blocked.FLEXIBLE,
    Severity.STRICT: Blocked.STRICT,
    Severity.WARNING: Blocked.NONE,
}
_ORDER: Final = (Blocked.NONE, Blocked.FLEXIBLE, Blocked.STRICT)


class RuleScope(msgspec.Struct, frozen=True):
    """The runs that a rule is for: every dimension must fit."""

    workspaces: Selection = Selection()
    repositories: Selection = Selection()
    branches: Selection = Selection()
    labels: Selection = Selection()

    def covers(self, workspace: str, repository: str, branch: str, labels: Sequence[str]) -> bool:
        """Tell whether a run is in scope. Of labels one that fits is enough, and one that is excluded too much."""
        return (
            self.workspaces.has(workspace)
            and self.repositories.has(repository)
            and self.branches.has(branch)
            and self.labels.has_any(labels)
        )


class CostCriteria(msgspec.Struct, frozen=True, rename="camel"):
    """Bounds of how much a month may become dearer."""

    threshold_amount: float | None = None
    """US dollars."""
    threshold_percentage: float | None = None
    """Of the cost before."""


class PolicyCriteria(msgspec.Struct, frozen=True):
    """Which governance policies count."""

    severity: str = "trace"
    """Least severity of a policy that counts."""
    policies: Selection = Selection()
    """By name or id."""


class ResourceCriteria(msgspec.Struct, frozen=True, rename="camel"):
    """Which actions on which resources are a violation."""

    actions: Sequence[str] = ()
    """Empty means any."""
    specific_resources: Sequence[str] = ()
    """Patterns of addresses or types; empty means all."""
    regions: Selection = Selection()
    asset_types: Selection = Selection()


class TagMode(enum.StrEnum):
    """What is demanded of tags."""

    REQUIRED_TAGS = "requiredTags"
    ANY_TAGS = "anyTags"
    REQUIRED_VALUES = "requiredValues"


class TagCriteria(msgspec.Struct, frozen=True, rename="camel"):
    """Which tags a resource must have."""

    tag_enforcement_mode: TagMode
    required_tags: Sequence[str] = ()
    required_values: Mapping[str, Sequence[str]] = {}


class Criteria(msgspec.Struct, frozen=True):
    """What a rule forbids: the member that is named like its type."""

    cost: CostCriteria | None = None
    policy: PolicyCriteria | None = None
    resource: ResourceCriteria | None = None
    tag: TagCriteria | None = None


class Guardrail(msgspec.Struct, frozen=True, kw_only=True):
    """A rule. `scope_document` and `criteria_document` are what the client sent, to be echoed."""

    id: GuardrailId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    created_by: str
    name: str
    type: RuleType
    scope: RuleScope
    criteria: Criteria
    scope_document: Mapping[str, Any]
    criteria_document: Mapping[str, Any]
    enabled: bool
    severity: Severity
    enforce_on_no_op: bool
    notification_id: str
    created_at: datetime
    updated_at: datetime


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a rule forbids."""

    rule_id: str
    rule_name: str
    type: RuleType
    severity: Severity
    position: int | None = None
    """Of the resource in the plan; None when it is about the plan as a whole."""
    address: str = ""
    """Of the resource, empty as above."""
    message: str


class RuleResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule found in one plan."""

    rule_id: str
    rule_name: str
    type: RuleType
    severity: Severity
    violations: int
    """All of them, also those that are not kept one by one."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What all rules in scope say of a plan."""

    run_id: str
    task_id: str
    workspace_id: str
    blocked: Blocked
    rules: Sequence[RuleResult]
    violations: Sequence[Violation] = ()
    judged_at: datetime
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    acknowledged_reason: str | None = None

    @property
    def stops(self) -> bool:
        """Tell whether the run may not be applied as things are."""
        return self.blocked is Blocked.STRICT or (
            self.blocked is Blocked.FLEXIBLE and self.acknowledged_by is None
        )

    @property
    def violated(self) -> Sequence[RuleResult]:
        """Return the rules that found something."""
        return [one for one in self.rules if one.violations]

    def sentence(self) -> str:
        """Say for people what happened; empty when no rule found anything."""
        found = self.violated
        if not found:
            return ""
        names = ", ".join(
            f"{one.rule_name} ({one.severity.name.lower()}, {one.violations})" for one in found[:5]
        )
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        return f"Guardrails violated: {names}{more}"


def blocked_by(rules: Sequence[RuleResult]) -> Blocked:
    """Return what some results together do to a run: the strongest of what each violated rule does."""
    found = (_BLOCKS[one.severity] for one in rules if one.violations)
    return max(found, key=_ORDER.index, default=Blocked.NONE)
