"""SQL of task sets. Owns every statement on their tables; decides nothing and never commits."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row, Select, delete, exists, func, insert, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from runyard.database.engine import Transaction
from runyard.environments.packages.model import Version
from runyard.environments.tasksets.model import Content, Member, SetFilter, TaskSet
from runyard.environments.tasksets.tables import task_set_members, task_set_tags, task_sets
from runyard.identity.tables import accounts
from runyard.kernel.ids import AccountId, TaskSetId

_s, _m, _t = task_sets.c, task_set_members.c, task_set_tags.c


def _rows() -> Select[Any]:
    count = select(func.count()).where(_m.set_id == _s.id).scalar_subquery()
    joined = select(task_sets, accounts.c.slug.label("org"), count.label("member_count"))
    return joined.join(accounts, accounts.c.id == _s.account_id)


async def insert_set(tx: Transaction, row: Mapping[str, Any], content: Content) -> None:
    """Add a set with its members and tags. Raises UniqueViolation."""
    await tx.execute(insert(task_sets), dict(row))
    await _fill(tx, row["id"], content)


async def replace(tx: Transaction, set_id: str, changes: Mapping[str, Any], content: Content) -> None:
    """Give a set other content."""
    await tx.execute(update(task_sets).where(_s.id == set_id).values(**changes))
    await tx.execute(delete(task_set_members).where(_m.set_id == set_id))
    await tx.execute(delete(task_set_tags).where(_t.set_id == set_id))
    await _fill(tx, set_id, content)


async def _fill(tx: Transaction, set_id: str, content: Content) -> None:
    members = [
        {
            "set_id": set_id,
            "position": position,
            "task": member.task,
            "version": "" if member.version is None else str(member.version),
            "notes": member.notes,
        }
        for position, member in enumerate(content.members)
    ]
    if members:
        await tx.execute(insert(task_set_members), members)
    if content.tags:
        tags = [{"set_id": set_id, "tag": tag} for tag in dict.fromkeys(content.tags)]
        await tx.execute(insert(task_set_tags), tags)


async def lock(tx: Transaction, account_id: str, name: str) -> Row[Any] | None:
    """Read a set of an account for update."""
    wanted = (_s.account_id == account_id) & (_s.name == name)
    return await tx.one_or_none(select(task_sets).where(wanted).with_for_update())


async def set_values(tx: Transaction, set_id: str, changes: Mapping[str, Any]) -> None:
    """Change columns of a set."""
    await tx.execute(update(task_sets).where(_s.id == set_id).values(**changes))


async def remove(tx: Transaction, set_id: str) -> None:
    """Remove a set."""
    await tx.execute(delete(task_sets).where(_s.id == set_id))


async def find(tx: Transaction, account_id: str, name: str) -> TaskSet | None:
    """Read a set of an account."""
    row = await tx.one_or_none(_rows().where(_s.account_id == account_id, _s.name == name))
    return None if row is None else (await _whole(tx, [row]))[0]


async def members(tx: Transaction, set_id: str) -> Sequence[Member]:
    """Read the members of a set in their order."""
    rows = await tx.all(select(task_set_members).where(_m.set_id == set_id).order_by(_m.position))
    found = []
    for row in rows:
        org, _, name = row.task.partition("/")
        found.append(Member(org, name, Version.parse(row.version) if row.version else None, row.notes))
    return found


async def page(tx: Transaction, viewer: str, wanted: SetFilter) -> tuple[Sequence[TaskSet], int]:
    """Read one page of sets and count all that the filter matches."""
    matching = _filtered(_rows(), viewer, wanted)
    column = _s[wanted.sort_by]
    order = [column.desc(), _s.id.desc()] if wanted.descending else [column.asc(), _s.id.asc()]
    some = matching.order_by(*order).offset((wanted.page - 1) * wanted.limit).limit(wanted.limit)
    counting = _filtered(select(func.count()).select_from(task_sets), viewer, wanted)
    return await _whole(tx, await tx.all(some)), int(await tx.scalar(counting) or 0)


async def facets(tx: Transaction, viewer: str, wanted: SetFilter) -> Mapping[str, Sequence[tuple[str, int]]]:
    """Count the values by which sets can be filtered, the most frequent first, at most 200 each."""
    number = func.count().label("number")
    of_source = select(_s.source.label("value"), number).where(_s.source.is_not(None)).group_by(_s.source)
    of_tag = select(_t.tag.label("value"), number).join(task_sets, _s.id == _t.set_id).group_by(_t.tag)
    found: dict[str, Sequence[tuple[str, int]]] = {}
    for name, statement in (("source", of_source), ("tags", of_tag)):
        rows = await tx.all(_filtered(statement, viewer, wanted).order_by(func.count().desc()).limit(200))
        found[name] = [(row.value, row.number) for row in rows]
    return found


def _filtered(statement: Select[Any], viewer: str, wanted: SetFilter) -> Select[Any]:
    own = _s.account_id == viewer
    seen: ColumnElement[bool] = or_(own, _s.is_public) if wanted.include_public else own
    statement = statement.where(seen)
    if wanted.sources:
        statement = statement.where(_s.source.in_(wanted.sources))
    if wanted.tags:
        # By another name: the statement itself may count the same table.
        tagged = task_set_tags.alias()
        statement = statement.where(_s.id.in_(select(tagged.c.set_id).where(tagged.c.tag.in_(wanted.tags))))
    if wanted.search:
        statement = statement.where(_s.words.contains(wanted.search.lower(), autoescape=True))
    if wanted.contains is not None:
        refers = exists().where(_m.set_id == _s.id, _m.task == wanted.contains.task)
        if wanted.contains.version is not None:
            refers = refers.where(_m.version == str(wanted.contains.version))
        statement = statement.where(refers)
    return statement


async def _whole(tx: Transaction, rows: Sequence[Row[Any]]) -> list[TaskSet]:
    """Add the tags to sets."""
    tags: dict[str, list[str]] = {row.id: [] for row in rows}
    if rows:
        for row in await tx.all(select(task_set_tags).where(_t.set_id.in_(list(tags))).order_by(_t.tag)):
            tags[row.set_id].append(row.tag)
    return [
        TaskSet(
            id=TaskSetId(row.id),
            account_id=AccountId(row.account_id),
            org=row.org,
            name=row.name,
            public=bool(row.is_public),
            description=row.description,
            source=row.source,
            tags=tuple(tags[row.id]),
            member_count=row.member_count,
            created_at=row.created_at,
            updated_at=row.updated_at,
            created_by=row.created_by,
        )
        for row in rows
    ]
