"""What a plan says. Owns the words for actions, the counts and the rows; reads nothing and decides nothing."""

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from runyard.kernel.ids import AccountId, ProjectId

UNKNOWN: Final = "(known after apply)"
"""Stands for a value that only the apply will tell."""
SENSITIVE: Final = "(sensitive value)"
"""Stands for a value that Terraform marks as sensitive."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The run whose plan is read and judged, as much of it as that needs."""

    account_id: AccountId
    project_id: ProjectId
    project_path: str
    workspace_id: str
    """UUID."""
    workspace_name: str
    repository: str = ""
    branch: str = ""
    labels: Sequence[str] = ()
    run_id: str
    """UUID."""
    task_id: str
    """Id of the execution that planned."""


class Action(enum.StrEnum):
    """What is planned for one resource, as one word."""

    NO_OP = "no-op"
    READ = "read"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    REPLACE = "replace"
    FORGET = "forget"
    """Taken out of the state, left alone in the world."""

    @property
    def means(self) -> frozenset[str]:
        """The actions of a rule that this one falls under: a replacement deletes and creates."""
        if self is Action.REPLACE:
            return frozenset({"replace", "delete", "create"})
        return frozenset({self.value})


_SINGLE: Final[Mapping[tuple[str, ...], Action]] = {
    ("no-op",): Action.NO_OP,
    ("read",): Action.READ,
    ("create",): Action.CREATE,
    ("update",): Action.UPDATE,
    ("delete",): Action.DELETE,
    ("delete", "create"): Action.REPLACE,
    ("create", "delete"): Action.REPLACE,
    ("forget",): Action.FORGET,
    ("create", "forget"): Action.REPLACE,
}


def action_of(actions: Sequence[str]) -> Action | None:
    """Return the one word for the `actions` of a change; None for a combination that no release writes."""
    return _SINGLE.get(tuple(actions))


REASONS: Final[Mapping[str, str]] = {
    "replace_because_tainted": "the object is tainted",
    "replace_because_cannot_update": "an attribute changed that cannot be updated in place",
    "replace_by_request": "asked for with -replace",
    "replace_by_triggers": "replace_triggered_by names something that changes",
    "delete_because_no_resource_config": "it is no longer in the configuration",
    "delete_because_no_module": "its module is no longer in the configuration",
    "delete_because_wrong_repetition": "count or for_each was added or removed",
    "delete_because_count_index": "its index is beyond count",
    "delete_because_each_key": "its key is not in for_each",
    "delete_because_no_move_target": "it was moved to an address that is not in the configuration",
    "read_because_config_unknown": "its configuration is known only at apply",
    "read_because_dependency_pending": "something it depends on changes first",
    "read_because_check_nested": "a check block asks for it",
}
"""Why a change is planned, in words, by Terraform's own name of the reason."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many resources each action is planned for. A replacement counts once, as `replace`."""

    create: int = 0
    update: int = 0
    delete: int = 0
    replace: int = 0
    read: int = 0
    no_op: int = 0
    forget: int = 0

    @property
    def changing(self) -> int:
        """Return how many resources an apply would touch."""
        return self.create + self.update + self.delete + self.replace + self.forget

    @property
    def added(self) -> int:
        """Return the first number of `N to add, N to change, N to destroy`."""
        return self.create + self.replace

    @property
    def destroyed(self) -> int:
        """Return the last number of it."""
        return self.delete + self.replace


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate of what runs for a month, in US dollars, before and after the plan."""

    before: float = 0.0
    after: float = 0.0
    source: str = "table"
    """`table`, or the name that an external estimator gives itself."""
    note: str = ""
    """What kept the estimate from being better, for people."""

    @property
    def change(self) -> float:
        """Return after minus before."""
        return self.after - self.before


class PlannedOutput(msgspec.Struct, frozen=True, kw_only=True):
    """An output value as it is and as the plan would leave it, masked."""

    name: str
    action: str
    before: Any = None
    value: Any = None
    sensitive: bool = False
    unknown: bool = False


class PlanSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A plan without its resources."""

    run_id: str
    task_id: str
    workspace_id: str
    terraform_version: str = ""
    counts: Counts = Counts()
    drift: int = 0
    """Resources that are not any more as the state has them."""
    output_changes: int = 0
    imported: int = 0
    moved: int = 0
    has_changes: bool = False
    """An apply would change a resource, an output, or what the state says."""
    errored: bool = False
    outputs: Sequence[PlannedOutput] = ()
    cost: Cost = Cost()
    created_at: datetime


class PlannedResource(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of a plan as it is kept."""

    position: int
    address: str
    module: str
    type: str
    name: str
    provider: str
    mode: str
    action: Action
    reason: str = ""
    """Terraform's name of the reason, empty when it gives none."""
    region: str = ""
    tags: Mapping[str, str] | None = None
    """None for a type that has no such attribute."""
    cost_before: float | None = None
    cost_after: float | None = None
    """None for a type without a known price."""
    status: str = "planned"
    change: Mapping[str, Any] = {}
    """The entry of `resource_changes`, masked."""
