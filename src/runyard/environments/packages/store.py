"""SQL of task packages. Owns every statement on their tables; decides nothing and never commits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, Select, case, delete, exists, func, insert, or_, select, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from runyard.database.engine import Transaction
from runyard.environments.packages.model import TaskFilter, Version
from runyard.environments.packages.tables import package_blobs, task_packages, task_tags, task_versions
from runyard.identity.tables import accounts

_p, _v, _b = task_packages.c, task_versions.c, package_blobs.c
SORTS: Final[Mapping[str, ColumnElement[Any]]] = {
    "name": _v.name,
    "difficulty": case({"easy": "1", "medium": "2", "hard": "3"}, value=_v.difficulty, else_=_v.difficulty),
    "source": _v.source,
    "author": _v.author,
    "created_at": _v.created_at,
    "file_size": _v.size,
}
"""What a listing can be sorted by; the known difficulties by how hard they are."""


def _rows() -> Select[Any]:
    """Select versions with what their package and account add."""
    return (
        select(task_versions, _p.is_public, accounts.c.slug.label("org"))
        .join(task_packages, _p.id == _v.package_id)
        .join(accounts, accounts.c.id == _v.account_id)
    )


def _seen_by(viewer: str, *, public: bool) -> ColumnElement[bool]:
    return or_(_v.account_id == viewer, _p.is_public) if public else _v.account_id == viewer


# --- packages ---


async def lock_package(tx: Transaction, account_id: str, name: str) -> Row[Any] | None:
    """Read one package for update."""
    wanted = (_p.account_id == account_id) & (_p.name == name)
    return await tx.one_or_none(select(task_packages).where(wanted).with_for_update())


async def insert_package(tx: Transaction, row: Mapping[str, Any]) -> None:
    """Add a package. Raises UniqueViolation."""
    await tx.execute(insert(task_packages), dict(row))


async def set_public(tx: Transaction, package_id: str, *, public: bool) -> None:
    """Show a package to everybody or to its account only."""
    await tx.execute(update(task_packages).where(_p.id == package_id).values(is_public=public))


async def delete_package(tx: Transaction, package_id: str) -> None:
    """Remove a package with its versions."""
    await tx.execute(delete(task_packages).where(_p.id == package_id))


# --- versions ---


async def insert_version(tx: Transaction, row: Mapping[str, Any], tags: Sequence[str]) -> None:
    """Add a version and its tags. Raises UniqueViolation, ReferenceViolation for a blob that is not there."""
    await tx.execute(insert(task_versions), dict(row))
    if tags:
        await tx.execute(insert(task_tags), [{"version_id": row["id"], "tag": tag} for tag in tags])


async def delete_version(tx: Transaction, package_id: str, version: Version) -> str | None:
    """Remove a version and return its id; None when there was none."""
    found = await tx.scalar(select(_v.id).where(_v.package_id == package_id, _is(version)))
    if found is None:
        return None
    await tx.execute(delete(task_tags).where(task_tags.c.version_id == found))
    await tx.execute(delete(task_versions).where(_v.id == found))
    return str(found)


async def mark_latest(tx: Transaction, package_id: str) -> bool:
    """Mark the highest version of a package as its latest, and no other; tell whether it has any."""
    of_package = _v.package_id == package_id
    await tx.execute(update(task_versions).where(of_package & _v.latest).values(latest=False))
    highest = select(_v.id).where(of_package).order_by(*_highest_first()).limit(1)
    found = await tx.scalar(highest)
    if found is None:
        return False
    await tx.execute(update(task_versions).where(_v.id == found).values(latest=True))
    return True


async def find(tx: Transaction, account_id: str, name: str, version: Version | None) -> Row[Any] | None:
    """Read a version of an account's task; None means the latest one."""
    named = (_v.account_id == account_id) & (_v.name == name)
    return await tx.one_or_none(_rows().where(named, _v.latest if version is None else _is(version)))


