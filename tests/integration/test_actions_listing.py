"""Lists of executions in the StackStorm way: any query over any rows gives what a plain model gives, on both databases."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from runyard.actions.ids import LiveActionId
from runyard.actions.runs import store as runs
from runyard.actions.runs.model import Cause, Run
from runyard.database.engine import Database
from runyard.dialects.stackstorm.filters import filter_of
from runyard.executions import store
from runyard.executions.model import Execution, Kind, Status, requested
from runyard.identity.model import Scope
from runyard.kernel.ids import ExecutionId
from tests.support.executions import TestTenant, new_execution

BORN = datetime(2026, 3, 1, tzinfo=UTC)
ACTIONS = {
    "core.local": "local-shell-cmd",
    "core.noop": "noop",
    "demo.a_b": "python-script",
    "demo.aB": "python-script",
}
STATUSES = (Status.SUCCEEDED, Status.FAILED, Status.RUNNING, Status.WAITING, Status.DELAYED)
NAMES = {
    "rule": ("alarm", "other rule"),
    "trigger": ("t1", "core.t2"),
    "trigger_type": ("st2.webhook", "st2.IntervalTimer"),
    "trigger_instance": ("a" * 24, "b" * 24),
}
FILTERS = ("id", "action", "status", "liveaction", "parent", "runner", "user", *NAMES)
MAY_LACK = {"parent", "liveaction", *NAMES}


@dataclass(frozen=True)
class Row:
    """What the model knows of an execution: the members by the names of the filters."""

    seq: int
    timestamp: datetime
    values: Mapping[str, str | None]

    def sort_key(self, name: str) -> Any:
        """Return what a sort by a name compares: nothing is less than everything."""
        if name == "timestamp":
            return self.timestamp
        value = self.values["action" if name == "name" else name]
        return (value is not None, value or "")


async def fill(database: Database, tenant: TestTenant, count: int, seed: int) -> list[Row]:
    """Write executions of all kinds, some at the same microsecond, some of another tenant, some of no action."""
    chance, moment = random.Random(seed), BORN
    rows: list[Row] = []
    written: list[tuple[TestTenant, Execution, Run | None]] = []
    for number in range(count):
        moment += timedelta(microseconds=chance.choice((0, 0, 1, 1000)))
        owner = tenant if chance.random() < 0.9 else TestTenant()
        ref = chance.choice([*ACTIONS, ""])
        parents = [row.values["id"] for row in rows if chance.random() < 0.05]
        execution = one_execution(
            owner, ref, chance, moment, parents[0] if parents and owner is tenant else None
        )
        run = one_run(execution, ref, chance) if ref else None
        written.append((owner, execution, run))
        if owner is tenant:
            rows.append(Row(number, moment, known_of(execution, run)))
    async with database.transaction() as tx:
        for owner, execution, run in written:
            event = requested(new_execution(owner, id=execution.id), execution.created_at).event
            await store.add(tx, execution, (event,))
            if run is not None:
                await runs.insert_run(tx, owner.account_id, run)
    return rows


def one_execution(
    owner: TestTenant, ref: str, chance: random.Random, moment: datetime, parent: Any
) -> Execution:
    new = new_execution(
        owner, ref or "elsewhere", kind=Kind.ACTION if ref else Kind.EXEC, actor=chance.choice(("ann", "Bob")),
        id=ExecutionId.new(), parent_id=parent, root_id=parent,
    )  # fmt: skip
    status = chance.choice(STATUSES)
    ended = moment if status in (Status.SUCCEEDED, Status.FAILED) else None
    return msgspec.structs.replace(requested(new, moment).value, status=status, ended_at=ended)


def one_run(execution: Execution, ref: str, chance: random.Random) -> Run:
    cause = None
    if chance.random() < 0.5:
        picked = {name: chance.choice((None, *values)) for name, values in NAMES.items()}
        cause = Cause(
            rule={"name": picked["rule"]} if picked["rule"] else {},
            trigger={"name": picked["trigger"]} if picked["trigger"] else {},
            trigger_type={"name": picked["trigger_type"]} if picked["trigger_type"] else {},
            trigger_instance={"id": picked["trigger_instance"]} if picked["trigger_instance"] else {},
        )
    return Run(
        execution_id=execution.id, liveaction_id=LiveActionId.new(), action_ref=ref, runner=ACTIONS[ref],
        user_name=execution.actor, created_at=execution.created_at, action={"ref": ref}, context={}, cause=cause,
    )  # fmt: skip


def known_of(execution: Execution, run: Run | None) -> dict[str, str | None]:
    cause = run.cause if run is not None else None
    return {
        "id": execution.id,
        "action": run.action_ref if run else "runyard.exec",
        "status": "pending" if execution.status is Status.WAITING else execution.status.value,
        "liveaction": run.liveaction_id if run else None,
        "parent": execution.parent_id,
        "runner": run.runner if run else "local-shell-cmd",
        "user": execution.actor,
        "rule": cause.rule.get("name") if cause else None,
        "trigger": cause.trigger.get("name") if cause else None,
        "trigger_type": cause.trigger_type.get("name") if cause else None,
        "trigger_instance": cause.trigger_instance.get("id") if cause else None,
    }


def wire(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def some_query(chance: random.Random, rows: Sequence[Row]) -> dict[str, str]:
    """Combine filters, an order and times."""
    query: dict[str, str] = {}
    for name in chance.sample(FILTERS, chance.choice((0, 1, 1, 2, 3))):
        if name == "id":
            query[name] = ",".join(str(row.values["id"]) for row in chance.sample(rows, 5))
            continue
        picked = chance.choice(rows).values[name]
        query[name] = chance.choice(
            (picked or "null", picked or "NULL", picked or "null", "nothing such", "null")
        )
    if chance.random() < 0.5:
        words = chance.sample((*FILTERS, "timestamp", "name", "bogus"), chance.choice((1, 2, 3)))
        query["sort"] = ",".join(chance.choice(("", "-", "+")) + word for word in words)
    first, last = (wire(chance.choice(rows).timestamp) for _ in range(2))
    query |= chance.choice(
        ({}, {}, {"timestamp_gt": first}, {"timestamp_lt": last}, {"timestamp_gt": first, "timestamp_lt": last},
         {"timestamp": f"{first}..{last}"}, {"sort_asc": "True"}, {"sort_desc": "1", "sort_asc": "1"})
    )  # fmt: skip
    return query


def expected(rows: Sequence[Row], query: Mapping[str, str]) -> list[str]:
    """Filter and sort as the documentation says: the model."""
    found = [row for row in rows if all(fits(row, name, query[name]) for name in FILTERS if name in query)]
    ascending = "sort_asc" in query and "sort_desc" not in query
    if "timestamp" in query:
        begin, end = query["timestamp"].split("..")
        found = [row for row in found if min(begin, end) <= wire(row.timestamp) <= max(begin, end)]
        ascending = begin < end
    if "timestamp_gt" in query:
        found, ascending = [row for row in found if wire(row.timestamp) > query["timestamp_gt"]], True
    if "timestamp_lt" in query:
        found, ascending = [row for row in found if wire(row.timestamp) < query["timestamp_lt"]], False
    words = [
        word
        for word in query.get("sort", "").split(",")
        if word.lstrip("+-") in (*FILTERS, "timestamp", "name")
    ]
    words = words or ["timestamp" if ascending else "-timestamp"]
    found.sort(key=lambda row: row.seq, reverse=words[0] not in ("timestamp", "+timestamp"))
    for word in reversed(words):
        found.sort(key=lambda row: row.sort_key(word.lstrip("+-")), reverse=word.startswith("-"))
    return [str(row.values["id"]) for row in found]


def fits(row: Row, name: str, wanted: str) -> bool:
    value = row.values[name]
    if wanted.lower() == "null":
        return value is None and name != "liveaction"
    return value in wanted.split(",") if name == "id" else value == wanted


def scope_of(tenant: TestTenant) -> Scope:
    """Return what a caller of a tenant sees."""
    return Scope(tenant.account_id, tenant.root_id, tenant.project_path)


async def listed(database: Database, tenant: TestTenant, query: Mapping[str, str], **more: Any) -> list[str]:
    wanted = msgspec.structs.replace(filter_of(query), **more)
    async with database.read() as tx:
        return list(await runs.page(tx, scope_of(tenant), wanted))


async def test_any_query_equals_the_model(database: Database) -> None:
    tenant, chance = TestTenant(), random.Random(20260301)
    rows = await fill(database, tenant, 160, seed=7)
    for _ in range(120):
        query = some_query(chance, rows)
        wanted = expected(rows, query)
        assert await listed(database, tenant, query) == wanted, query
        async with database.read() as tx:
            assert await runs.count(tx, scope_of(tenant), filter_of(query)) == len(wanted), query


async def test_pages_are_the_list_cut_into_pieces(database: Database) -> None:
    tenant, chance = TestTenant(), random.Random(4)
    rows = await fill(database, tenant, 60, seed=9)
    for _ in range(6):
        query, size = some_query(chance, rows), chance.choice((1, 7, 40))
        wanted = expected(rows, query)
        found: list[str] = []
        while True:
            page = await listed(database, tenant, query, offset=len(found), limit=size)
            found += page
            if len(page) < size:
                break
        assert found == wanted, query


async def test_owner_narrows_every_query(database: Database) -> None:
    tenant, chance = TestTenant(), random.Random(5)
    rows = await fill(database, tenant, 60, seed=11)
    own = [row for row in rows if row.values["user"] == "Bob"]
    for _ in range(30):
        query = some_query(chance, rows)
        assert await listed(database, tenant, query, owner="Bob") == expected(own, query), query
    scope = scope_of(tenant)
    async with database.read() as tx:
        assert await runs.newest(tx, scope, "Bob") == own[-1].values["id"]
        assert await runs.newest(tx, scope, "nobody") is None
        for name in ("action", "user", "rule", "trigger", "trigger_type", "runner", "status"):
            found = {row.values[name] for row in own} - {None}
            assert set(await runs.distinct(tx, scope, name, "Bob")) == found


async def test_sizes_tell_what_reading_executions_takes(database: Database) -> None:
    """By them long lists are read in parts: a result and the words of a run may be megabytes each."""
    tenant, chance, written = TestTenant(), random.Random(3), list[str]()
    async with database.transaction() as tx:
        for ref, result, words in (
            ("core.noop", None, 10),
            ("core.noop", 50_000, 10),
            ("core.noop", None, 80_000),
        ):
            made = one_execution(tenant, ref, chance, BORN, None)
            made = msgspec.structs.replace(made, result={"text": "x" * result} if result else None)
            run = msgspec.structs.replace(one_run(made, ref, chance), action={"ref": "y" * words})
            event = requested(new_execution(tenant, id=made.id), made.created_at).event
            await store.add(tx, made, (event,))
            await runs.insert_run(tx, tenant.account_id, run)
            if result:
                await runs.set_sealed_result(tx, made.id, b"z" * 7000)
            written.append(made.id)
        alone = one_execution(tenant, "", chance, BORN, None)
        await store.add(tx, alone, (requested(new_execution(tenant, id=alone.id), BORN).event,))
    names = [*written, alone.id]
    async with database.scan() as tx:
        whole = await runs.sizes_of(tx, names, results=True)
        short = await runs.sizes_of(tx, names, results=False)
    assert [whole[name] // 1000 for name in names] == [0, 57, 80, 0]
    assert [short[name] // 1000 for name in names] == [0, 0, 80, 0]
