"""Typed identifiers. Owns how ids are made, parsed and ordered; knows nothing of what they name.

Two layouts, both sortable by time of creation: 24 hex digits (the ObjectId layout: 4 bytes seconds,
5 bytes random per process, 3 bytes counter) and UUID version 7 (RFC 9562). Every kind of id is a `str`
subclass, so a wrong kind is a type error for the checker and a `ValueError` at the edge.
"""

import itertools
import re
import secrets
import threading
import time
import uuid
from typing import ClassVar, Self

_HEX24 = re.compile(r"[0-9a-f]{24}\Z")
_PROCESS_RANDOM = secrets.token_hex(5)
_counter = itertools.count(secrets.randbelow(1 << 23))


class Id(str):
    """The base of all identifiers; use a subclass."""

    __slots__ = ()
    kind: ClassVar[str] = "id"

    @classmethod
    def new(cls) -> Self:
        """Make a fresh id."""
        raise NotImplementedError

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the id that `text` spells; raise ValueError naming the kind when it is not one."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Show the kind beside the value."""
        return f"{type(self).__name__}({str.__str__(self)!r})"


class HexId(Id):
    """24 lower-case hex digits, time-sortable to the second, unique within and across processes."""

    __slots__ = ()

    @classmethod
    def new(cls) -> Self:
        """Make a fresh id from the clock, this process's random part and a counter."""
        return cls(f"{int(time.time()):08x}{_PROCESS_RANDOM}{next(_counter) & 0xFFFFFF:06x}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Accept 24 hex digits in either case."""
        lowered = text.lower()
        if _HEX24.match(lowered) is None:
            raise ValueError(f"{cls.kind} id must be 24 hexadecimal digits")
        return cls(lowered)


class Uuid7Id(Id):
    """A UUID version 7 in canonical text form, strictly increasing within one process."""

    __slots__ = ()

    @classmethod
    def new(cls) -> Self:
        """Make a fresh UUID version 7."""
        return cls(str(_uuid7()))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Accept any UUID in the 36-character form, so that foreign ids are `not found`, not malformed."""
        if len(text) != 36:
            raise ValueError(f"{cls.kind} id must be a UUID")
        try:
            return cls(str(uuid.UUID(text)))
        except ValueError:
            raise ValueError(f"{cls.kind} id must be a UUID") from None


_uuid_lock = threading.Lock()
_last_uuid_time = 0


def _uuid7() -> uuid.UUID:
    """Build RFC 9562 section 5.7 with 12 bits of sub-millisecond time so that order holds in a process."""
    global _last_uuid_time
    with _uuid_lock:
        stamp = max((time.time_ns() << 12) // 1_000_000, _last_uuid_time + 1)
        _last_uuid_time = stamp
    millis, fraction = stamp >> 12, stamp & 0xFFF
    value = (millis & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return uuid.UUID(int=value)


class ExecutionId(HexId):
    """Names an execution in the ledger."""

    __slots__ = ()
    kind = "execution"


class AccountId(HexId):
    """Names an account, the tenant boundary."""

    __slots__ = ()
    kind = "account"


class ProjectId(HexId):
    """Names a node of an account's project tree."""

    __slots__ = ()
    kind = "project"


class UserId(HexId):
    """Names a user or service of an account."""

    __slots__ = ()
    kind = "user"


class TokenId(HexId):
    """Names a token (never the secret itself)."""

    __slots__ = ()
    kind = "token"


class SecretId(Uuid7Id):
    """Names a stored secret."""

    __slots__ = ()
    kind = "secret"


class RuntimeId(Uuid7Id):
    """Names a runtime."""

    __slots__ = ()
    kind = "runtime"


class CheckpointId(Uuid7Id):
    """Names a checkpoint of a runtime."""

    __slots__ = ()
    kind = "checkpoint"


class WorkspaceId(Uuid7Id):
    """Names an infrastructure workspace."""

    __slots__ = ()
    kind = "workspace"


class RemoteExecutionId(Uuid7Id):
    """Names a plan of code that was uploaded."""

    __slots__ = ()
    kind = "remote execution"


class RunId(Uuid7Id):
    """Names a run of a workspace."""

    __slots__ = ()
    kind = "run"


class RecordId(HexId):
    """The second name, of 24 digits, of a workspace or a run, which some dialects show beside the first."""

    __slots__ = ()
    kind = "record"


class RequestId(Uuid7Id):
    """Names one request to the server, shown as `X-Request-Id`."""

    __slots__ = ()
    kind = "request"


class DeviceLoginId(Uuid7Id):
    """Names a log-in of a device that waits for a person's approval."""

    __slots__ = ()
    kind = "device login"


class UserSecretId(Uuid7Id):
    """Names a secret of a user."""

    __slots__ = ()
    kind = "secret"


class PackageId(Uuid7Id):
    """Names a task package, all its versions together."""

    __slots__ = ()
    kind = "task package"


class TaskSetId(Uuid7Id):
    """Names a task set."""

    __slots__ = ()
    kind = "task set"


class TaskId(Uuid7Id):
    """Names one version of a task package."""

    __slots__ = ()
    kind = "task"


class EnvironmentId(Uuid7Id):
    """Names an environment."""

    __slots__ = ()
    kind = "environment"
