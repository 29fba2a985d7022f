"""What a state version and a lock are, and the rules by which a write is taken or refused.

Owns pure types and decisions: no I/O, no SQL, no dialect. A version is never changed once it counts; the current state is
the version with the highest number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from runyard.kernel.ids import AccountId, HexId, ProjectId

MAX_LOCK_ID: Final = 256
MAX_SERIAL: Final = 2**62


class StateVersionId(HexId):
    """Names a version of a workspace's state."""

    __slots__ = ()
    kind = "state version"


class Owner(Protocol):
    """The workspace that a state belongs to, as far as state is concerned."""

    @property
    def id(self) -> str:
        """The workspace."""
        ...

    @property
    def account_id(self) -> AccountId:
        """Its account."""
        ...

    @property
    def project_id(self) -> ProjectId:
        """Its project."""
        ...

    @property
    def project_path(self) -> str:
        """The path of its project."""
        ...


@dataclass(frozen=True, slots=True)
class Writer:
    """Who reads, locks or writes: a person, or a run with the credential that was made for it."""

    actor: str
    user_id: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a state document says about itself, and what its bytes say."""

    serial: int
    lineage: str
    md5: str
    """Of the bytes as they came, in hex: it is what Terraform compares."""
    size: int
    terraform_version: str = ""
    resources: int = 0
    """Managed resource instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateVersion:
    """One state that was kept. `number` counts from 1 within the workspace; None while its bytes have not come."""

    id: StateVersionId
    workspace_id: str
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    number: int | None
    facts: Facts
    created_at: datetime
    created_by: str
    run_id: str | None = None
    blob: str | None = None
    """The digest of the sealed bytes."""
    forced: bool = False
    """Taken without a look at serial and lineage."""

    @property
    def is_kept(self) -> bool:
        """Tell whether its bytes are here, so that it is part of the history."""
        return self.number is not None


class HolderKind(StrEnum):
    """What holds a lock."""

    CLIENT = "client"
    RUN = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock on the state of one workspace. There is at most one, which the database's key says."""

    workspace_id: str
    account_id: AccountId
    lock_id: str
    holder: HolderKind
    actor: str
    created_at: datetime
    user_id: str | None = None
    run_id: str | None = None
    info: Mapping[str, str] = field(default_factory=dict)
    """What Terraform told of itself: Operation, Info, Who, Version, Created, Path."""

    def is_held_by(self, lock_id: str) -> bool:
        """Tell whether this is the lock that a client says it holds."""
        return self.lock_id == lock_id

    def document(self) -> dict[str, str]:
        """Return the lock as Terraform writes it, so that its clients can show the holder."""
        shown = {name: self.info.get(name, "") for name in LOCK_MEMBERS}
        return {
            **shown,
            "ID": self.lock_id,
            "Who": shown["Who"] or self.actor,
            "Created": shown["Created"] or self.created_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }


LOCK_MEMBERS: Final = ("ID", "Operation", "Info", "Who", "Version", "Created", "Path")


@dataclass(frozen=True, slots=True)
class Add:
    """The write makes a new version."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The bytes are those of the current version: nothing is kept again."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The write does not follow from the current version, and why."""

    reason: str


def judge(current: Facts | None, new: Facts, *, force: bool = False) -> Add | Unchanged | Stale:
    """Decide what a write is against the current version. With `force`, serial and lineage do not count."""
    if current is None:
        return Add()
    if new.md5 == current.md5:
        return Unchanged()
    if force:
        return Add()
    if new.lineage != current.lineage:
        return Stale(
            f"the state has the lineage {new.lineage[:64]!r}, the current one has {current.lineage[:64]!r}: "
            "they are not versions of one state"
        )
    if new.serial < current.serial:
        return Stale(
            f"the state has the serial {new.serial}, the current one is newer and has {current.serial}"
        )
    if new.serial == current.serial:
        return Stale(f"the current state has the serial {new.serial} too, and other content")
    return Add()
