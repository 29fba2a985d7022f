"""The state machine of a run: what each command does where, and long random walks."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.infrastructure.runs.arguments import checked, split
from runyard.infrastructure.runs.changes import (
    OVER,
    Advance,
    Applied,
    Applying,
    Approve,
    Begin,
    Cancelled,
    CheckedOut,
    Discard,
    Fail,
    Hold,
    Lost,
    Planned,
    RunCommand,
    decide,
)
from runyard.infrastructure.runs.errors import RefusedArguments
from runyard.infrastructure.runs.model import Block, Origin, Run, RunKind, RunStatus, Step, Trigger
from runyard.infrastructure.runs.tasks import TaskStatus, apply_task, plan_task, task_of
from runyard.infrastructure.workspaces.model import identifier_of
from runyard.kernel.ids import AccountId, ExecutionId, ProjectId, RecordId, RunId, WorkspaceId
from runyard.kernel.transitions import Changed, Refused

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WINDOW = timedelta(hours=48)
TASK = ExecutionId.new()


def pending(**more: object) -> Run:
    """Return a run that waits in line."""
    first = Run(
        id=RunId.new(),
        record_id=RecordId.new(),
        account_id=AccountId.new(),
        project_id=ProjectId.new(),
        project_path="/a/",
        workspace_id=WorkspaceId.new(),
        workspace_name="net",
        kind=RunKind.APPLY,
        trigger=Trigger.API,
        status=RunStatus.PENDING,
        step=Step.QUEUED,
        title="t",
        actor="ana",
        door="native",
        origin=Origin(),
        runner_type="firefly",
        vcs_type="",
        repository="",
        repository_url="",
        iac_type="terraform",
        iac_version="",
        auto_apply=False,
        plan_task_id=ExecutionId.new(),
        created_at=NOW,
        updated_at=NOW,
    )
    return msgspec.structs.replace(first, **more)


def after(run: Run, *commands: RunCommand) -> Run:
    """Walk a run through commands that must all be accepted."""
    for command in commands:
        decision = decide(run, command, actor="bo", now=NOW)
        assert isinstance(decision, Changed), (command, decision)
        run = decision.value
    return run


def planned(block: Block = Block.NONE, *, changes: bool = True) -> Planned:
    return Planned(has_changes=changes, counts={"add": 1}, block=block, window=WINDOW)


def test_apply_goes_its_way_and_shows_its_tasks() -> None:
    run = after(pending(), Hold("locked"), Begin(), Advance(Step.INIT), CheckedOut(Origin(), "T", "1.9.1"))
    assert (run.held, run.title, plan_task(run).status, apply_task(run)) == (
        True,
        "T",
        TaskStatus.RUNNING,
        None,
    )
    run = after(run, planned())
    assert (run.status, run.waits, run.expires_at) == (RunStatus.PLAN_SUCCESS, True, NOW + WINDOW)
    assert (plan_task(run).status, plan_task(run).step) == (TaskStatus.READY_FOR_APPLY, Step.APPROVAL)
    run = after(run, Approve(TASK))
    assert isinstance(decide(run, Approve(ExecutionId.new()), actor="bo", now=NOW), Refused)
    assert (run.approved_by, plan_task(run).status) == ("bo", TaskStatus.COMPLETED)
    assert task_of(run, TASK).status is TaskStatus.QUEUED
    run = after(run, Applying(), Applied(changed=True))
    assert (run.status, run.held, run.ended) == (RunStatus.APPLY_SUCCESS, False, True)
    assert task_of(run, TASK).status is TaskStatus.COMPLETED


@pytest.mark.parametrize(
    ("kind", "block", "changes", "status", "ended"),
    [
        (RunKind.PLAN, Block.NONE, True, RunStatus.PLAN_SUCCESS, True),
        (RunKind.PLAN, Block.FLEXIBLE, True, RunStatus.BLOCKED, True),
        (RunKind.APPLY, Block.NONE, False, RunStatus.PLAN_NO_CHANGES, True),
        (RunKind.APPLY, Block.FLEXIBLE, True, RunStatus.BLOCKED, False),
        (RunKind.APPLY, Block.STRICT, True, RunStatus.BLOCKED, True),
        (RunKind.DESTROY, Block.NONE, True, RunStatus.PLAN_SUCCESS, False),
    ],
)
def test_plan_ends_or_waits(
    kind: RunKind, block: Block, changes: bool, status: RunStatus, ended: bool
) -> None:
    run = after(pending(kind=kind), Begin(), planned(block, changes=changes))
    assert (run.status, run.ended, run.held, run.waits) == (status, ended, not ended, not ended)


def test_saved_plan_holds_its_workspace_while_it_plans_and_applies_only() -> None:
    run = after(pending(saved=True), Begin())
    assert run.held
    run = after(run, planned())
    assert (run.waits, run.held) == (True, False)
    run = after(run, Approve(TASK))
    assert run.held
    assert not after(run, Applying(), Applied(changed=True)).held


def test_failures_are_named_after_where_they_happen() -> None:
    for commands, status in (
        ((Begin(),), RunStatus.INIT_ERROR),
        ((Begin(), Advance(Step.PLAN)), RunStatus.PLAN_ERROR),
        ((Begin(), planned(), Approve(TASK)), RunStatus.APPLY_ERROR),
        ((Begin(), planned(), Approve(TASK), Applying()), RunStatus.APPLY_ERROR),
    ):
        run = after(pending(), *commands, Fail("why", timed_out=True))
        assert (run.status, run.reason) == (status, "why")
        assert task_of(run, run.current_task_id).status is TaskStatus.TIMED_OUT


def test_worker_that_moved_on_was_not_lost() -> None:
    run = after(pending(), Begin(), Advance(Step.PLAN))
    assert after(run, Lost("gone", RunStatus.PLANNING)).status is RunStatus.PLAN_ERROR
    waiting = after(run, planned())
    for status in (RunStatus.PLANNING, RunStatus.PLAN_SUCCESS):
        assert isinstance(decide(waiting, Lost("gone", status), actor="bo", now=NOW), Refused)


COMMANDS = st.one_of(
    st.just(Begin()),
    st.just(Hold("x")),
    st.sampled_from([Advance(step) for step in Step]),
    st.just(CheckedOut(Origin(branch="b"), "t", "1")),
    st.builds(planned, st.sampled_from(Block), changes=st.booleans()),
    st.just(Fail("f")),
    st.just(Approve(TASK)),
    st.just(Applying()),
    st.builds(Applied, st.booleans()),
    st.just(Discard("d")),
    st.just(Cancelled("c")),
    st.builds(Lost, st.just("l"), st.sampled_from(RunStatus)),
)


@given(st.sampled_from(RunKind), st.lists(COMMANDS, max_size=30))
def test_random_walks_keep_the_rules(kind: RunKind, commands: list[RunCommand]) -> None:
    """What ended never changes; only a run that holds its workspace is past the line; nothing is applied unplanned."""
    run = pending(kind=kind)
    for command in commands:
        decision = decide(run, command, actor="bo", now=NOW)
        if isinstance(decision, Refused):
            assert not run.ended or decision.code == OVER
            continue
        assert not run.ended
        run = decision.value
        assert run.held == (not run.ended and run.status is not RunStatus.PENDING)
        if run.status in (RunStatus.APPLYING, RunStatus.APPLY_SUCCESS, RunStatus.APPLY_NO_CHANGES):
            assert run.planned_at is not None
            assert run.apply_task_id == TASK
            assert run.kind is not RunKind.PLAN
            assert run.block is not Block.STRICT
        plan_task(run)
        apply_task(run)


def test_arguments_that_are_safe_pass_in_one_form_and_others_are_named() -> None:
    line = '--target module.a["x y"].b[0] -replace=c.d --refresh=false -parallelism 3 -lock-timeout=5m -refresh-only'
    assert checked(split(line.replace('["x y"]', '[\\"x y\\"]').replace("x y", "xy"))) == [
        '-target=module.a["xy"].b[0]',
        "-replace=c.d",
        "-refresh=false",
        "-parallelism=3",
        "-lock-timeout=5m",
        "-refresh-only",
    ]
    refused = [
        "-var",
        "a=b",
        "-out=x",
        "-state=/etc/passwd",
        "-target=$(id)",
        "-parallelism=0",
        "-chdir=/",
        "plan",
    ]
    with pytest.raises(RefusedArguments) as error:
        checked(refused)
    for name in ("-var", "a", "-out", "-state", "-target", "-parallelism", "-chdir", "plan"):
        assert f"{name}," in f"{error.value.message.partition(': ')[2]},"
    for bad in ("'open", "x" * 5000):
        with pytest.raises(RefusedArguments):
            checked(split(bad))


@given(st.lists(st.text(max_size=20), max_size=5))
def test_arguments_never_smuggle_another(items: list[str]) -> None:
    """Whatever is let through is one of the known names, and no item has a line end or a NUL."""
    try:
        passed = checked(items)
    except RefusedArguments:
        return
    for one in passed:
        assert one.split("=")[0] in {
            "-refresh-only", "-compact-warnings", "-allow-missing", "-refresh", "-target", "-replace", "-exclude",
            "-parallelism", "-lock-timeout",
        }  # fmt: skip
        assert "\n" not in one
        assert "\0" not in one


@given(st.text(min_size=1, max_size=200))
def test_identifier_of_any_name_is_valid(name: str) -> None:
    made = identifier_of(name)
    assert 1 <= len(made) <= 128
    assert all(one.isascii() and (one.isalnum() or one in "_$-") for one in made)
    assert not made[0].isdigit()
