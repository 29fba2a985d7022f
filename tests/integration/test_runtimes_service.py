"""The verbs of runtimes over a fake engine and real databases: life cycle, crashes, idling, restarts, checkpoints, secrets."""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from runyard.database.engine import Database
from runyard.executions.model import ExecutionFilter
from runyard.executions.model import Status as Ended
from runyard.kernel.errors import FailedPrecondition, InvalidArgument, NotFound
from runyard.runtimes.amendment import Patch
from runyard.runtimes.definition import (
    Definition,
    EgressMode,
    EgressPolicy,
    IdleMode,
    IdlePolicy,
    Resources,
    SecretFile,
    SecretUse,
    SecretVariable,
)
from runyard.runtimes.errors import (
    AmbiguousName,
    BadWorkingDirectory,
    CheckpointNotReady,
    IdempotencyMismatch,
    NotRunning,
    ReservedName,
    RevisionConflict,
    RuntimeEnded,
    RuntimeNotFound,
    SecretExists,
    TooManyCommands,
    TooManyRuntimes,
    TransitionRefused,
)
from runyard.runtimes.isolation.engine import CannotEnforce, Network
from runyard.runtimes.model import CheckpointKind, CheckpointState, Status, Verb
from runyard.runtimes.options import AfterRestart, ExecOptions, RuntimesOptions
from runyard.runtimes.requests import CommandRequest, Origin
from runyard.runtimes.resident import Resident
from runyard.runtimes.service import NewRuntime
from tests.support.runtimes import Yard, until

OPTIONS = RuntimesOptions(
    idle_scan_secs=0.01,
    settle_secs=5,
    ready_secs=5,
    boot_secs=5,
    max_runtimes=5,
    exec=ExecOptions(kill_grace_secs=0.05, quiet_secs=0.05, per_runtime=2),
)
ORIGIN = Origin(door="test")


@pytest.fixture
async def yard(database: Database, tmp_path: Path) -> AsyncIterator[Yard]:
    """The domain over one database of each kind."""
    made = await Yard(database, tmp_path, OPTIONS).start()
    yield made
    await made.stop()


async def run(yard: Yard, resident: Resident, *argv: str, **fields: object) -> str:
    request = CommandRequest(argv=argv, **fields)  # type: ignore[arg-type]
    result = await yard.commands.run(yard.me, resident, request, ORIGIN)
    return result.stdout.decode()


async def order(yard: Yard, resident: Resident, verb: Verb, expected: int | None = None) -> Status:
    return (await yard.runtimes.order(yard.me, resident, verb, expected)).status


async def test_life_cycle_keeps_row_and_sandbox_in_agreement(yard: Yard) -> None:
    resident = await yard.create()
    sandbox = yard.engine.living[resident.runtime.id]
    assert resident.runtime.status is Status.RUNNING
    assert await order(yard, resident, Verb.PAUSE) is Status.PAUSED
    paused = sandbox.frozen
    with pytest.raises(NotRunning, match=r"is not running \(status: paused\)"):
        await run(yard, resident, "true")
    assert await order(yard, resident, Verb.RESUME) is Status.RUNNING
    assert (paused, sandbox.frozen) == (True, False)
    assert await order(yard, resident, Verb.STOP) is Status.SHUTDOWN
    assert yard.engine.living == {}
    assert resident.runtime.id in yard.engine.kept
    with pytest.raises(TransitionRefused, match="start it first"):
        await order(yard, resident, Verb.RESUME)
    assert await order(yard, resident, Verb.START) is Status.RUNNING
    assert resident.runtime.revision == 5
    assert await order(yard, resident, Verb.START) is Status.RUNNING
    assert resident.runtime.revision == 5
    await order(yard, resident, Verb.DELETE)
    assert (yard.engine.living, yard.engine.kept) == ({}, set())
    with pytest.raises(RuntimeNotFound):
        await yard.runtimes.get(yard.me.scope, resident.runtime.id)


async def test_stale_revision_is_refused_and_changes_nothing(yard: Yard) -> None:
    resident = await yard.create()
    for verb in (Verb.PAUSE, Verb.STOP, Verb.DELETE):
        with pytest.raises(RevisionConflict, match=r"^runtime revision conflict:"):
            await order(yard, resident, verb, 99)
    assert not yard.engine.living[resident.runtime.id].frozen
    assert resident.runtime.status is Status.RUNNING


