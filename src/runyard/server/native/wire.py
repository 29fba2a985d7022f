"""Request and response types of the native API. Owns the field names, which are published: add, never rename."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

Item = TypeVar("Item")


class Listed(msgspec.Struct, Generic[Item], kw_only=True):
    """One page of a list; follow `next_cursor` until it is null."""

    items: list[Item]
    next_cursor: str | None = None


class PlaceOut(msgspec.Struct, kw_only=True):
    """Where an execution runs."""

    kind: str
    id: str
    name: str


class ExecutionOut(msgspec.Struct, kw_only=True):
    """One execution as the ledger knows it. Times are RFC 3339 in UTC."""

    id: str
    kind: str
    name: str
    status: str
    status_reason: str | None
    command: str
    exit_code: int | None
    signal: int | None
    ended_by: str | None
    """Who ended it when that was not the command itself."""
    actor: str
    door: str
    place: PlaceOut | None
    parent_id: str | None
    root_id: str
    project_id: str
    labels: Mapping[str, str]
    parameters: Mapping[str, Any]
    result: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: float | None
    output_bytes: int
    output_truncated: bool
    attempt: int
    worker: str | None
    request_id: str | None


class EventOut(msgspec.Struct, kw_only=True):
    """One change in the history of an execution."""

    type: str
    time: datetime
    actor: str
    reason: str | None
    body: dict[str, Any] | None


class CancelIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why an execution shall end."""

    reason: str | None = None


class ChunkOut(msgspec.Struct, kw_only=True):
    """Consecutive bytes of one stream; `offset` counts the kept bytes of the whole log."""

    offset: int
    stream: str
    time: datetime
    data_base64: str


class OutputOut(msgspec.Struct, kw_only=True):
    """A range of a log; `next_offset` is null at the end of a log that will not grow."""

    items: list[ChunkOut]
    next_offset: int | None


class HitOut(msgspec.Struct, kw_only=True):
    """One line that contains the text."""

    offset: int
    line_number: int
    line: str


class SearchOut(msgspec.Struct, kw_only=True):
    """A page of hits and the exact number of lines that contain the text."""

    total: int
    hits: list[HitOut]
    next_cursor: str | None


class RuntimeIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What runtime to make; what is left out is the server's default."""

    name: str | None = None
    base: str | None = None
    checkpoint_id: str | None = None
    vcpus: int | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None
    egress: str | None = None
    """`open` or `none`."""
    environment: dict[str, str] = {}


class NativeRuntimeOut(msgspec.Struct, kw_only=True):
    """A lasting place in which commands run."""

    id: str
    name: str
    status: str
    desired_status: str
    base: str
    vcpus: int
    memory_mib: int
    disk_gib: int | None
    egress: str
    environment: Mapping[str, str]
    project: str
    revision: int
    created_at: datetime
    updated_at: datetime
    error_code: str | None
    error_message: str | None


class CommandIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A command: with `args`, even empty, a program; without, a line for the shell."""

    command: str
    args: list[str] | None = None
    cwd: str | None = None
    env: dict[str, str] = {}
    stdin: str | None = None
    timeout_secs: int | None = None
    max_output_bytes: int | None = None


class CommandOut(msgspec.Struct, kw_only=True):
    """A finished command with the kept part of its output."""

    execution_id: str
    runtime_id: str
    exit_code: int
    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    duration_ms: int


class CheckpointIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to call a checkpoint."""

    name: str | None = None


class NativeCheckpointOut(msgspec.Struct, kw_only=True):
    """A copy of a runtime's writable files."""

    id: str
    name: str
    state: str
    runtime_id: str | None
    runtime_name: str
    size_bytes: int | None
    created_at: datetime
    error_code: str | None


class TokenIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What token to make; no scopes means those of the caller, no project that of the caller."""

    name: str
    scopes: list[str] = []
    project: str | None = None
    user: str | None = None
    expires_in_secs: int | None = None


class TokenOut(msgspec.Struct, kw_only=True):
    """A credential, without its secret."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    project: str
    user_id: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class MadeTokenOut(msgspec.Struct, kw_only=True):
    """A fresh token with its secret, which is shown this once."""

    secret: str
    token: TokenOut


class WhoOut(msgspec.Struct, kw_only=True):
    """The caller."""

    user: str
    account_id: str
    project_id: str
    scopes: list[str]


class CheckOut(msgspec.Struct, kw_only=True):
    """One reason in a health answer."""

    name: str
    status: str
    detail: str


class HealthOut(msgspec.Struct, kw_only=True):
    """Whether the server is alive or ready, with reasons."""

    status: str
    version: str
    checks: list[CheckOut] = []


class CapabilityOut(msgspec.Struct, kw_only=True):
    """One thing that this host can or cannot enforce."""

    name: str
    enforced: bool
    how: str
    fix: str
