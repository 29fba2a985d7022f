"""The dispatch port. Owns the vocabulary between the ledger, which decides, and a carrier, which only carries.

Nothing waits in a carrier: delays, approvals and policies are rows, and what ends a wait offers the work under
the same (execution, attempt). An assignment is a self-contained document. Every adapter passes one contract suite.
"""

import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from runyard.executions.model import Outcome
from runyard.executions.output.model import Stream
from runyard.kernel.ids import ExecutionId


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to do: everything in it, no reference into the server's memory or database."""

    execution_id: ExecutionId
    attempt: int = 1
    pool: str = "default"
    priority: int = 0
    """Higher goes first; equal ones go in the order of the offer."""
    key: str | None = None
    """At most `key_limit` assignments with one key run at a time."""
    key_limit: int = 1
    tenant: str = ""
    """For whom it is. Of those that wait for one key, one of whoever has the fewest at work goes first, so that nobody
    keeps the others waiting by a long line of its own."""
    runner: str
    """Names what obeys the document."""
    document: Mapping[str, Any] = {}


class NewAssignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller of `submit` says of the work; the service adds execution and attempt."""

    runner: str
    document: Mapping[str, Any] = {}
    pool: str = "default"
    priority: int = 0
    not_before: datetime | None = None
    key: str | None = None
    key_limit: int = 1


class Claim(msgspec.Struct, frozen=True):
    """A worker's hold on an assignment."""

    assignment: Assignment
    worker: str


class SignalKind(enum.StrEnum):
    """What a holder can be told."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    STDIN = "stdin"


class Signal(msgspec.Struct, frozen=True):
    """A message to whoever holds an execution."""

    execution_id: ExecutionId
    kind: SignalKind
    reason: str | None = None
    data: bytes = b""


class OutputPart(msgspec.Struct, frozen=True):
    """Bytes of an execution on their way from its worker to the log; `offset` makes a repetition harmless."""

    execution_id: ExecutionId
    attempt: int
    stream: Stream
    offset: int
    data: bytes


class Carrier(Protocol):
    """Carries assignments to workers, signals to holders, ends and output back."""

    async def offer(self, assignment: Assignment) -> bool:
        """Make it claimable; False when this (execution, attempt) was offered before. Idempotent."""
        ...

    async def withdraw(self, execution_id: ExecutionId, attempt: int) -> bool:
        """Take an unclaimed offer back; False when it was claimed or never offered."""
        ...

    async def claim(self, pools: Sequence[str], worker: str) -> Claim:
        """Wait for the first assignment of these pools that its key lets run, and hold it."""
        ...

    async def alive(self, claim: Claim) -> bool:
        """Renew the hold; False tells the worker to kill what it runs: the hold is lost."""
        ...

    async def finished(self, claim: Claim, outcome: Outcome) -> bool:
        """Report the end and give the hold back; False when the hold was lost before."""
        ...

    async def signal(self, signal: Signal) -> bool:
        """Tell the holder something; False when nobody holds the execution."""
        ...

    def signals(self, worker: str) -> AsyncIterator[Signal]:
        """Iterate over the signals to a worker, for ever."""
        ...

    async def output(self, part: OutputPart) -> None:
        """Carry output to whoever keeps the log."""
        ...

    def waiting(self, pool: str) -> int:
        """Tell how many offers of a pool are not claimed yet."""
        ...

    async def close(self) -> None:
        """Let go of everything; claims that wait are cancelled."""
        ...
