"""The life of a runtime as a table: every pair of status and verb, and what refusals say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.kernel.ids import AccountId, ProjectId, RuntimeId
from runyard.kernel.transitions import Changed, Refused
from runyard.runtimes.definition import Definition
from runyard.runtimes.model import (
    ORDERS,
    STALE,
    Amend,
    Order,
    Runtime,
    Status,
    Verb,
    apply,
    decide,
    not_running,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)

ALLOWED: dict[Verb, dict[Status, Status]] = {
    Verb.START: {
        Status.CREATING: Status.CREATING,
        Status.RUNNING: Status.RUNNING,
        Status.SUSPENDED: Status.RUNNING,
        Status.SHUTDOWN: Status.CREATING,
        Status.CRASHED: Status.CREATING,
        Status.ERROR: Status.CREATING,
    },
    Verb.STOP: {
        Status.CREATING: Status.SHUTDOWN,
        Status.RUNNING: Status.SHUTDOWN,
        Status.PAUSED: Status.SHUTDOWN,
        Status.SUSPENDED: Status.SHUTDOWN,
        Status.CRASHED: Status.SHUTDOWN,
        Status.SHUTDOWN: Status.SHUTDOWN,
    },
    Verb.PAUSE: {
        Status.RUNNING: Status.PAUSED,
        Status.PAUSED: Status.PAUSED,
        Status.SUSPENDED: Status.PAUSED,
    },
    Verb.RESUME: {
        Status.CREATING: Status.CREATING,
        Status.RUNNING: Status.RUNNING,
        Status.PAUSED: Status.RUNNING,
        Status.SUSPENDED: Status.RUNNING,
    },
    Verb.DELETE: dict.fromkeys(Status, Status.DELETING),
    Verb.BOOTED: {Status.CREATING: Status.RUNNING, Status.RUNNING: Status.RUNNING},
    Verb.SUSPEND: {Status.RUNNING: Status.SUSPENDED},
    Verb.WAKE: {Status.SUSPENDED: Status.RUNNING},
    Verb.CRASH: dict.fromkeys(
        (Status.CREATING, Status.RUNNING, Status.PAUSED, Status.SUSPENDED), Status.CRASHED
    ),
    Verb.FAIL: {Status.CREATING: Status.ERROR},
}


def runtime(status: Status = Status.RUNNING, desired: Status | None = None) -> Runtime:
    return Runtime(
        id=RuntimeId.new(),
        account_id=AccountId.new(),
        project_id=ProjectId.new(),
        project_path="/p/",
        owner_user_id="u",
        display_name="one",
        status=status,
        desired_status=desired or Status.RUNNING,
        revision=3,
        definition=Definition(),
        created_at=NOW,
        updated_at=NOW,
    )


def order(verb: Verb, expected: int | None = None, reason: str | None = None) -> Order:
    return Order(verb=verb, actor="me", at=LATER, expected_revision=expected, reason=reason)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("verb", Verb)
def test_every_pair_of_status_and_verb_follows_the_table(status: Status, verb: Verb) -> None:
    after = apply(runtime(status), order(verb))
    expected = ALLOWED[verb].get(status)
    if expected is None:
        assert isinstance(after, Refused)
        assert f"(status: {status})" in after.reason
    else:
        assert isinstance(after, Runtime)
        assert after.status is expected


@given(st.sampled_from(Status), st.lists(st.sampled_from(Verb), max_size=12))
def test_any_walk_raises_the_revision_by_orders_alone_and_never_leaves_deleting(
    status: Status, verbs: list[Verb]
) -> None:
    now = runtime(status)
    for verb in verbs:
        after = apply(now, order(verb))
        if isinstance(after, Refused):
            continue
        changed = after is not now
        assert after.revision == now.revision + (changed and verb in ORDERS)
        if now.status is Status.DELETING:
            assert after.status is Status.DELETING
        assert (after.error_message is not None) is (
            after.status in (Status.CRASHED, Status.ERROR)
        ) or not changed
        now = after


def test_repeated_order_changes_nothing() -> None:
    first = apply(runtime(), order(Verb.PAUSE))
    assert isinstance(first, Runtime)
    assert apply(first, order(Verb.PAUSE)) is first


def test_stale_revision_is_refused_before_the_status() -> None:
    outcome = apply(runtime(Status.SHUTDOWN), order(Verb.PAUSE, expected=2))
    assert outcome == Refused("2", STALE)
    assert isinstance(decide(runtime(), order(Verb.STOP, expected=3)), Changed)


def test_crash_keeps_the_reason_and_start_clears_it() -> None:
    crashed = apply(runtime(), order(Verb.CRASH, reason="out of memory"))
    assert isinstance(crashed, Runtime)
    assert (crashed.error_code, crashed.error_message) == ("crashed", "out of memory")
    started = apply(crashed, order(Verb.START))
    assert isinstance(started, Runtime)
    assert (started.error_code, started.error_message, started.desired_status) == (None, None, Status.RUNNING)


def test_amend_raises_the_revision_and_is_refused_while_deleting() -> None:
    amend = Amend(definition=Definition(base="other"), display_name="two", actor="me", at=LATER)
    outcome = decide(runtime(), amend)
    assert isinstance(outcome, Changed)
    assert (outcome.value.revision, outcome.value.display_name, outcome.event.type) == (
        4,
        "two",
        "runtime.changed",
    )
    assert isinstance(decide(runtime(Status.DELETING), amend), Refused)
    assert decide(runtime(), replace(amend, expected_revision=1)) == Refused("1", STALE)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.RUNNING])
def test_refusal_of_work_has_the_words_that_clients_look_for(status: Status) -> None:
    one = runtime(status)
    assert not_running(one).startswith(f"runtime '{one.id}' is not running (status: {status})")
