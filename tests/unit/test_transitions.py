"""The transition helper with a store of its own: what is written, recorded, and what is not."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from runyard.kernel.clock import utc_now
from runyard.kernel.errors import FailedPrecondition, NotFound
from runyard.kernel.events import Event
from runyard.kernel.transitions import Changed, Refused, transition


@dataclass(frozen=True)
class Door:
    is_open: bool


@dataclass
class FakeTransaction:
    """Remembers the events that were recorded."""

    recorded: list[Event] = field(default_factory=list)

    async def record(self, event: Event) -> None:
        self.recorded.append(event)


@dataclass
class FakeRows:
    """One row in memory."""

    row: Door | None
    writes: list[Door] = field(default_factory=list)

    async def lock(self, tx: FakeTransaction, subject_id: str) -> Door | None:
        return self.row

    async def write(self, tx: FakeTransaction, before: Door, after: Door) -> None:
        self.writes.append(after)


def decide(before: Door, command: bool) -> Changed[Door] | Refused:
    if before.is_open == command:
        return Refused("it is so already", "no_change")
    event = Event(
        account_id="a", subject_kind="door", subject_id="d", type="door.moved", actor="me", at=utc_now()
    )
    return Changed(replace(before, is_open=command), event)


def test_transition_accepted_writes_and_records() -> None:
    tx, rows = FakeTransaction(), FakeRows(Door(False))
    decision = asyncio.run(transition(tx, rows, "d", True, decide))
    assert isinstance(decision, Changed)
    assert rows.writes == [Door(True)]
    assert [event.type for event in tx.recorded] == ["door.moved"]


def test_transition_refused_writes_nothing_and_tells_why() -> None:
    tx, rows = FakeTransaction(), FakeRows(Door(True))
    decision = asyncio.run(transition(tx, rows, "d", True, decide))
    assert isinstance(decision, Refused)
    assert (rows.writes, tx.recorded) == ([], [])
    error = decision.error()
    assert isinstance(error, FailedPrecondition)
    assert (error.message, error.detail) == ("it is so already", {"refusal": "no_change"})


def test_transition_without_a_row_is_not_found() -> None:
    with pytest.raises(NotFound):
        asyncio.run(transition(FakeTransaction(), FakeRows(None), "d", True, decide))