async def test_idempotency_key_replays_and_refuses_another_request(yard: Yard) -> None:
    new = NewRuntime(definition=Definition(), name="once")
    answers = await asyncio.gather(*(yard.runtimes.create(yard.me, new, "key") for _ in range(4)))
    assert len({answer.id for answer in answers}) == 1
    with pytest.raises(IdempotencyMismatch):
        await yard.runtimes.create(yard.me, replace(new, name="other"), "key")
    again = await yard.restarted()
    assert (await again.runtimes.create(again.me, new, "key")).id == answers[0].id
    await again.stop()


async def test_what_cannot_be_enforced_is_refused_and_leaves_nothing(yard: Yard) -> None:
    yard.engine.fail = CannotEnforce("no memory controller")
    with pytest.raises(CannotEnforce, match="no memory controller"):
        await yard.create()
    assert (await yard.runtimes.counted(yard.me.scope, (), 10)).total == 0
    yard.engine.fail = FailedPrecondition("broken for now")
    resident = await yard.create()
    assert (resident.runtime.status, resident.runtime.error_message) == (Status.ERROR, "broken for now")
    yard.engine.fail = None
    assert await order(yard, resident, Verb.START) is Status.RUNNING
    assert resident.runtime.error_message is None


async def test_boot_that_breaks_ends_in_a_status_and_removal_goes_on_until_done(yard: Yard) -> None:
    yard.engine.broken = ZeroDivisionError()
    resident = await yard.create()
    assert (resident.runtime.status, resident.runtime.error_code) == (Status.ERROR, "start_failed")
    yard.engine.broken = None
    yard.engine.stuck_layers = 1
    await order(yard, resident, Verb.DELETE)
    await until(lambda: yard.supervisor.find(yard.me.scope, resident.runtime.id) is None)
    assert yard.engine.stuck_layers == 0


async def test_command_waits_while_its_runtime_is_created(yard: Yard) -> None:
    yard.engine.hold = asyncio.Event()
    slow = replace(OPTIONS, settle_secs=0.01)
    other = await yard.restarted(slow)
    other.engine.hold = asyncio.Event()
    resident = await other.create()
    assert resident.runtime.status is Status.CREATING
    waiting = asyncio.ensure_future(run(other, resident, "echo", "hi"))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    other.engine.hold.set()
    assert await waiting == "hi\n"
    await other.stop()


async def test_sandbox_that_ends_by_itself_crashes_its_runtime_with_the_reason(yard: Yard) -> None:
    resident = await yard.create()
    running = asyncio.ensure_future(run(yard, resident, "forever"))
    sandbox = yard.engine.living[resident.runtime.id]
    await until(lambda: bool(sandbox.processes))
    sandbox.crash("its first process was killed")
    with pytest.raises(RuntimeEnded):
        await running
    await until(lambda: resident.runtime.status is Status.CRASHED)
    stored = await yard.runtimes.get(yard.me.scope, resident.runtime.id)
    assert (stored.status, stored.error_message) == (Status.CRASHED, "its first process was killed")
    assert await order(yard, resident, Verb.START) is Status.RUNNING


@pytest.mark.parametrize("mode", [IdleMode.SUSPEND_ONLY, IdleMode.SUSPEND_AND_WAKEUP])
async def test_idle_runtime_is_suspended_and_woken_as_its_policy_says(yard: Yard, mode: IdleMode) -> None:
    resident = await yard.create(idle=IdlePolicy(mode=mode, suspend_after_secs=1))
    revision = resident.runtime.revision
    resident.last_used -= 10
    await until(lambda: resident.runtime.status is Status.SUSPENDED)
    assert yard.engine.living[resident.runtime.id].frozen
    assert resident.runtime.revision == revision
    if mode is IdleMode.SUSPEND_ONLY:
        with pytest.raises(NotRunning):
            await run(yard, resident, "true")
        assert await order(yard, resident, Verb.START) is Status.RUNNING
    else:
        both = await asyncio.gather(run(yard, resident, "echo", "a"), run(yard, resident, "echo", "b"))
        assert list(both) == ["a\n", "b\n"]
    assert not yard.engine.living[resident.runtime.id].frozen


async def test_running_command_keeps_its_runtime_awake(yard: Yard) -> None:
    resident = await yard.create(idle=IdlePolicy(mode=IdleMode.SUSPEND_ONLY, suspend_after_secs=1))
    running = asyncio.ensure_future(run(yard, resident, "forever"))
    await until(lambda: resident.active > 0 and bool(yard.engine.living[resident.runtime.id].processes))
    resident.last_used -= 10
    await asyncio.sleep(0.05)
    assert resident.runtime.status is Status.RUNNING
    await order(yard, resident, Verb.STOP)
    with pytest.raises(RuntimeEnded):
        await running


