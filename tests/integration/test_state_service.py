"""State versions, locks and grants on both databases: who wins, what is kept, what is on the disk."""

import asyncio
import base64
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from runyard.database.engine import Database
from runyard.database.errors import DatabaseUnavailable
from runyard.dialects.door import Call, Handler
from runyard.dialects.terraform.backend import BackendHandlers
from runyard.identity.model import Scope
from runyard.infrastructure.state.document import read_facts
from runyard.infrastructure.state.errors import (
    LockLost,
    NoState,
    StaleState,
    StateLocked,
    StateVersionNotFound,
)
from runyard.infrastructure.state.grants import LIFETIME, GrantService
from runyard.infrastructure.state.model import Lock, StateVersion, Writer
from runyard.infrastructure.state.service import How
from runyard.kernel.clock import utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import InvalidArgument, PermissionDenied, TooLarge, Unauthenticated
from runyard.kernel.ids import AccountId
from tests.support.states import ANN, BOB, States, state


@pytest.fixture
def states(database: Database, tmp_path: Path) -> States:
    return States(database, tmp_path)


async def test_write_grows_the_history_only_on_change(states: States) -> None:
    place = await states.place()
    with pytest.raises(NoState):
        await states.versions.read(place.id)
    first = await states.versions.write(place, ANN, state(1))
    again = await states.versions.write(place, ANN, state(1))
    second = await states.versions.write(place, BOB, state(2))
    assert (first.number, again.id, second.number) == (1, first.id, 2)
    version, body = await states.versions.read(place.id)
    assert (version.id, body) == (second.id, state(2))
    assert await states.versions.content(first) == state(1)
    page = await states.versions.history(place.id, 1)
    assert ([one.number for one in page.items], page.next_cursor) == ([2], "2")
    rest = await states.versions.history(place.id, 1, 2)
    assert ([one.created_by for one in rest.items], rest.next_cursor) == (["ann"], None)
    assert (await states.versions.numbered(place.id, 1)).id == first.id
    with pytest.raises(StateVersionNotFound):
        await states.versions.numbered(place.id, 3)
    assert len(states.digests()) == 2


async def test_write_what_does_not_follow_is_refused_unless_forced(states: States) -> None:
    place = await states.place()
    await states.versions.write(place, ANN, state(5))
    for stale in (state(4), state(5, secret="other"), state(6, lineage="another")):
        with pytest.raises(StaleState):
            await states.versions.write(place, ANN, stale)
    with pytest.raises(TooLarge):
        await states.versions.write(place, ANN, state(6, padding=2 << 20))
    forced = await states.versions.write(place, ANN, state(4), how=How(force=True))
    assert (forced.number, forced.facts.serial, forced.forced) == (2, 4, True)
    assert len(states.digests()) == 2