async def find_public(tx: Transaction, name: str, version: Version | None) -> Sequence[Row[Any]]:
    """Read the public tasks of a name, of any account, at most two."""
    which = _v.latest if version is None else _is(version)
    public = _rows().where(_p.is_public, _p.name == name, which).order_by(_p.created_at).limit(2)
    return await tx.all(public)


async def named(tx: Transaction, tasks: Sequence[tuple[str, str]]) -> Sequence[Row[Any]]:
    """Read all versions of tasks that are given as slug of the account and name."""
    columns = select(
        accounts.c.slug.label("org"),
        _v.account_id,
        _v.name,
        _v.major,
        _v.minor,
        _v.patch,
        _v.latest,
        _p.is_public,
    )
    joined = columns.join(task_packages, _p.id == _v.package_id).join(
        accounts, accounts.c.id == _v.account_id
    )
    return await tx.all(joined.where(tuple_(accounts.c.slug, _v.name).in_(tasks)))


async def by_manifest(tx: Transaction, account_id: str, name: str, digest: str) -> Row[Any] | None:
    """Read a version of an account's task by the digest of its manifest."""
    named = (_v.account_id == account_id) & (_v.name == name) & (_v.manifest_digest == digest)
    return await tx.one_or_none(_rows().where(named).limit(1))


async def versions(tx: Transaction, account_id: str, name: str) -> Sequence[Version]:
    """Read the versions of an account's task, the highest first."""
    named = (_v.account_id == account_id) & (_v.name == name)
    rows = await tx.all(select(_v.major, _v.minor, _v.patch).where(named).order_by(*_highest_first()))
    return [Version(row.major, row.minor, row.patch) for row in rows]


async def page(tx: Transaction, viewer: str, wanted: TaskFilter) -> tuple[Sequence[Row[Any]], int]:
    """Read one page of the latest versions and count all that the filter matches."""
    matching = _filtered(_rows(), viewer, wanted)
    column = SORTS[wanted.sort_by]
    order = [column.desc(), _v.id.desc()] if wanted.descending else [column.asc(), _v.id.asc()]
    some = matching.order_by(*order).offset((wanted.page - 1) * wanted.limit).limit(wanted.limit)
    total = await tx.scalar(select(func.count()).select_from(matching.subquery()))
    return await tx.all(some), int(total or 0)


async def facets(
    tx: Transaction, viewer: str, *, include_public: bool
) -> Mapping[str, Sequence[tuple[str, int]]]:
    """Count the values by which the latest versions can be filtered, the most frequent first, at most 200 each."""
    wanted = TaskFilter(include_public=include_public)
    found: dict[str, Sequence[tuple[str, int]]] = {}
    for name, column in (("difficulty", _v.difficulty), ("source", _v.source), ("author", _v.author)):
        found[name] = await _counted(tx, _filtered(_joined(column), viewer, wanted), column)
    tagged = _joined(task_tags.c.tag).join(task_tags, task_tags.c.version_id == _v.id)
    found["tags"] = await _counted(tx, _filtered(tagged, viewer, wanted), task_tags.c.tag)
    return found


def _joined(column: ColumnElement[Any]) -> Select[Any]:
    counted = select(column.label("value"), func.count().label("number"))
    return counted.select_from(task_versions).join(task_packages, _p.id == _v.package_id)


async def _counted(
    tx: Transaction, statement: Select[Any], column: ColumnElement[Any]
) -> Sequence[tuple[str, int]]:
    grouped = statement.where(column.is_not(None)).group_by(column)
    rows = await tx.all(grouped.order_by(func.count().desc(), column).limit(200))
    return [(row.value, row.number) for row in rows]


