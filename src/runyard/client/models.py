"""What the native API says, as frozen structs. Owns the field names that `--json` prints; unknown fields are ignored.

Every field but the identifying ones has a default, so that a newer or older server stays readable.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

Item = TypeVar("Item")


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """The base of everything that the server sends."""


class Page(Wire, Generic[Item], frozen=True, kw_only=True):
    """One page of a list."""

    items: list[Item]
    next_cursor: str | None = None


class PlacedSecret(Wire, frozen=True, kw_only=True):
    """Where a stored secret is injected."""

    secret_id: str
    env: list[str] = []
    files: list[str] = []


class Runtime(Wire, frozen=True, kw_only=True):
    """A lasting place in which commands run."""

    id: str
    name: str
    status: str
    desired_status: str | None = None
    base: str | None = None
    vcpus: int | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None
    egress: str | None = None
    environment: dict[str, str] = {}
    secrets: list[PlacedSecret] = []
    project: str | None = None
    revision: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    error_code: str | None = None
    error_message: str | None = None


class SecretUse(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """A stored secret that commands find as a variable, in a file below /root, or both."""

    name: str
    env: str | None = None
    file: str | None = None


class NewRuntime(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """What to create; what is left out is the server's default."""

    name: str | None = None
    base: str | None = None
    checkpoint_id: str | None = None
    vcpus: int | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None
    egress: str | None = None
    environment: dict[str, str] = {}
    secrets: Sequence[SecretUse] = ()


class Checkpoint(Wire, frozen=True, kw_only=True):
    """A copy of a runtime's writable files."""

    id: str
    name: str
    state: str
    runtime_id: str | None = None
    runtime_name: str | None = None
    size_bytes: int | None = None
    created_at: datetime | None = None
    error_code: str | None = None


class Secret(Wire, frozen=True, kw_only=True):
    """A stored secret without its value."""

    id: str
    name: str
    project: str | None = None
    cache_ttl_secs: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Project(Wire, frozen=True, kw_only=True):
    """A node of the project tree, as the caller sees it."""

    id: str
    path: str
    slug: str | None = None
    name: str | None = None
    parent_id: str | None = None
    depth: int | None = None
    created_at: datetime | None = None


class Image(Wire, frozen=True, kw_only=True):
    """A base that runtimes can be made from."""

    name: str
    kind: str
    digest: str | None = None
    created_at: datetime | None = None
    size_bytes: int | None = None
    default: bool = False


class Place(Wire, frozen=True, kw_only=True):
    """Where an execution runs."""

    kind: str
    id: str | None = None
    name: str | None = None


class Execution(Wire, frozen=True, kw_only=True):
    """One row of the ledger."""

    id: str
    kind: str
    status: str
    name: str | None = None
    status_reason: str | None = None
    command: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    ended_by: str | None = None
    actor: str | None = None
    door: str | None = None
    place: Place | None = None
    parent_id: str | None = None
    root_id: str | None = None
    project_id: str | None = None
    labels: dict[str, str] = {}
    parameters: Any = None
    result: Any = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: float | None = None
    output_bytes: int | None = None
    output_truncated: bool = False
    attempt: int | None = None
    worker: str | None = None
    request_id: str | None = None

    @property
    def ended(self) -> bool:
        """Tell whether the status never changes again."""
        return self.status in TERMINAL


TERMINAL = frozenset({"succeeded", "failed", "timeout", "canceled", "abandoned"})
LIVE = ("requested", "delayed", "scheduled", "running", "waiting", "canceling")


class ExecResult(Wire, frozen=True, kw_only=True):
    """A finished command with the kept part of its output."""

    exit_code: int
    execution_id: str | None = None
    runtime_id: str | None = None
    ended_by: str | None = None
    reason: str | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    duration_ms: float | None = None


class Chunk(Wire, frozen=True, kw_only=True):
    """A piece of an output log. `offset` counts bytes from the start of the log, over both streams."""

    offset: int
    stream: str
    data: bytes
    time: datetime | None = None

    @property
    def end(self) -> int:
        """Return the offset at which the next piece begins."""
        return self.offset + len(self.data)


class Hit(Wire, frozen=True, kw_only=True):
    """A line of an output log in which the text was found."""

    line: str
    offset: int = 0
    line_number: int | None = None
    execution_id: str | None = None


class SearchResult(Wire, frozen=True, kw_only=True):
    """Hits of one page and how many there are in all."""

    total: int
    hits: list[Hit]
    next_cursor: str | None = None


class Event(Wire, frozen=True, kw_only=True):
    """One change in the history of an execution."""

    type: str
    time: datetime | None = None
    actor: str | None = None
    reason: str | None = None
    body: Any = None


class Token(Wire, frozen=True, kw_only=True):
    """A credential, without its secret."""

    id: str
    name: str | None = None
    prefix: str | None = None
    scopes: list[str] = []
    project: str | None = None
    user_id: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class User(Wire, frozen=True, kw_only=True):
    """A person or a program of the account."""

    id: str
    name: str
    kind: str = "user"
    created_at: datetime | None = None


class Member(Wire, frozen=True, kw_only=True):
    """A user with a role on a project."""

    user_id: str
    user: str
    kind: str = "user"
    role: str


class RoleGrant(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """Leave to do something with a resource, or with all of its type."""

    permission_types: list[str]
    resource_uid: str | None = None


class ActionRole(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """A named set of grants."""

    name: str
    description: str = ""
    enabled: bool = True
    permission_grants: list[RoleGrant] = []


class RoleAssignment(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """The roles of a user."""

    username: str
    roles: list[str] = []
    description: str = ""
    enabled: bool = True


class ActionRoles(Wire, frozen=True, kw_only=True):
    """All roles of actions, and who holds which."""

    roles: list[ActionRole] = []
    assignments: list[RoleAssignment] = []


class NewToken(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """What token to make; no scopes means those of the caller."""

    name: str
    scopes: list[str] = []
    project: str | None = None
    user: str | None = None
    expires_in_secs: int | None = None
    shape: str | None = None
    """`harness` for the form that clients of that API demand."""


class MadeToken(Wire, frozen=True, kw_only=True):
    """A fresh token with its secret, which the server shows this once."""

    secret: str
    token: Token


class Check(Wire, frozen=True, kw_only=True):
    """One reason in a health answer."""

    name: str
    status: str
    detail: str | None = None


class Health(Wire, frozen=True, kw_only=True):
    """Whether the server is ready, with reasons."""

    status: str
    version: str | None = None
    checks: list[Check] = []


class ExecutionFilter(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """Which executions to list; all given fields must match."""

    kind: str | None = None
    status: Sequence[str] = ()
    place: str | None = None
    actor: str | None = None
    door: str | None = None
    parent: str | None = None
    text: str | None = None
    created_after: str | None = None
    created_before: str | None = None

    def query(self) -> dict[str, str]:
        """Return the query parameters; statuses are a comma list."""
        raw: Mapping[str, Any] = msgspec.to_builtins(self)
        return {
            name: ",".join(one) if isinstance(one, list | tuple) else str(one) for name, one in raw.items()
        }


class WireChunk(Wire, frozen=True, kw_only=True):
    """A chunk as JSON carries it."""

    offset: int
    stream: str
    data_base64: str
    time: datetime | None = None

    def decoded(self) -> Chunk:
        """Return the chunk with its bytes."""
        data = base64.b64decode(self.data_base64, validate=True)
        return Chunk(offset=self.offset, stream=self.stream, data=data, time=self.time)
