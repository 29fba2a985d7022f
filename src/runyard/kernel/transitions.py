"""The transition helper. Owns the one way in which state changes; knows no table and no state by name.

Lock the row, ask a pure function, write what changed, append the event row: one transaction. The event is
published after the commit. A refusal is a value with a reason, not an exception: the caller decides.
"""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from runyard.kernel.errors import FailedPrecondition, NotFound
from runyard.kernel.events import Event

State = TypeVar("State")
Command = TypeVar("Command")


class Changed(msgspec.Struct, Generic[State], frozen=True):
    """The command was accepted: the new state and the event that tells of it."""

    value: State
    event: Event


class Refused(msgspec.Struct, frozen=True):
    """The command was not accepted, and why; `code` is a stable slug."""

    reason: str
    code: str = "failed_precondition"

    def error(self) -> FailedPrecondition:
        """Return the refusal as an error, for callers to whom it is one."""
        return FailedPrecondition(self.reason, refusal=self.code)


class Recorder(Protocol):
    """The part of a transaction that the helper needs."""

    async def record(self, event: Event) -> None:
        """Append an event row, published after the commit."""
        ...


Tx = TypeVar("Tx", bound=Recorder)
TxContra = TypeVar("TxContra", bound=Recorder, contravariant=True)


class Rows(Protocol[TxContra, State]):
    """The part of a store that the helper needs."""

    async def lock(self, tx: TxContra, subject_id: str) -> State | None:
        """Read one row for update; None when there is none."""
        ...

    async def write(self, tx: TxContra, before: State, after: State) -> None:
        """Write the columns that differ."""
        ...


async def transition(
    tx: Tx,
    rows: Rows[Tx, State],
    subject_id: str,
    command: Command,
    decide: Callable[[State, Command], Changed[State] | Refused],
) -> Changed[State] | Refused:
    """Apply a command to one row. Raises NotFound when there is no row."""
    before = await rows.lock(tx, subject_id)
    if before is None:
        raise NotFound
    decision = decide(before, command)
    if isinstance(decision, Changed):
        await rows.write(tx, before, decision.value)
        await tx.record(decision.event)
    return decision