async def test_write_at_once_exactly_one_follows(states: States) -> None:
    place = await states.place()
    await states.versions.write(place, ANN, state(1))
    tries = [states.versions.write(place, ANN, state(2, secret=f"s{n}")) for n in range(8)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    won = [one for one in done if isinstance(one, StateVersion)]
    assert len(won) == 1
    assert all(isinstance(one, StateVersion | StaleState) for one in done), done
    assert (await states.versions.read(place.id))[0].id == won[0].id
    assert len(states.digests()) == 2


async def test_lock_parallel_takers_exactly_one_wins(states: States) -> None:
    place = await states.place()
    tries = [states.locks.acquire(place, ANN, f"id-{n}", {"Who": f"who-{n}"}) for n in range(12)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    won = [one for one in done if isinstance(one, Lock)]
    lost = [one for one in done if isinstance(one, StateLocked)]
    assert (len(won), len(lost)) == (1, 11), done
    assert {one.holder.lock_id for one in lost if one.holder} == {won[0].lock_id}
    assert (await states.locks.acquire(place, ANN, won[0].lock_id, {})).created_at == won[0].created_at
    with pytest.raises(StateLocked):
        await states.locks.acquire(place, BOB, won[0].lock_id, {})


async def test_lock_guards_writes_and_a_broken_one_is_of_no_more_use(states: States) -> None:
    place = await states.place()
    await states.locks.acquire(place, ANN, "one", {})
    for wrong in (None, "two"):
        with pytest.raises(StateLocked):
            await states.versions.write(place, BOB, state(1), how=How(lock_id=wrong))
    await states.versions.write(place, ANN, state(1), how=How(lock_id="one"))
    with pytest.raises(StateLocked):
        await states.locks.release(place, BOB, "two")
    with pytest.raises(StateLocked):
        await states.locks.break_lock(place, BOB, "two")
    broken = await states.locks.break_lock(place, BOB)
    assert broken is not None
    assert broken.actor == "ann"
    with pytest.raises(LockLost):
        await states.versions.write(place, ANN, state(2), how=How(lock_id="one"))
    assert await states.locks.release(place, ANN, "one") is None
    await states.locks.acquire(place, BOB, "two", {})
    assert await states.locks.release(place, BOB, "two") is not None
    assert (await states.versions.read(place.id))[0].number == 1


async def test_release_run_frees_its_lock_and_ends_its_credentials(
    states: States, database: Database
) -> None:
    place, other = await states.place(), await states.place()
    moment = [utc_now()]
    grants = GrantService(database, lambda: moment[0])
    secret = await grants.make(place, "run-1", "ann", writes=True)
    grant = await grants.recognise(secret)
    assert (grant.id, grant.writer) == (place.id, Writer(actor="ann", run_id="run-1"))
    await states.locks.acquire(place, ANN, "hers", {})
    with pytest.raises(StateLocked):
        await states.locks.release(grant, grant.writer, "hers")
    with pytest.raises(PermissionDenied):
        await states.locks.break_lock(grant, grant.writer)
    await states.locks.release(place, ANN, "hers")
    await states.locks.acquire(grant, grant.writer, "one", {})
    await states.locks.acquire(other, ANN, "one", {})
    with pytest.raises(StateLocked):
        await states.locks.release(place, Writer(actor="ann", run_id="run-2"), "one")
    assert await states.locks.release_run("run-1") == 1
    assert await states.locks.release_run("run-1") == 0
    assert await states.locks.holder(place.id) is None
    assert await states.locks.holder(other.id) is not None
    with pytest.raises(Unauthenticated):
        await grants.recognise(secret)
    second = await grants.make(place, "run-2", "ann", writes=False)
    moment[0] += LIFETIME + timedelta(seconds=1)
    with pytest.raises(Unauthenticated):
        await grants.recognise(second)


async def test_announced_version_counts_only_with_its_bytes(states: States) -> None:
    place = await states.place()
    body = state(1)
    announced = await states.versions.announce(place, ANN, read_facts(body))
    assert await states.versions.current(place.id) is None
    with pytest.raises(StateVersionNotFound):
        await states.versions.content(announced)
    with pytest.raises(InvalidArgument):
        await states.versions.finish(announced.id, state(2))
    kept = await states.versions.finish(announced.id, body)
    assert kept.number == 1
    assert (await states.versions.finish(announced.id, body)).number == 1
    same = await states.versions.announce(place, ANN, read_facts(body))
    assert same.id == announced.id
    with pytest.raises(StaleState):
        await states.versions.announce(place, ANN, read_facts(state(1, secret="x")))
    with pytest.raises(StateVersionNotFound):
        await states.versions.finish("f" * 24, body)
    assert (await states.versions.outputs(kept))["secret"].value == "plain"


async def test_get_version_of_another_tenant_is_not_found(states: States) -> None:
    place = await states.place()
    kept = await states.versions.write(place, ANN, state(1))
    own = Scope(place.account_id, place.project_id, place.project_path)
    assert (await states.versions.get(own, kept.id)).id == kept.id
    with pytest.raises(StateVersionNotFound):
        await states.versions.get(Scope(AccountId.new(), place.project_id, place.project_path), kept.id)
    with pytest.raises(StateVersionNotFound):
        await states.versions.get(Scope(place.account_id, place.project_id, "/0/1/"), kept.id)


async def test_nothing_of_a_state_is_on_the_disk_in_the_clear(states: States, tmp_path: Path) -> None:
    place, secret = await states.place(), "correct horse battery staple"
    await states.versions.write(place, ANN, state(1, secret=secret))
    await states.locks.acquire(place, ANN, "one", {})
    with pytest.raises(StateLocked):
        await states.versions.write(place, ANN, state(2, secret=secret))
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert secret.encode() not in content, path
            assert b"terraform_version" not in content or path.suffix in {".db", ".db-wal"}, path


async def test_sweep_removes_what_no_row_names_and_rotation_seals_again(states: States) -> None:
    place = await states.place()
    kept = await states.versions.write(place, ANN, state(1))
    orphan = states.blobs.put(b"nobody")
    assert await states.versions.sweep() == 0
    assert await states.versions.sweep(older_secs=0) == 1
    assert orphan not in states.digests()
    states.vault.rotate()
    assert await states.versions.seal_again() == 1
    assert await states.versions.seal_again() == 0
    states.vault.forget_old()
    assert (await states.versions.read(place.id))[1] == state(1)
    assert len(states.digests()) == 1
    fresh = await states.versions.numbered(place.id, 1)
    assert fresh.blob != kept.blob
    await states.versions.forget(place.id)
    assert states.digests() == set()
    assert await states.versions.current(place.id) is None


async def test_sealed_blob_of_one_version_does_not_open_as_another(states: States) -> None:
    place = await states.place()
    first = await states.versions.write(place, ANN, state(1))
    second = await states.versions.write(place, ANN, state(2))
    assert first.blob is not None
    with pytest.raises(Exception, match="cannot be opened"):
        await states.files.read(second.id, first.blob, bytes)


async def test_write_of_a_large_state_keeps_the_loop_free(states: States, database: Database) -> None:
    states.versions.max_bytes = 64 << 20
    body = state(1, padding=50 << 20)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    kept = await states.versions.write(await states.place(), ANN, body)
    assert await states.versions.content(kept) == body
    ticking.cancel()
    assert ticks > 3
    assert kept.facts.size == len(body)


def test_key_ring_of_another_folder_opens_nothing(tmp_path: Path) -> None:
    one, two = Vault(tmp_path / "a"), Vault(tmp_path / "b")
    with pytest.raises(Exception, match="cannot be opened"):
        two.open(one.seal(b"x", b"c"), b"c")


async def test_credential_of_a_plan_reads_and_locks_and_neither_writes_nor_breaks(states: States) -> None:
    """The code of a plan finds the credential in its environment: it must not forge the state that nobody approved."""
    place = await states.place()
    await states.versions.write(place, ANN, state(1))
    services = Mock(grants=GrantService(states.database), states=states.versions, locks=states.locks)
    handlers = BackendHandlers(services)
    secret = await services.grants.make(place, "run-1", "ann", writes=False)
    sent: list[int] = []

    async def ask(handler: Handler) -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": state(2)}

        async def send(message: Any) -> None:
            sent.append(message.get("status", 0))

        given = base64.b64encode(f"run:{secret}".encode())
        scope = {"type": "http", "headers": [(b"authorization", b"Basic " + given)], "query_string": b""}
        await handler(Call(scope, receive, send, {"workspace": str(place.id)}, "request"))

    await ask(handlers.read)
    assert sent[0] == 200
    with pytest.raises(PermissionDenied):
        await ask(handlers.write)
    await states.locks.acquire(place, BOB, "one", {})
    with pytest.raises(PermissionDenied):
        await ask(handlers.unlock)
    assert await states.locks.holder(place.id) is not None
    assert (await states.versions.read(place.id))[1] == state(1)


async def test_write_whose_end_is_not_known_keeps_its_bytes(states: States) -> None:
    """When the connection breaks during the commit, the row may be there: its bytes must be too."""
    place = await states.place()
    real = states.database.run

    async def breaks_after(work: Any) -> Any:
        await real(work)
        raise DatabaseUnavailable("the connection broke")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states.database, "run", breaks_after)
        with pytest.raises(DatabaseUnavailable):
            await states.versions.write(place, ANN, state(1))
    assert (await states.versions.read(place.id))[1] == state(1)
