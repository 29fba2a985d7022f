"""The listing of the ledger: any filter over any rows gives what a plain model gives, and every filter has its index."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from runyard.database.engine import Database
from runyard.executions import queries, store
from runyard.executions.model import Execution, ExecutionFilter, Kind, Place, Status, Tenant, requested
from runyard.executions.queries import list_page
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.events import Event
from runyard.kernel.ids import ExecutionId, ProjectId, RuntimeId
from tests.support.executions import TestTenant, new_execution

BORN = datetime(2026, 3, 1, tzinfo=UTC)
PLACES = [RuntimeId.new() for _ in range(3)]
PROJECTS = [ProjectId.new() for _ in range(3)]


def made_up(tenants: Sequence[TestTenant], count: int, seed: int) -> list[Execution]:
    """Make executions of several tenants and projects, some at the very same microsecond."""
    chance = random.Random(seed)
    rows: list[Execution] = []
    moment = BORN
    for number in range(count):
        moment += timedelta(microseconds=chance.choice((0, 0, 1, 1000)))
        tenant = chance.choice(tenants)
        tenant = tenant.narrowed(*PROJECTS[: chance.randrange(4)])
        parents = [row for row in rows if row.account_id == tenant.account_id]
        parent = chance.choice(parents) if parents and chance.random() < 0.3 else None
        new = new_execution(
            tenant,
            f"job {number % 7}",
            kind=chance.choice((Kind.EXEC, Kind.PLAN)),
            actor=chance.choice(("ann", "bob")),
            door=chance.choice(("runta", "native")),
            place=chance.choice(
                (None, *(Place("runtime", place) for place in PLACES), Place("pool", PLACES[0]))
            ),
            command=chance.choice(("echo 100%_x", "ls", "LS Ünder")),
            labels=chance.choice(({}, {"team": "a"}, {"team": "b", "tier": "1"})),
            parent_id=None if parent is None else parent.id,
            root_id=None if parent is None else parent.root_id,
            request_id=chance.choice((None, "r1")),
        )
        status = chance.choice((Status.RUNNING, Status.SUCCEEDED, Status.FAILED))
        ended = None if status is Status.RUNNING else moment
        rows.append(msgspec.structs.replace(requested(new, moment).value, status=status, ended_at=ended))
    return rows


async def stored(database: Database, rows: Sequence[Execution]) -> None:
    for row in rows:
        async with database.transaction() as tx:
            await store.add(tx, row, (requested_event(row),))


def requested_event(row: Execution) -> Event:
    new = new_execution(TestTenant(row.account_id), id=row.id)
    return requested(new, row.created_at).event


def matches(
    row: Execution, wanted: ExecutionFilter
) -> bool:  # the model: one plain condition after the other
    place = row.place
    needle = (wanted.text or "").lower()
    return all(
        (
            not wanted.kinds or row.kind in wanted.kinds,
            not wanted.statuses or row.status in wanted.statuses,
            wanted.place_kind is None or (place is not None and place.kind == wanted.place_kind),
            wanted.place_id is None or (place is not None and place.id == wanted.place_id),
            wanted.actor is None or row.actor == wanted.actor,
            wanted.door is None or row.door == wanted.door,
            wanted.parent_id is None or row.parent_id == wanted.parent_id,
            wanted.root_id is None or row.root_id == wanted.root_id,
            wanted.request_id is None or row.request_id == wanted.request_id,
            not wanted.top_only or row.parent_id is None,
            all(row.labels.get(name) == value for name, value in wanted.labels.items()),
            needle in row.name.lower() or needle in row.command.lower(),
            wanted.created_from is None or row.created_at >= wanted.created_from,
            wanted.created_to is None or row.created_at < wanted.created_to,
        )
    )


def some_filter(chance: random.Random, rows: Sequence[Execution]) -> ExecutionFilter:
    """Combine up to three conditions."""
    row = chance.choice(rows)
    choices: dict[str, Any] = {
        "kinds": chance.choice(([Kind.EXEC], [Kind.PLAN, Kind.EXEC])),
        "statuses": chance.choice(([Status.RUNNING], [Status.FAILED, Status.SUCCEEDED], list(Status))),
        "place_kind": "runtime",
        "place_id": chance.choice(PLACES),
        "actor": chance.choice(("ann", "nobody")),
        "door": "runta",
        "parent_id": row.parent_id or row.id,
        "root_id": row.root_id,
        "request_id": "r1",
        "top_only": True,
        "labels": chance.choice(({"team": "a"}, {"team": "b", "tier": "1"}, {"team": "zzz"})),
        "text": chance.choice(("%_", "job 3", "JOB", "ls", "nothing")),
        "created_from": row.created_at,
        "created_to": row.created_at,
    }
    return ExecutionFilter(
        **{name: choices[name] for name in chance.sample(sorted(choices), chance.randrange(4))}
    )


async def everything(
    database: Database, scope: Tenant, wanted: ExecutionFilter, limit: int
) -> list[Execution]:
    found: list[Execution] = []
    cursor = None
    while True:
        async with database.read() as tx:
            page = await list_page(tx, database.name, scope, wanted, limit, cursor)
        assert len(page.items) <= limit
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("examined", [7, 5000])
async def test_list_any_filter_and_page_size_equals_the_model(
    database: Database, monkeypatch: pytest.MonkeyPatch, examined: int
) -> None:
    monkeypatch.setattr(queries, "EXAMINED", examined)
    tenants = [TestTenant(), TestTenant()]
    rows = made_up(tenants, 150, seed=examined)
    await stored(database, rows)
    chance = random.Random(examined)
    for _ in range(60):
        tenant = chance.choice(tenants)
        scope = tenant.narrowed(*PROJECTS[: chance.choice((0, 0, 1, 2, 3))])
        wanted = some_filter(chance, rows)
        expected = [
            row.id
            for row in reversed(rows)
            if row.account_id == scope.account_id
            and row.project_path.startswith(scope.project_path)
            and matches(row, wanted)
        ]
        found = await everything(database, scope, wanted, chance.choice((1, 3, 50)))
        assert [row.id for row in found] == expected, wanted


async def test_list_rows_come_whole(database: Database) -> None:
    tenant = TestTenant()
    rows = made_up([tenant], 20, seed=3)
    await stored(database, rows)
    assert await everything(database, tenant, ExecutionFilter(), 7) == rows[::-1]


async def test_list_bad_limit_or_cursor_is_refused(database: Database) -> None:
    async with database.read() as tx:
        for limit, cursor in ((0, None), (1001, None), (10, "x"), (10, "WyJhIiwxXQ"), (10, "WzFd")):
            with pytest.raises(InvalidArgument):
                await list_page(tx, database.name, TestTenant(), ExecutionFilter(), limit, cursor)


NARROW = TestTenant().narrowed(ProjectId.new())
PLANS: list[tuple[Tenant, ExecutionFilter, str]] = [
    (TestTenant(), ExecutionFilter(), "ix_executions_created"),
    (TestTenant(), ExecutionFilter(text="x"), "ix_executions_created"),
    (TestTenant(), ExecutionFilter(created_from=BORN, created_to=BORN), "ix_executions_created"),
    (TestTenant(), ExecutionFilter(statuses=[Status.FAILED]), "ix_executions_status"),
    (TestTenant(), ExecutionFilter(kinds=[Kind.PLAN]), "ix_executions_kind"),
    (TestTenant(), ExecutionFilter(actor="a"), "ix_executions_actor"),
    (TestTenant(), ExecutionFilter(door="runta"), "ix_executions_door"),
    (TestTenant(), ExecutionFilter(place_id="p"), "ix_executions_place_id"),
    (TestTenant(), ExecutionFilter(parent_id=ExecutionId.new()), "ix_executions_parent_id"),
    (TestTenant(), ExecutionFilter(labels={"a": "b"}), "PRIMARY KEY"),
    (
        TestTenant(),
        ExecutionFilter(place_id="p", statuses=[Status.FAILED], text="x"),
        "ix_executions_place_id",
    ),
    (NARROW, ExecutionFilter(), "ix_executions_project_path"),
    (NARROW, ExecutionFilter(statuses=[Status.FAILED]), "ix_executions_status"),
]


@pytest.mark.parametrize(("scope", "wanted", "index"), PLANS, ids=[str(place) for place in range(len(PLANS))])
async def test_list_filter_walks_its_index_without_sorting(
    tmp_path: Path, scope: Tenant, wanted: ExecutionFilter, index: str
) -> None:
    database = await Database.open(None, tmp_path)
    await database.create_all()
    try:
        async with database.read() as tx:
            plan = await queries._planned(tx, "sqlite", scope, wanted)
            for statement in (plan.first((5, 5), (1, 1), 51), plan.floor((5, 5))):
                sql = str(statement.compile(dialect=database.dialect, compile_kwargs={"literal_binds": True}))
                steps = [
                    str(row.detail)
                    for row in await tx.all(text("EXPLAIN QUERY PLAN " + sql.replace(":", "\\:")))
                ]
                assert any("SEARCH" in step and index in step for step in steps), steps
                assert not any("SCAN executions" in step or "TEMP B-TREE" in step for step in steps), steps
    finally:
        await database.close()
