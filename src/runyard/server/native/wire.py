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
    """`exec`, `action`, `workflow`, `plan`, `apply`, `destroy`, `provision` or `verify`."""
    name: str
    """A short name for people."""
    status: str
    """`requested`, `delayed`, `scheduled`, `running`, `waiting` or `canceling`; at the end, and never
    changing again, `succeeded`, `failed`, `timeout`, `canceled` or `abandoned`.
    """
    status_reason: str | None
    """Why it is in this status, for people."""
    command: str
    """What is run, secrets masked, at most 8 KiB."""
    exit_code: int | None
    """As a shell reports it: 128 and the signal's number for a killed command."""
    signal: int | None
    """The signal that ended it."""
    ended_by: str | None
    """Who ended it when that was not the command itself."""
    actor: str
    """The user who asked for it."""
    door: str
    """The API through which it came."""
    place: PlaceOut | None
    parent_id: str | None
    """The execution of which this is a part."""
    root_id: str
    """The top of the tree; its own id when it has no parent."""
    project_id: str
    labels: Mapping[str, str]
    parameters: Mapping[str, Any]
    result: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: float | None
    """From start to end."""
    output_bytes: int
    """Bytes written, kept or not; final at the end."""
    output_truncated: bool
    """The log holds only the first bytes."""
    attempt: int
    worker: str | None
    """The worker that ran it."""
    request_id: str | None
    """The request that made it."""


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
    """For people, kept in the history."""


class ChunkOut(msgspec.Struct, kw_only=True):
    """Consecutive bytes of one stream; `offset` counts the kept bytes of the whole log."""

    offset: int
    stream: str
    """`stdout`, `stderr` or `system`."""
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


class SecretUseIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A stored secret that commands find as a variable, in a file, or both."""

    name: str
    """Id or unique name of the secret."""
    env: str | None = None
    """A variable of every command."""
    file: str | None = None
    """A file below /root, mode 0600."""


class SecretUseOut(msgspec.Struct, kw_only=True):
    """Where a stored secret is injected."""

    secret_id: str
    env: list[str]
    files: list[str]
    """Relative to /root."""


class RuntimeIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What runtime to make; what is left out is the server's default."""

    name: str | None = None
    """For people, 1 to 63 characters; two random words when left out. Several runtimes may share one."""
    base: str | None = None
    """What its files start from: `host`, `dir:<name>` or an imported image."""
    checkpoint_id: str | None = None
    """Start from the files of this checkpoint, by id or name."""
    vcpus: int | None = None
    """Processors; 1 when left out."""
    memory_mib: int | None = None
    """1024 when left out; enforced."""
    disk_gib: int | None = None
    """Limit of what it may write; the server's default when left out."""
    egress: str | None = None
    """`open` or `none`."""
    environment: dict[str, str] = {}
    """Variables of every command."""
    secrets: list[SecretUseIn] = []
    """Stored secrets that its commands find."""


class NativeRuntimeOut(msgspec.Struct, kw_only=True):
    """A lasting place in which commands run."""

    id: str
    name: str
    status: str
    """`creating`, `running`, `paused`, `suspended`, `shutdown`, `deleting`, `error` or `crashed`."""
    desired_status: str
    """What was asked for last."""
    base: str
    vcpus: int
    memory_mib: int
    disk_gib: int | None
    egress: str
    environment: Mapping[str, str]
    secrets: list[SecretUseOut]
    project: str
    revision: int
    """Rises with every change by a caller."""
    created_at: datetime
    updated_at: datetime
    error_code: str | None
    error_message: str | None
    """Why it failed or crashed."""


class CommandIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A command: with `args`, even empty, a program; without, a line for the shell."""

    command: str
    args: list[str] | None = None
    """With this, even empty, `command` is a program; without, a line for `/bin/sh -c`."""
    cwd: str | None = None
    """`/root` when left out."""
    env: dict[str, str] = {}
    """Variables beside those of the runtime."""
    stdin: str | None = None
    """Given whole; empty when left out."""
    timeout_secs: int | None = None
    """The command's whole group is killed after this; the server's default when left out."""
    max_output_bytes: int | None = None
    """Bytes kept of each stream in the answer; the first ones."""


class CommandOut(msgspec.Struct, kw_only=True):
    """A finished command with the kept part of its output."""

    execution_id: str
    runtime_id: str
    exit_code: int
    """As a shell reports it; 124 after a timeout, 126 and 127 when it could not be run."""
    stdout: str
    """UTF-8, what is none replaced."""
    stderr: str
    stdout_truncated: bool
    """There was more than was kept."""
    stderr_truncated: bool
    """There was more than was kept."""
    duration_ms: int


class CheckpointIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to call a checkpoint."""

    name: str | None = None
    """For people; made from the runtime's name when left out."""


class NativeCheckpointOut(msgspec.Struct, kw_only=True):
    """A copy of a runtime's writable files."""

    id: str
    name: str
    state: str
    """`creating`, `ready` or `failed`."""
    runtime_id: str | None
    runtime_name: str
    size_bytes: int | None
    created_at: datetime
    error_code: str | None


class NativeSecretIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The value of a secret; it is never returned."""

    value: str
    """1 to 65536 bytes as UTF-8."""
    cache_ttl_secs: int = 0
    """How long the opened value may stay in the server's memory, up to 3600."""


class NativeSecretOut(msgspec.Struct, kw_only=True):
    """A stored secret without its value."""

    id: str
    name: str
    project: str
    cache_ttl_secs: int
    created_at: datetime
    updated_at: datetime


class NativeImageIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What image to import: `path` is the folder of an OCI image layout on the server's host."""

    name: str
    path: str


class NativeImageOut(msgspec.Struct, kw_only=True):
    """A base that runtimes can be made from."""

    name: str
    kind: str
    """`host`, `directory` or `image`."""
    digest: str | None
    created_at: datetime | None
    """When an image was imported."""
    size_bytes: int | None
    default: bool
    """Runtimes that name no base get this one."""


class CheckOut(msgspec.Struct, kw_only=True):
    """One reason in a health answer."""

    name: str
    status: str
    """`ok`, `warning` or `failed`."""
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
    """By what means, or why not."""
    fix: str
    """What to do about it; empty when it is enforced."""
