"""The database port on both databases."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from runyard.database.engine import Database
from runyard.database.errors import DataFolderInUse, InvariantViolation, UniqueViolation
from runyard.database.tables import event_from_row, events
from runyard.executions.tables import assignments
from runyard.kernel.clock import utc_now
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.events import Event

ACCOUNT = "a" * 24


def event(kind: str = "test.happened", subject: str = "s1") -> Event:
    return Event(
        account_id=ACCOUNT,
        subject_kind="test",
        subject_id=subject,
        type=kind,
        actor="tester",
        at=utc_now(),
        body={"n": 1, "text": "ü"},
    )


async def stored(database: Database) -> list[Event]:
    async with database.read() as tx:
        return [event_from_row(row) for row in await tx.all(select(events).order_by(events.c.id))]


async def test_transaction_commit_keeps_rows_and_publishes(database: Database) -> None:
    wanted = event()
    with database.broker.subscribe("test:s1") as subscription:
        async with database.transaction() as tx:
            await tx.record(wanted)
        assert await subscription.next() == wanted
    (found,) = await stored(database)
    assert found.at == wanted.at
    assert found.body == wanted.body
    assert found.id == 1


async def test_transaction_error_rolls_back_and_publishes_nothing(database: Database) -> None:
    published: list[str] = []

    async def fail() -> None:
        async with database.transaction() as tx:
            await tx.record(event())
            tx.after_commit(lambda: published.append("no"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert published == []
    assert await stored(database) == []


async def test_error_of_a_statement_tells_no_value(database: Database) -> None:
    with pytest.raises(Exception, match="SQL") as raised:
        async with database.transaction() as tx:
            await tx.execute(
                select(events).where(events.c.subject_id == "s3cr3t\ud800", events.c.body == {"a": "\ud800"})
            )
    assert "s3cr3t" not in str(raised.value)


async def test_transactions_many_at_once_all_commit(database: Database) -> None:
    async def one(number: int) -> None:
        async with database.transaction() as tx:
            await tx.record(event(subject=f"s{number}"))
            await asyncio.sleep(0)

    await asyncio.gather(*(one(number) for number in range(50)))
    async with database.scan() as tx:
        assert await tx.scalar(select(func.count()).select_from(events)) == 50


async def test_transaction_canceled_waiter_leaves_the_lock_free(database: Database) -> None:
    entered = asyncio.Event()
    release = asyncio.Event()

    async def holder() -> None:
        async with database.transaction() as tx:
            await tx.record(event())
            entered.set()
            await release.wait()

    async def waiter() -> None:
        async with database.transaction() as tx:
            await tx.record(event(subject="never"))
            await asyncio.Event().wait()

    first = asyncio.create_task(holder())
    await entered.wait()
    second = asyncio.create_task(waiter())
    await asyncio.sleep(0)
    second.cancel()
    release.set()
    await asyncio.wait([first, second])
    async with database.transaction() as tx:
        await tx.record(event(subject="after"))
    assert [found.subject_id for found in await stored(database)] == ["s1", "after"]


async def test_read_sees_one_state_while_others_write(database: Database) -> None:
    async with database.read() as tx:
        before = await tx.scalar(select(func.count()).select_from(events))
        async with database.transaction() as writing:
            await writing.record(event())
        assert await tx.scalar(select(func.count()).select_from(events)) == before
    assert len(await stored(database)) == 1


async def test_unique_violation_names_the_constraint(database: Database) -> None:
    async def twice() -> None:
        async with database.transaction() as tx:
            for _ in range(2):
                row = {
                    "account_id": ACCOUNT,
                    "subject_kind": "t",
                    "subject_id": "x",
                    "type": "t",
                    "actor": "a",
                }
                await tx.execute(events.insert().values(id=7, at=utc_now(), **row))

    with pytest.raises(UniqueViolation) as caught:
        await twice()
    assert caught.value.constraint in {"pk_events", "events_pkey"}
    assert await stored(database) == []


async def test_check_violation_is_an_invariant(database: Database) -> None:
    with pytest.raises(InvariantViolation):
        async with database.transaction() as tx:
            await tx.execute(
                assignments.insert().values(
                    execution_id="b" * 24,
                    attempt=0,
                    pool="p",
                    priority=0,
                    key_limit=1,
                    runner="r",
                    document={},
                    offered_at=utc_now(),
                )
            )


async def test_scan_canceled_is_interrupted_and_the_next_one_works(tmp_path: Path) -> None:
    database = await Database.open(None, tmp_path)
    await database.create_all()
    try:

        async def endless() -> None:
            async with database.scan() as tx:
                await tx.execute(
                    text(
                        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
                    )
                )

        task = asyncio.create_task(endless())
        done, _ = await asyncio.wait([task], timeout=0.2)
        assert not done
        task.cancel()
        await asyncio.wait([task], timeout=10)
        assert task.cancelled()
        async with database.scan() as tx:
            assert await tx.scalar(select(func.count()).select_from(events)) == 0
    finally:
        await database.close()


async def test_open_unknown_scheme_is_refused(tmp_path: Path) -> None:
    for url in ("mysql://x/y", "sqlite://", "nonsense"):
        with pytest.raises(InvalidArgument):
            await Database.open(url, tmp_path)


@pytest.fixture
def held_folder(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A data folder that another process uses."""
    script = "import fcntl, sys\nf = open(sys.argv[1], 'w')\nfcntl.lockf(f, fcntl.LOCK_EX)\nprint('held', flush=True)\ninput()"
    command = [sys.executable, "-c", script, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield tmp_path, holder
        holder.kill()


async def test_open_folder_of_another_process_is_refused(
    held_folder: tuple[Path, subprocess.Popen[bytes]],
) -> None:
    folder, holder = held_folder
    with pytest.raises(DataFolderInUse):
        await Database.open(None, folder)
    holder.kill()
    holder.wait()
    opened = await Database.open(None, folder)
    await opened.close()


async def test_close_twice_is_harmless(tmp_path: Path) -> None:
    opened = await Database.open(None, tmp_path)
    await opened.close()
    await opened.close()
