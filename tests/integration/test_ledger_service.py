"""The verbs of the ledger on both databases: begin, line up, end, cancel, wait, recover, stop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from runyard.database.engine import Database
from runyard.executions.dispatch.port import Assignment
from runyard.executions.errors import ExecutionEnded, ExecutionNotFound, ServerStopping
from runyard.executions.model import (
    Execution,
    ExecutionFilter,
    Kind,
    Outcome,
    OutputTotals,
    Resume,
    Status,
    Wait,
)
from runyard.executions.output.log import OutputLog
from runyard.executions.output.model import Stream
from runyard.executions.service import ExecutionOptions, ExecutionService, NewAssignment, RunContext, Runner
from runyard.executions.tables import assignments, executions
from runyard.kernel.clock import utc_now
from runyard.kernel.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from runyard.kernel.ids import ExecutionId, ProjectId
from runyard.kernel.transitions import Changed
from tests.support.executions import Gate, TestTenant, new_execution, succeed, until_canceled

Make = Callable[..., ExecutionService]


@pytest.fixture
async def make(database: Database, tmp_path: Path) -> AsyncIterator[Make]:
    """A factory of services over one database and one log folder; each is stopped at the end."""
    made: list[ExecutionService] = []

    def factory(**options: object) -> ExecutionService:
        service = ExecutionService(
            database,
            OutputLog(tmp_path / "output"),
            options=ExecutionOptions(**options),  # type: ignore[arg-type]
        )
        made.append(service)
        return service

    yield factory
    for service in made:
        await service.stop(1)


@pytest.fixture
async def service(make: Make) -> ExecutionService:
    """A service that takes work."""
    made = make()
    await made.recover()
    return made


@pytest.fixture
def tenant() -> TestTenant:
    """An account of its own."""
    return TestTenant()


async def types(service: ExecutionService, tenant: TestTenant, execution_id: ExecutionId) -> list[str]:
    return [event.type.removeprefix("execution.") for event in await service.history(tenant, execution_id)]


async def test_start_runs_at_once_and_the_ledger_tells_all(
    service: ExecutionService, tenant: TestTenant
) -> None:
    new = new_execution(tenant, parameters={"argv": ["a", {"ü": None}]}, request_id="r1")
    handle = await service.start(new, succeed)
    assert handle.execution.status is Status.RUNNING
    ended = await handle.finished()
    stored = await service.get(tenant, ended.id)
    assert stored == ended
    assert (stored.status, stored.exit_code, stored.attempt) == (Status.SUCCEEDED, 0, 1)
    assert (stored.name, stored.place, stored.parameters) == (new.name, new.place, new.parameters)
    assert stored.output_bytes == 19
    assert stored.started_at is not None
    assert stored.ended_at is not None
    assert stored.started_at >= stored.created_at
    chunks = await service.output.read(ended.id)
    assert [(chunk.offset, chunk.data) for chunk in chunks] == [(0, b"hello from the run\n")]
    history = await service.history(tenant, ended.id)
    assert [event.type for event in history] == [
        "execution.requested",
        "execution.scheduled",
        "execution.running",
        "execution.succeeded",
    ]
    assert [event.actor for event in history] == ["admin", "admin", "worker:embedded", "worker:embedded"]


async def test_start_publishes_each_event_once(service: ExecutionService, tenant: TestTenant) -> None:
    with service.database.broker.subscribe(f"{tenant.account_id}/execution", tenant.account_id) as heard:
        await (await service.start(new_execution(tenant), succeed)).finished()
        got = [await asyncio.wait_for(heard.next(), 5) for _ in range(4)]
    assert [event.type.split(".")[1] for event in got if event] == [
        "requested",
        "scheduled",
        "running",
        "succeeded",
    ]


@pytest.mark.parametrize(
    "fault", [ValueError("secret-value leaks"), FailedPrecondition("no secret-value room")]
)
async def test_runner_that_raises_is_a_failed_execution(
    service: ExecutionService, tenant: TestTenant, fault: Exception
) -> None:
    async def broken(context: RunContext) -> Outcome:
        context.output.write(Stream.STDOUT, b"before ")
        raise fault

    ended = await (await service.start(new_execution(tenant), broken, secrets=[b"secret-value"])).finished()
    assert ended.status is Status.FAILED
    assert ended.status_reason in {"internal error: ValueError", "no [masked] room"}
    data = b"".join(chunk.data for chunk in await service.output.read(ended.id))
    assert data == f"before {ended.status_reason}\n".encode()


async def test_start_with_secrets_keeps_them_nowhere(service: ExecutionService, tenant: TestTenant) -> None:
    secret = "swordfish-22"

    async def telling(context: RunContext) -> Outcome:
        context.output.write(Stream.STDOUT, secret.encode())
        return Outcome(status=Status.FAILED, reason=f"bad {secret}", result={"said": [secret, {secret: 1}]})

    new = new_execution(tenant, secret, command=f"login {secret}", parameters={"argv": ["login", secret]})
    ended = await (await service.start(new, telling, secrets=[secret.encode()])).finished()
    history = await service.history(tenant, ended.id)
    chunks = await service.output.read(ended.id)
    assert secret not in repr((await service.get(tenant, ended.id), history, chunks))
    assert ended.command == "login [masked]"
    assert ended.result == {"said": ["[masked]", {"[masked]": 1}]}


async def test_runner_with_a_status_that_is_no_end_fails(
    service: ExecutionService, tenant: TestTenant
) -> None:
    async def odd(context: RunContext) -> Outcome:
        return Outcome(status=Status.RUNNING)

    assert (await (await service.start(new_execution(tenant), odd)).finished()).status is Status.FAILED


async def test_cancel_running_tells_the_runner_and_ends_canceled(
    service: ExecutionService, tenant: TestTenant
) -> None:
    handle = await service.start(new_execution(tenant), until_canceled)
    canceling = await service.cancel(tenant, handle.execution.id, actor="ann", reason="enough")
    assert (canceling.status, canceling.status_reason) == (Status.CANCELING, "enough")
    again = await handle.cancel("ann")
    assert again.status in {Status.CANCELING, Status.CANCELED}
    ended = await handle.finished()
    assert (ended.status, ended.status_reason) == (Status.CANCELED, "enough")
    history = await service.history(tenant, ended.id)
    assert [(event.type, event.actor, event.reason) for event in history[3:]] == [
        ("execution.canceling", "ann", "enough"),
        ("execution.canceled", "worker:embedded", "enough"),
    ]
    with pytest.raises(ExecutionEnded):
        await handle.cancel("ann")


async def test_cancel_that_comes_after_the_end_loses(service: ExecutionService, tenant: TestTenant) -> None:
    async def deaf(context: RunContext) -> Outcome:
        await context.cancelled.wait()
        return Outcome(status=Status.SUCCEEDED, exit_code=0)

    handle = await service.start(new_execution(tenant), deaf)
    await handle.cancel("ann")
    assert (await handle.finished()).status is Status.SUCCEEDED


async def test_start_beyond_the_slots_waits_in_line_by_priority(make: Make, tenant: TestTenant) -> None:
    service = make(slots=1)
    await service.recover()
    gate = Gate()
    first = await service.start(new_execution(tenant, "first"), gate.run)
    assert await gate.next() == first.execution.id
    low = await service.start(new_execution(tenant, "low"), gate.run, priority=0)
    high = await service.start(new_execution(tenant, "high"), gate.run, priority=5)
    never = await service.start(new_execution(tenant, "never"), gate.run, priority=9)
    assert {low.execution.status, high.execution.status} == {Status.SCHEDULED}
    canceled = await never.cancel("ann", "changed my mind")
    assert canceled.status is Status.CANCELED
    assert (await never.finished()).status is Status.CANCELED
    # The pump claims one ahead while the slot is busy; it took `low`, the only one there at that time.
    gate.open(first.execution.id)
    order = [await gate.next()]
    gate.open(order[0])
    order.append(await gate.next())
    gate.open(order[1])
    assert set(order) == {low.execution.id, high.execution.id}
    assert (await low.finished()).status is Status.SUCCEEDED
    assert (await high.finished()).status is Status.SUCCEEDED
    assert never.execution.id not in gate.entered
    assert await types(service, tenant, low.execution.id) == [
        "requested",
        "scheduled",
        "running",
        "succeeded",
    ]


async def test_start_many_at_once_all_end(make: Make, tenant: TestTenant) -> None:
    service = make(slots=8)
    await service.recover()
    handles = await asyncio.gather(
        *(service.start(new_execution(tenant, f"n{n}"), succeed) for n in range(60))
    )
    ended = await asyncio.gather(*(handle.finished() for handle in handles))
    assert {execution.status for execution in ended} == {Status.SUCCEEDED}
    assert service.worker.free == 8
    assert service._ended == {}
    page = await service.list(tenant, ExecutionFilter(statuses=[Status.SUCCEEDED]), limit=100)
    assert len(page.items) == 60


async def test_start_fixed_id_twice_is_refused_and_frees_the_slot(make: Make, tenant: TestTenant) -> None:
    service = make(slots=1)
    await service.recover()
    fixed = ExecutionId.new()
    await (await service.start(new_execution(tenant, id=fixed), succeed)).finished()
    with pytest.raises(AlreadyExists):
        await service.start(new_execution(tenant, id=fixed), succeed)
    assert service.worker.free == 1


def registered(service: ExecutionService, run: Runner) -> None:
    service.register_runner("test", lambda assignment: run)


async def test_submit_runs_the_registered_runner_with_its_document(
    service: ExecutionService, tenant: TestTenant
) -> None:
    seen: list[Assignment] = []

    def factory(assignment: Assignment) -> Runner:
        seen.append(assignment)
        return succeed

    service.register_runner("test", factory)
    handle = await service.submit(new_execution(tenant), NewAssignment(runner="test", document={"x": [1]}))
    assert (await handle.finished()).status is Status.SUCCEEDED
    assert seen[0].document == {"x": [1]}
    async with service.database.read() as tx:
        assert not await tx.all(select(assignments))


async def test_submit_same_id_twice_runs_once(service: ExecutionService, tenant: TestTenant) -> None:
    gate = Gate()
    registered(service, gate.run)
    fixed = ExecutionId.new()
    first = await service.submit(new_execution(tenant, id=fixed), NewAssignment(runner="test"))
    second = await service.submit(new_execution(tenant, id=fixed), NewAssignment(runner="test"))
    assert await gate.next() == fixed
    gate.open(fixed)
    assert await first.finished() == await second.finished()
    assert gate.entered == [fixed]


async def test_submit_unknown_runner_fails_with_the_reason(
    service: ExecutionService, tenant: TestTenant
) -> None:
    handle = await service.submit(new_execution(tenant), NewAssignment(runner="nothing"))
    ended = await handle.finished()
    assert ended.status is Status.FAILED
    assert "no runner named nothing" in (ended.status_reason or "")
    with pytest.raises(InvalidArgument):
        await service.submit(new_execution(tenant), NewAssignment(runner="local"))


async def test_submit_key_limit_runs_one_at_a_time(service: ExecutionService, tenant: TestTenant) -> None:
    gate = Gate()
    registered(service, gate.run)
    handles = [
        await service.submit(new_execution(tenant, f"n{n}"), NewAssignment(runner="test", key="deploy"))
        for n in range(3)
    ]
    for expected in handles:
        entered = await gate.next()
        assert entered == expected.execution.id
        assert len(service.worker.in_flight) == 1
        gate.open(entered)
        await expected.finished()


async def test_submit_not_before_is_delayed_then_runs(service: ExecutionService, tenant: TestTenant) -> None:
    registered(service, succeed)
    later = utc_now() + timedelta(milliseconds=150)
    handle = await service.submit(new_execution(tenant), NewAssignment(runner="test", not_before=later))
    assert handle.execution.status is Status.DELAYED
    ended = await handle.finished()
    assert ended.started_at is not None
    assert ended.started_at >= later
    assert await types(service, tenant, ended.id) == [
        "requested",
        "delayed",
        "scheduled",
        "running",
        "succeeded",
    ]


async def test_cancel_delayed_ends_at_once_and_forgets_the_timer(
    service: ExecutionService, tenant: TestTenant
) -> None:
    registered(service, succeed)
    later = utc_now() + timedelta(days=400)
    handle = await service.submit(new_execution(tenant), NewAssignment(runner="test", not_before=later))
    canceled = await handle.cancel("ann")
    assert canceled.status is Status.CANCELED
    assert await handle.finished() == canceled
    assert service._line._timers == {}


async def test_waiting_execution_is_resumed_by_its_domain(
    service: ExecutionService, tenant: TestTenant
) -> None:
    gate = Gate()
    handle = await service.start(new_execution(tenant), gate.run)
    waiting = await service.command(handle.execution.id, Wait("approval"), actor="guard")
    assert isinstance(waiting, Changed)
    assert (waiting.value.status, waiting.value.status_reason) == (Status.WAITING, "approval")
    resumed = await service.command(handle.execution.id, Resume(), actor="ann")
    assert isinstance(resumed, Changed)
    gate.open(handle.execution.id)
    assert (await handle.finished()).status is Status.SUCCEEDED


async def test_wait_by_another_handle_hears_of_the_end(service: ExecutionService, tenant: TestTenant) -> None:
    gate = Gate()
    handle = await service.start(new_execution(tenant), gate.run)
    other = asyncio.ensure_future(service.wait(tenant, handle.execution.id))
    await gate.next()
    gate.open(handle.execution.id)
    assert await other == await handle.finished()
    assert (await service.wait(tenant, handle.execution.id)).ended


async def test_finished_given_up_changes_nothing(service: ExecutionService, tenant: TestTenant) -> None:
    gate = Gate()
    handle = await service.start(new_execution(tenant), gate.run)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(handle.finished(), 0.01)
    gate.open(handle.execution.id)
    assert (await handle.finished()).status is Status.SUCCEEDED


async def test_other_tenant_sees_nothing(service: ExecutionService, tenant: TestTenant) -> None:
    project = ProjectId.new()
    inside = tenant.narrowed(project)
    ended = await (await service.start(new_execution(inside), succeed)).finished()
    for stranger in (TestTenant(), tenant.narrowed(ProjectId.new()), inside.narrowed(ProjectId.new())):
        for call in (service.get, service.history, service.handle):
            with pytest.raises(ExecutionNotFound):
                await call(stranger, ended.id)
        with pytest.raises(ExecutionNotFound):
            await service.cancel(stranger, ended.id, actor="eve")
        assert (await service.list(stranger)).items == []
    for owner in (tenant, inside):
        assert await service.get(owner, ended.id) == ended
        assert (await service.list(owner)).items == [ended]


async def test_child_takes_the_root_of_its_parent(service: ExecutionService, tenant: TestTenant) -> None:
    top = await (await service.start(new_execution(tenant, kind=Kind.WORKFLOW), succeed)).finished()
    child = await (await service.start(new_execution(tenant, parent_id=top.id), succeed)).finished()
    grandchild = await (await service.start(new_execution(tenant, parent_id=child.id), succeed)).finished()
    assert (child.root_id, grandchild.root_id) == (top.id, top.id)
    tree = await service.list(tenant, ExecutionFilter(root_id=top.id))
    assert {execution.id for execution in tree.items} == {top.id, child.id, grandchild.id}
    with pytest.raises(ExecutionNotFound):
        await service.start(new_execution(TestTenant(), parent_id=top.id), succeed)


async def test_terminal_row_is_never_written_again(service: ExecutionService, tenant: TestTenant) -> None:
    handle = await service.start(new_execution(tenant), until_canceled)
    async with service.database.transaction() as tx:
        await tx.execute(
            update(executions)
            .where(executions.c.id == handle.execution.id)
            .values(status="abandoned", ended_at=utc_now(), status_reason="by hand")
        )
    service.worker.cancel(handle.execution.id, "late")
    ended = await handle.finished()
    assert (ended.status, ended.status_reason) == (Status.ABANDONED, "by hand")
    assert await service.get(tenant, ended.id) == ended


# -- restart ----------------------------------------------------------------------------------------------------


async def killed(service: ExecutionService) -> None:
    """Let a service go as a kill would: nothing is written any more."""
    service._stopping = True
    for task in [
        *service._line._tasks,
        *(entry.task for entry in service.worker.in_flight.values()),
    ]:
        if task is not None:

            async def silent(execution: Execution, outcome: Outcome, output: OutputTotals) -> Execution:
                raise asyncio.CancelledError

            service.worker._report = silent
            task.cancel()
    await asyncio.sleep(0.01)
    for timer in service._line._timers.values():
        timer.cancel()


async def test_recover_after_a_kill_abandons_what_ran_and_offers_what_waited(
    make: Make, tenant: TestTenant
) -> None:
    old = make(slots=3)
    await old.recover()
    gate = Gate()
    registered(old, gate.run)
    running = await old.start(new_execution(tenant, "running"), gate.run)
    await gate.next()
    old.worker.in_flight[running.execution.id].context.output.write(Stream.STDOUT, b"x" * 70_000)
    canceling = await old.start(new_execution(tenant, "canceling"), gate.run)
    await gate.next()
    await canceling.cancel("ann", "stop it")
    held = await old.submit(new_execution(tenant, "held"), NewAssignment(runner="test"))
    assert await gate.next() == held.execution.id
    waiting = await old.submit(new_execution(tenant, "waiting"), NewAssignment(runner="test"))
    local = await old.start(new_execution(tenant, "local"), gate.run)
    soon = utc_now() + timedelta(milliseconds=100)
    delayed = await old.submit(
        new_execution(tenant, "delayed"), NewAssignment(runner="test", not_before=soon)
    )
    await killed(old)

    fresh = make(slots=3)
    registered(fresh, succeed)
    report = await fresh.recover()
    assert report.abandoned == 4
    for handle, words in (
        (running, "while it ran"),
        (held, "while it ran"),
        (canceling, "being canceled"),
        (local, "before it began"),
    ):
        found = await fresh.get(tenant, handle.execution.id)
        assert found.status is Status.ABANDONED
        assert words in (found.status_reason or "")
    assert (await fresh.get(tenant, running.execution.id)).output_bytes == 70_000
    data = await fresh.output.read(running.execution.id)
    assert sum(len(chunk.data) for chunk in data) == 70_000
    for handle in (waiting, delayed):
        ended = await fresh.wait(tenant, handle.execution.id)
        assert ended.status is Status.SUCCEEDED
    assert (await fresh.recover()).abandoned == 0


async def test_recover_leaves_what_another_worker_holds(make: Make, tenant: TestTenant) -> None:
    other = make(worker="other")
    await other.recover()
    gate = Gate()
    handle = await other.start(new_execution(tenant), gate.run)
    fresh = make()
    assert (await fresh.recover()).abandoned == 0
    gate.open(handle.execution.id)
    assert (await handle.finished()).status is Status.SUCCEEDED


async def test_stop_cancels_what_runs_and_refuses_new(make: Make, tenant: TestTenant) -> None:
    service = make(slots=1)
    await service.recover()
    polite = await service.start(new_execution(tenant), until_canceled)
    queued = await service.start(new_execution(tenant), succeed)
    await service.stop(5)
    ended = await polite.finished()
    assert (ended.status, ended.status_reason) == (Status.CANCELED, "the server is stopping")
    assert (await queued.finished()).status is Status.CANCELED
    with pytest.raises(ServerStopping):
        await service.start(new_execution(tenant), succeed)


async def test_stop_cuts_off_a_runner_that_does_not_listen(make: Make, tenant: TestTenant) -> None:
    service = make()
    await service.recover()

    async def deaf(context: RunContext) -> Outcome:
        await asyncio.Event().wait()
        return Outcome(status=Status.SUCCEEDED)

    handle = await service.start(new_execution(tenant), deaf)
    await service.stop(0.05)
    ended = await handle.finished()
    assert (ended.status, ended.status_reason) == (Status.ABANDONED, "the server stopped before it ended")