async def test_restart_brings_runtimes_back_as_they_were(yard: Yard) -> None:
    running, paused, stopped = [await yard.create() for _ in range(3)]
    await order(yard, paused, Verb.PAUSE)
    await order(yard, stopped, Verb.STOP)
    again = await yard.restarted()
    after = [
        await again.runtimes.resident(again.me.scope, one.runtime.id) for one in (running, paused, stopped)
    ]
    await until(lambda: after[0].sandbox is not None)
    assert [one.runtime.status for one in after] == [Status.RUNNING, Status.PAUSED, Status.SHUTDOWN]
    assert [one.runtime.revision for one in after] == [1, 2, 2]
    assert await run(again, after[0], "echo", "back") == "back\n"
    assert await order(again, after[1], Verb.RESUME) is Status.RUNNING
    assert await run(again, after[1], "echo", "fresh") == "fresh\n"
    await again.stop()


async def test_restart_may_crash_what_ran(yard: Yard) -> None:
    resident = await yard.create()
    again = await yard.restarted(replace(OPTIONS, after_restart=AfterRestart.CRASH))
    after = await again.runtimes.get(again.me.scope, resident.runtime.id)
    assert (after.status, after.error_code) == (Status.CRASHED, "crashed")
    assert "restarted" in (after.error_message or "")
    await again.stop()


async def test_restart_finishes_creations_and_deletions(yard: Yard) -> None:
    doomed = await yard.create()
    yard.engine.hold = asyncio.Event()
    slow = await yard.restarted(replace(OPTIONS, settle_secs=0.01))
    slow.engine.hold = asyncio.Event()
    half = await slow.create()
    doomed = await slow.runtimes.resident(slow.me.scope, doomed.runtime.id)
    deleting = asyncio.ensure_future(order(slow, doomed, Verb.DELETE))
    await asyncio.sleep(0.05)
    deleting.cancel()
    again = await slow.restarted(OPTIONS)
    made = await again.runtimes.resident(again.me.scope, half.runtime.id)
    await until(lambda: made.runtime.status is Status.RUNNING)
    assert half.runtime.id in again.engine.deleted_layers
    await again.stop()


async def test_names_may_repeat_and_are_then_ambiguous(yard: Yard) -> None:
    new = NewRuntime(definition=Definition(), name="twin")
    first = await yard.runtimes.create(yard.me, new)
    assert (await yard.runtimes.get(yard.me.scope, "twin")).id == first.id
    second = await yard.runtimes.create(yard.me, new)
    with pytest.raises(AmbiguousName) as refused:
        await yard.runtimes.get(yard.me.scope, "twin")
    assert first.id in refused.value.message
    assert second.id in refused.value.message
    with pytest.raises(InvalidArgument):
        await yard.runtimes.get(yard.me.scope, "twin", names=False)


async def test_another_account_finds_nothing(yard: Yard) -> None:
    resident = await yard.create()
    _, token = await yard.identity.create_account("other", "Other")
    stranger = await yard.identity.authenticate(token)
    with pytest.raises(RuntimeNotFound):
        await yard.runtimes.get(stranger.scope, resident.runtime.id)
    assert (await yard.runtimes.counted(stranger.scope, (), 10)).total == 0
    await yard.secrets.create(yard.me, "mine", "value", 0)
    with pytest.raises(NotFound):
        await yard.secrets.get(stranger.scope, "mine")


async def test_lists_page_by_cursor_and_offset(yard: Yard) -> None:
    made = [(await yard.create()).runtime.id for _ in range(3)]
    first = await yard.runtimes.page(yard.me.scope, (), 2)
    second = await yard.runtimes.page(yard.me.scope, (), 2, first.next_cursor)
    assert [one.id for one in (*first.items, *second.items)] == made[::-1]
    assert second.next_cursor is None
    offset = await yard.runtimes.counted(yard.me.scope, (Status.RUNNING,), 2, 1)
    assert ([one.id for one in offset.page.items], offset.total) == (made[1::-1], 3)
    assert (await yard.runtimes.counted(yard.me.scope, (Status.PAUSED,), 2)).total == 0


async def test_account_has_so_many_runtimes_and_no_more(yard: Yard) -> None:
    for _ in range(OPTIONS.max_runtimes):
        await yard.create()
    with pytest.raises(TooManyRuntimes):
        await yard.create()