def _filtered(statement: Select[Any], viewer: str, wanted: TaskFilter) -> Select[Any]:
    statement = statement.where(_v.latest, _seen_by(viewer, public=wanted.include_public))
    for column, values in (
        (_v.difficulty, wanted.difficulties),
        (_v.author, wanted.authors),
        (_v.source, wanted.sources),
    ):
        if values:
            statement = statement.where(column.in_(values))
    if wanted.tags:
        tagged = exists().where(task_tags.c.version_id == _v.id, task_tags.c.tag.in_(wanted.tags))
        statement = statement.where(tagged)
    if wanted.search:
        statement = statement.where(_v.words.contains(wanted.search.lower(), autoescape=True))
    return statement


def _is(version: Version) -> ColumnElement[bool]:
    return (_v.major == version.major) & (_v.minor == version.minor) & (_v.patch == version.patch)


def _highest_first() -> tuple[ColumnElement[Any], ...]:
    return _v.major.desc(), _v.minor.desc(), _v.patch.desc()


# --- blobs ---


async def blob_size(tx: Transaction, account_id: str, digest: str) -> int | None:
    """Read the size of a blob of an account."""
    size = await tx.scalar(select(_b.size).where(_b.account_id == account_id, _b.digest == digest))
    return None if size is None else int(size)


async def keep_blob(tx: Transaction, account_id: str, digest: str, size: int, now: datetime) -> None:
    """Note that an account has a blob, once. Raises UniqueViolation when another one notes it at the same time."""
    if not await touch_blob(tx, account_id, digest, now):
        row = {"account_id": account_id, "digest": digest, "size": size, "used_at": now}
        await tx.execute(insert(package_blobs), row)


async def touch_blob(tx: Transaction, account_id: str, digest: str, now: datetime) -> bool:
    """Note that an account's blob is about to be used; tell whether there is one."""
    of_account = (_b.account_id == account_id) & (_b.digest == digest)
    return bool((await tx.execute(update(package_blobs).where(of_account).values(used_at=now))).rowcount)


async def bytes_of(tx: Transaction, account_id: str) -> int:
    """Read how many bytes the blobs of an account have together."""
    return int(await tx.scalar(select(func.sum(_b.size)).where(_b.account_id == account_id)) or 0)


async def is_public_blob(tx: Transaction, account_id: str, digest: str) -> bool:
    """Tell whether a public task of an account consists of a blob."""
    uses = (_v.config_digest == digest) | (_v.layer_digest == digest)
    public = select(_v.id).join(task_packages, _p.id == _v.package_id)
    found = public.where(_v.account_id == account_id, uses, _p.is_public).limit(1)
    return await tx.scalar(found) is not None


async def unused_blobs(tx: Transaction, before: datetime, limit: int) -> Sequence[tuple[str, str]]:
    """Read the blobs that no version uses and nobody has asked for since a time: pairs of account and digest."""
    same = _v.account_id == _b.account_id
    used = exists().where(same, or_(_v.config_digest == _b.digest, _v.layer_digest == _b.digest))
    rows = await tx.all(select(_b.account_id, _b.digest).where(_b.used_at < before, ~used).limit(limit))
    return [(row.account_id, row.digest) for row in rows]


async def drop_blob(tx: Transaction, account_id: str, digest: str, before: datetime) -> None:
    """Forget an account's blob unless it was used since a time. Raises ReferenceViolation when a version uses it."""
    stale = (_b.account_id == account_id) & (_b.digest == digest) & (_b.used_at < before)
    await tx.execute(delete(package_blobs).where(stale))


async def used_blobs(tx: Transaction, digests: Sequence[str]) -> set[str]:
    """Return those of some digests that are blobs of an account."""
    return {row.digest for row in await tx.all(select(_b.digest).where(_b.digest.in_(digests)).distinct())}


async def used_layers(tx: Transaction, digests: Sequence[str]) -> set[str]:
    """Return those of some digests that are layers of a version."""
    rows = await tx.all(select(_v.layer_digest).where(_v.layer_digest.in_(digests)).distinct())
    return {row.layer_digest for row in rows}
