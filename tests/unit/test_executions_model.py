"""The state machine of an execution: every pair of state and command, and long random walks."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.executions.model import (
    ALREADY_ENDED,
    BEFORE_START,
    HELD,
    STALE_ATTEMPT,
    TERMINAL,
    Abandon,
    Cancel,
    Command,
    Delay,
    Execution,
    Finish,
    Kind,
    NewExecution,
    Outcome,
    OutputTotals,
    Resume,
    Schedule,
    Start,
    Status,
    Wait,
    apply,
    begun,
    requested,
)
from runyard.kernel.ids import AccountId, ExecutionId, ProjectId
from runyard.kernel.transitions import Changed, Refused

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ACCOUNT, PROJECT = AccountId.new(), ProjectId.new()


def new(**given: object) -> NewExecution:
    fields = {"account_id": ACCOUNT, "project_id": PROJECT, "project_path": f"/{PROJECT}/", "kind": Kind.EXEC}
    fields |= {"name": "job", "actor": "admin", "door": "native"}
    return msgspec.convert(fields | given, NewExecution)


def in_state(status: Status) -> Execution:
    base = requested(new(), NOW).value
    changes: dict[str, object] = {"status": status}
    if status in HELD:
        changes |= {"started_at": NOW, "worker": "w"}
    if status in TERMINAL:
        changes |= {"ended_at": NOW}
    return msgspec.structs.replace(base, **changes)


def finish(status: Status = Status.SUCCEEDED, attempt: int = 1) -> Finish:
    return Finish(Outcome(status=status, exit_code=0), attempt, OutputTotals(5, True, "f"))


COMMANDS: list[Command] = [
    Schedule(),
    Delay("later"),
    Start("w"),
    Wait("approval"),
    Resume(),
    Cancel("stop"),
    finish(),
    Abandon("lost"),
]

ALLOWED: dict[Status, dict[type, Status]] = {
    Status.REQUESTED: {
        Schedule: Status.SCHEDULED,
        Delay: Status.DELAYED,
        Start: Status.RUNNING,
        Wait: Status.WAITING,
        Cancel: Status.CANCELED,
        Abandon: Status.ABANDONED,
    },
    Status.DELAYED: {Schedule: Status.SCHEDULED, Cancel: Status.CANCELED, Abandon: Status.ABANDONED},
    Status.SCHEDULED: {
        Delay: Status.DELAYED,
        Start: Status.RUNNING,
        Wait: Status.WAITING,
        Cancel: Status.CANCELED,
        Abandon: Status.ABANDONED,
    },
    Status.RUNNING: {
        Wait: Status.WAITING,
        Cancel: Status.CANCELING,
        Finish: Status.SUCCEEDED,
        Abandon: Status.ABANDONED,
    },
    Status.WAITING: {
        Resume: Status.RUNNING,
        Cancel: Status.CANCELING,
        Finish: Status.SUCCEEDED,
        Abandon: Status.ABANDONED,
    },
    Status.CANCELING: {Finish: Status.SUCCEEDED, Abandon: Status.ABANDONED},
}


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_apply_every_pair_follows_the_table(status: Status, command: Command) -> None:
    before = in_state(status)
    decision = apply(before, command, actor="me", now=NOW)
    wanted = ALLOWED.get(status, {}).get(type(command))
    if wanted is None:
        assert isinstance(decision, Refused)
        assert decision.reason
        assert (decision.code == ALREADY_ENDED) == (status in TERMINAL)
        return
    assert isinstance(decision, Changed)
    assert decision.value.status is wanted
    assert decision.event.type == f"execution.{wanted.value}"
    assert decision.event.actor == "me"
    assert (decision.value.ended_at is not None) == (wanted in TERMINAL)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_finish_any_end_is_kept_with_its_facts(status: Status) -> None:
    later = NOW + timedelta(milliseconds=1500)
    decision = apply(in_state(Status.RUNNING), finish(status), actor="w", now=later)
    assert isinstance(decision, Changed)
    ended = decision.value
    assert (ended.status, ended.exit_code, ended.duration_ms) == (status, 0, 1500.0)
    assert (ended.output_bytes, ended.output_truncated, ended.output_ref) == (5, True, "f")
    assert ended.ended


def test_finish_with_a_status_that_is_no_end_is_refused() -> None:
    decision = apply(in_state(Status.RUNNING), finish(Status.RUNNING), actor="w", now=NOW)
    assert isinstance(decision, Refused)


def test_finish_of_a_given_up_attempt_is_refused() -> None:
    second = msgspec.structs.replace(in_state(Status.RUNNING), attempt=2)
    decision = apply(second, finish(attempt=1), actor="w", now=NOW)
    assert isinstance(decision, Refused)
    assert decision.code == STALE_ATTEMPT


def test_finish_before_the_start_by_a_clock_that_jumped_ends_at_the_start() -> None:
    decision = apply(in_state(Status.RUNNING), finish(), actor="w", now=NOW - timedelta(hours=1))
    assert isinstance(decision, Changed)
    assert decision.value.ended_at == NOW
    assert decision.value.duration_ms == 0


def test_waiting_before_any_start_resumes_to_scheduled_and_cancels_at_once() -> None:
    waiting = msgspec.structs.replace(requested(new(), NOW).value, status=Status.WAITING)
    resumed = apply(waiting, Resume(), actor="me", now=NOW)
    assert isinstance(resumed, Changed)
    assert resumed.value.status is Status.SCHEDULED
    canceled = apply(waiting, Cancel(), actor="me", now=NOW)
    assert isinstance(canceled, Changed)
    assert canceled.value.status is Status.CANCELED


def test_requested_long_texts_are_cut_and_the_root_is_itself() -> None:
    made = requested(new(name="n" * 999, command="c" * 99_999), NOW).value
    assert (len(made.name), len(made.command), made.root_id) == (256, 8192, made.id)


def test_requested_child_without_a_root_takes_its_parent() -> None:
    parent = ExecutionId.new()
    assert requested(new(parent_id=parent), NOW).value.root_id == parent


def test_statuses_before_start_held_and_terminal_are_a_partition() -> None:
    assert set(Status) == BEFORE_START | HELD | TERMINAL
    assert not BEFORE_START & HELD
    assert not (BEFORE_START | HELD) & TERMINAL


@given(
    commands=st.lists(st.sampled_from(COMMANDS), max_size=30),
    seconds=st.lists(st.integers(-5, 60), min_size=30),
)
def test_walk_of_any_commands_keeps_the_invariants(commands: list[Command], seconds: list[int]) -> None:
    execution = requested(new(), NOW).value
    now = NOW
    for command, step in zip(commands, seconds, strict=False):
        now += timedelta(seconds=step)
        decision = apply(execution, command, actor="me", now=now)
        if isinstance(decision, Refused):
            continue
        assert not execution.ended
        execution = decision.value
        assert execution.ended == (execution.ended_at is not None)
        if execution.started_at is not None and execution.ended_at is not None:
            assert execution.ended_at >= execution.started_at
            assert execution.duration_ms is not None
        if execution.status in {Status.RUNNING, Status.CANCELING}:
            assert execution.started_at is not None


def test_begun_equals_schedule_and_start() -> None:
    first = requested(new(), NOW)
    scheduled = apply(first.value, Schedule(), actor=first.value.actor, now=NOW)
    assert isinstance(scheduled, Changed)
    started = apply(scheduled.value, Start("w"), actor="worker:w", now=NOW)
    assert isinstance(started, Changed)
    assert begun(first.value, "w", "worker:w") == (started.value, (scheduled.event, started.event))