async def test_patch_takes_effect_in_the_living_sandbox(yard: Yard) -> None:
    resident = await yard.create()
    sandbox = yard.engine.living[resident.runtime.id]
    closed = EgressPolicy(mode=EgressMode.ALLOWLIST)
    patched = await yard.runtimes.patch(yard.me, resident, Patch(memory_mib=2048, egress=closed), 1)
    assert (patched.revision, sandbox.limits.memory_bytes, sandbox.network) == (2, 2 << 30, Network.NONE)
    with pytest.raises(RevisionConflict):
        await yard.runtimes.patch(yard.me, resident, Patch(display_name="x"), 1)
    with pytest.raises(InvalidArgument):
        await yard.runtimes.patch(yard.me, resident, Patch(memory_mib=1 << 40))


async def test_checkpoint_is_taken_frozen_and_restored_with_its_definition(yard: Yard) -> None:
    source = await yard.create(environment={"A": "1"}, resources=Resources(vcpus=2))
    taken = await yard.checkpoints.create(yard.me, source, CheckpointKind.FULL, None)
    assert (taken.state, taken.size_bytes) == (CheckpointState.READY, 42)
    assert taken.display_name.startswith(f"{source.runtime.display_name}-")
    assert yard.engine.frozen_at_capture == [True]
    assert not yard.engine.living[source.runtime.id].frozen
    restored = await yard.runtimes.create(yard.me, NewRuntime(definition=Definition(), checkpoint=taken.id))
    assert restored.display_name == source.runtime.display_name
    assert (restored.definition.environment, restored.definition.resources.vcpus) == ({"A": "1"}, 2)
    assert yard.engine.created[-1].restore_from == taken.id
    with pytest.raises(TransitionRefused):
        await yard.checkpoints.create(yard.me, source, CheckpointKind.COLD, None)
    await order(yard, source, Verb.DELETE)
    assert (await yard.checkpoints.get(yard.me.scope, taken.id)).source_runtime_id is None
    await yard.checkpoints.delete(yard.me, taken.id)
    assert yard.engine.checkpoints == {}


async def test_checkpoint_that_fails_or_is_interrupted_is_failed_and_leaves_nothing(yard: Yard) -> None:
    source = await yard.create()
    yard.engine.fail = FailedPrecondition("no room")
    failed = await yard.checkpoints.create(yard.me, source, CheckpointKind.FULL, "f")
    assert (failed.state, failed.error_code) == (CheckpointState.FAILED, "failed_precondition")
    with pytest.raises(CheckpointNotReady):
        await yard.runtimes.create(yard.me, NewRuntime(definition=Definition(), checkpoint="f"))
    yard.engine.fail = None
    hasty = await yard.restarted(replace(OPTIONS, settle_secs=0.01))
    source = await hasty.runtimes.resident(hasty.me.scope, source.runtime.id)
    await run(hasty, source, "true")
    hasty.engine.hold = asyncio.Event()
    half = await hasty.checkpoints.create(hasty.me, source, CheckpointKind.FULL, "half")
    assert half.state is CheckpointState.CREATING
    again = await hasty.restarted(OPTIONS)
    after = await again.checkpoints.get(again.me.scope, half.id)
    assert (after.state, after.error_code) == (CheckpointState.FAILED, "interrupted")
    await again.stop()


async def test_secret_reaches_environment_and_file_and_nothing_that_is_kept(yard: Yard) -> None:
    secret = await yard.secrets.create(yard.me, "key", "s3cr3t-value", 0)
    use = SecretUse(
        secret_id="key",
        environment=(SecretVariable(name="API_KEY", value_template="k=${secret}"),),
        files=(SecretFile(path=".config/key", value_template="${secret}\n"),),
    )
    resident = await yard.create(secrets=(use,))
    assert resident.runtime.definition.secrets[0].secret_id == secret.id
    assert "API_KEY=k=s3cr3t-value\n" in await run(yard, resident, "env")
    async with yard.files.reading(resident, ".config/key") as reader:
        assert b"".join([part async for part in reader.chunks()]) == b"s3cr3t-value\n"
    await run(yard, resident, "echo", "s3cr3t-value")
    for one in (await yard.executions.list(yard.me.scope, ExecutionFilter())).items:
        assert "s3cr3t" not in f"{one.command}{one.parameters}"
        for chunk in await yard.executions.output.read(one.id):
            assert b"s3cr3t" not in chunk.data
    await yard.secrets.put(yard.me, "key", "another-value", 3600)
    assert "API_KEY=k=another-value\n" in await run(yard, resident, "env")
    await yard.secrets.delete(yard.me, "key")
    assert "API_KEY" not in await run(yard, resident, "env")


