"""What a task set is. Owns its types and the form of a member. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from runyard.environments.packages.model import NAME, TaskRef, Version
from runyard.kernel.errors import InvalidArgument, NotFound
from runyard.kernel.ids import AccountId, TaskSetId

MAX_MEMBERS: Final = 2000
MAX_TAGS: Final = 100
SORTS: Final = ("name", "source", "created_at", "updated_at")
"""What a listing can be sorted by."""


class TaskSetNotFound(NotFound):
    """Task set not found."""

    code = "task_set_not_found"


@dataclass(frozen=True, slots=True)
class Member:
    """A reference to a task of some organization; the version None means the latest one."""

    org: str
    name: str
    version: Version | None
    notes: str | None = None

    @property
    def task(self) -> str:
        """Write it without its version."""
        return f"{self.org}/{self.name}"

    def __str__(self) -> str:
        """Write it as it is referred to."""
        return self.task if self.version is None else f"{self.task}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a set says."""

    description: str | None = None
    source: str | None = None
    tags: Sequence[str] = ()
    members: Sequence[Member] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSet:
    """A set as it is listed."""

    id: TaskSetId
    account_id: AccountId
    org: str
    """Slug of the account that owns it."""
    name: str
    public: bool
    description: str | None
    source: str | None
    tags: Sequence[str]
    member_count: int
    created_at: datetime
    updated_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFilter:
    """What a listing shows. Values of one field are alternatives; fields narrow each other."""

    sources: Sequence[str] = ()
    tags: Sequence[str] = ()
    search: str | None = None
    contains: Member | None = None
    """Sets that refer to a task: in any version, or in the one that is named."""
    include_public: bool = False
    sort_by: str = "created_at"
    descending: bool = True
    page: int = 1
    limit: int = 50


def read_member(reference: str, notes: str | None = None) -> Member:
    """Return the member that `org/name[@version]` spells. Raises InvalidArgument."""
    try:
        ref = TaskRef.parse(reference)
    except NotFound:
        ref = None
    if ref is None or ref.org is None:
        raise InvalidArgument(
            f"members: {reference[:200]!r} is not org/name or org/name@version", loc=["body", "members"]
        )
    return Member(ref.org, ref.name, ref.version, notes)


def check(name: str, content: Content) -> None:
    """Check name and content together. Raises InvalidArgument."""
    if not NAME.match(name):
        raise InvalidArgument("name: must be kebab-case, such as my-set", loc=["body", "name"])
    if len(content.members) > MAX_MEMBERS:
        raise InvalidArgument(f"members: at most {MAX_MEMBERS}", loc=["body", "members"])
    seen: set[str] = set()
    for member in content.members:
        if str(member) in seen:
            raise InvalidArgument(f"members: {member} is there twice", loc=["body", "members"])
        seen.add(str(member))
    if len(content.tags) > MAX_TAGS or any(not 0 < len(tag) <= 128 for tag in content.tags):
        raise InvalidArgument(
            f"tags: must be at most {MAX_TAGS} texts of 1 to 128 characters", loc=["body", "tags"]
        )