async def test_secrets_survive_a_rotation_of_the_key(yard: Yard) -> None:
    await yard.secrets.create(yard.me, "key", "s3cr3t-value", 0)
    use = SecretUse(secret_id="key", environment=(SecretVariable(name="A", value_template="${secret}"),))
    resident = await yard.create(secrets=(use,))
    yard.vault.rotate()
    assert await yard.secrets.seal_again() == 1
    assert await yard.secrets.seal_again() == 0
    yard.vault.forget_old()
    assert "A=s3cr3t-value\n" in await run(yard, resident, "env")


async def test_secret_names_are_unique_and_some_are_reserved(yard: Yard) -> None:
    await yard.secrets.create(yard.me, "one", "v", 0)
    with pytest.raises(SecretExists):
        await yard.secrets.create(yard.me, "one", "v", 0)
    with pytest.raises(ReservedName):
        await yard.secrets.put(yard.me, "runta-own", "v", 0)
    with pytest.raises(InvalidArgument):
        await yard.secrets.create(yard.me, "two", "v", 3601)
    with pytest.raises(InvalidArgument):
        await yard.create(secrets=(SecretUse(secret_id="missing"),))


async def test_command_that_takes_too_long_gets_term_then_kill(yard: Yard) -> None:
    resident = await yard.create()
    stubborn: list[int] = []

    async def ignore(process: object) -> int:
        process.ignores.add(signal.SIGTERM)  # type: ignore[attr-defined]
        process.say("on\n")  # type: ignore[attr-defined]
        await asyncio.Event().wait()
        return 0

    yard.engine.programs["stubborn"] = ignore
    request = CommandRequest(argv=("stubborn",), timeout_secs=1)
    result = await yard.commands.run(yard.me, resident, request, ORIGIN)
    assert (result.exit_code, result.stdout, result.stderr) == (
        124,
        b"on\n",
        b"Command timed out after 1 seconds.\n",
    )
    stubborn = yard.engine.living[resident.runtime.id].processes[0].signals
    assert stubborn[:2] == [signal.SIGTERM, signal.SIGKILL]
    kept = await yard.executions.get(yard.me.scope, result.execution_id)
    assert (kept.status, kept.exit_code) == (Ended.TIMEOUT, 124)


async def test_command_is_canceled_through_the_ledger(yard: Yard) -> None:
    resident = await yard.create()
    pending = await yard.commands.begin(yard.me, resident, CommandRequest(argv=("forever",)), ORIGIN)
    await until(lambda: bool(yard.engine.living[resident.runtime.id].processes))
    await yard.executions.cancel(yard.me.scope, pending.handle.execution.id, actor="me", reason="enough")
    assert (await pending.result()).exit_code == 128 + signal.SIGTERM
    kept = await yard.executions.get(yard.me.scope, pending.handle.execution.id)
    assert (kept.status, kept.status_reason) == (Ended.CANCELED, "enough")


async def test_command_in_a_missing_folder_is_refused_and_recorded(yard: Yard) -> None:
    resident = await yard.create()
    with pytest.raises(BadWorkingDirectory):
        await run(yard, resident, "true", cwd="/missing")
    result = await yard.commands.run(yard.me, resident, CommandRequest(argv=("nothing",)), ORIGIN)
    assert (result.exit_code, result.stderr) == (127, b"nothing: not found\n")
    ended = (await yard.executions.list(yard.me.scope, ExecutionFilter())).items
    assert {one.status for one in ended} == {Ended.FAILED}
    assert resident.commands == yard.commands.running == 0


async def test_commands_beyond_the_limit_are_refused_for_now(yard: Yard) -> None:
    resident = await yard.create()
    running = [asyncio.ensure_future(run(yard, resident, "forever")) for _ in range(2)]
    await until(lambda: len(yard.engine.living[resident.runtime.id].processes) == 2)
    with pytest.raises(TooManyCommands):
        await run(yard, resident, "true")
    await order(yard, resident, Verb.STOP)
    await asyncio.gather(*running, return_exceptions=True)
    await order(yard, resident, Verb.START)
    assert await run(yard, resident, "echo", "free") == "free\n"


async def test_upload_that_breaks_off_leaves_nothing(yard: Yard) -> None:
    resident = await yard.create()

    async def break_off() -> None:
        async with yard.files.writing(resident, "/root/half") as writer:
            await writer.write(b"x" * (2 << 20))
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await break_off()
    assert [path for path in (yard.engine.folder / resident.runtime.id).rglob("*") if path.is_file()] == []
    async with yard.files.writing(resident, "whole") as writer:
        await writer.write(b"y" * 10)
        await writer.publish()
    async with yard.files.reading(resident, "/root/whole") as reader:
        assert reader.size == 10
