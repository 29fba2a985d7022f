"""Statements on packs, actions and configurations. Owns the SQL; decides nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, delete, insert, or_, select, update

from runyard.actions.model import Action, ConfigSchema, Pack
from runyard.actions.tables import actions, disabled_runners, pack_configs, packs
from runyard.database.engine import Prepared, Transaction
from runyard.kernel.ids import AccountId


class StoredAction(msgspec.Struct, frozen=True, kw_only=True):
    """An action with what the store adds to it."""

    id: str
    action: Action
    changed_at: datetime | None
    """None for an action that comes with the product."""


class StoredPack(msgspec.Struct, frozen=True, kw_only=True):
    """A registered pack."""

    id: str
    pack: Pack
    schema: ConfigSchema | None = None


CONFIG = Prepared(
    select(pack_configs.c.id, pack_configs.c.sealed).where(
        pack_configs.c.account_id == bindparam("of_account"), pack_configs.c.pack == bindparam("of_pack")
    ),
    ("of_account", "of_pack"),
)


async def action_by_ref(tx: Transaction, account: AccountId, pack: str, name: str) -> StoredAction | None:
    """Read an action by its name in a pack."""
    wanted = (actions.c.account_id == account) & (actions.c.pack == pack) & (actions.c.name == name)
    return _action(await tx.one_or_none(select(actions).where(wanted)))


async def action_by_id(tx: Transaction, account: AccountId, action_id: str) -> StoredAction | None:
    """Read an action by its id."""
    wanted = (actions.c.account_id == account) & (actions.c.id == action_id)
    return _action(await tx.one_or_none(select(actions).where(wanted)))


async def all_actions(tx: Transaction, account: AccountId) -> Sequence[StoredAction]:
    """Read all actions of an account, by pack and name."""
    found = select(actions).where(actions.c.account_id == account).order_by(actions.c.pack, actions.c.name)
    return [one for row in await tx.all(found) if (one := _action(row)) is not None]


async def put_action(tx: Transaction, account: AccountId, stored: StoredAction) -> None:
    """Write an action by its id, new or changed. Raises UniqueViolation."""
    values = {
        "pack": stored.action.pack,
        "name": stored.action.name,
        "document": msgspec.to_builtins(stored.action),
        "changed_at": stored.changed_at,
    }
    wanted = (actions.c.account_id == account) & (actions.c.id == stored.id)
    if (await tx.execute(update(actions).where(wanted).values(values))).rowcount == 0:
        await tx.execute(insert(actions).values(id=stored.id, account_id=account, **values))


async def delete_action(tx: Transaction, account: AccountId, action_id: str) -> None:
    """Remove an action."""
    await tx.execute(delete(actions).where((actions.c.account_id == account) & (actions.c.id == action_id)))


async def disabled_runner_types(tx: Transaction, account: AccountId) -> frozenset[str]:
    """Read the names of the runner types that an account has switched off."""
    rows = await tx.all(select(disabled_runners.c.name).where(disabled_runners.c.account_id == account))
    return frozenset(row.name for row in rows)


async def switch_runner(tx: Transaction, account: AccountId, name: str, *, enabled: bool) -> None:
    """Switch a runner type of an account on or off. Raises UniqueViolation when somebody else does it now."""
    wanted = (disabled_runners.c.account_id == account) & (disabled_runners.c.name == name)
    await tx.execute(delete(disabled_runners).where(wanted))
    if not enabled:
        await tx.execute(insert(disabled_runners).values(account_id=account, name=name))


async def all_packs(tx: Transaction, account: AccountId) -> Sequence[StoredPack]:
    """Read all packs of an account, by name."""
    rows = await tx.all(select(packs).where(packs.c.account_id == account).order_by(packs.c.ref))
    return [_pack(row) for row in rows]


async def pack_named(tx: Transaction, account: AccountId, ref_or_id: str) -> StoredPack | None:
    """Read a pack by its name or id."""
    named = or_(packs.c.ref == ref_or_id, packs.c.id == ref_or_id)
    row = await tx.one_or_none(select(packs).where(packs.c.account_id == account, named))
    return None if row is None else _pack(row)


async def config_of(tx: Transaction, account: AccountId, pack: str) -> tuple[str, bytes] | None:
    """Read the configuration of a pack: id and sealed values."""
    rows = await tx.fetch(CONFIG, (account, pack))
    return (rows[0][0], bytes(rows[0][1])) if rows else None


async def put_pack(tx: Transaction, account: AccountId, stored: StoredPack, now: datetime) -> StoredPack:
    """Write a pack by its name, new or changed; one that was there keeps its id."""
    wanted = (packs.c.account_id == account) & (packs.c.ref == stored.pack.ref)
    values = {
        "document": msgspec.to_builtins(stored.pack),
        "schema": None if stored.schema is None else dict(stored.schema.attributes),
        "registered_at": now,
    }
    known = await tx.scalar(select(packs.c.id).where(wanted))
    if known is None:
        await tx.execute(
            insert(packs).values(id=stored.id, account_id=account, ref=stored.pack.ref, **values)
        )
        return stored
    await tx.execute(update(packs).where(wanted).values(values))
    return msgspec.structs.replace(stored, id=known)


async def delete_pack(tx: Transaction, account: AccountId, ref: str) -> None:
    """Remove a pack and its actions."""
    await tx.execute(delete(actions).where((actions.c.account_id == account) & (actions.c.pack == ref)))
    await tx.execute(delete(packs).where((packs.c.account_id == account) & (packs.c.ref == ref)))


async def configs(tx: Transaction, account: AccountId) -> Sequence[tuple[str, str, bytes]]:
    """Read the configurations of an account: pack, id, sealed values."""
    rows = await tx.all(
        select(pack_configs).where(pack_configs.c.account_id == account).order_by(pack_configs.c.pack)
    )
    return [(row.pack, row.id, row.sealed) for row in rows]


async def put_config(tx: Transaction, account: AccountId, pack: str, config_id: str, sealed: bytes) -> None:
    """Write the configuration of a pack."""
    wanted = (pack_configs.c.account_id == account) & (pack_configs.c.pack == pack)
    if (await tx.execute(update(pack_configs).where(wanted).values(sealed=sealed))).rowcount == 0:
        await tx.execute(
            insert(pack_configs).values(account_id=account, pack=pack, id=config_id, sealed=sealed)
        )


def _action(row: Row[Any] | None) -> StoredAction | None:
    if row is None:
        return None
    return StoredAction(id=row.id, action=msgspec.convert(row.document, Action), changed_at=row.changed_at)


def _pack(row: Row[Any]) -> StoredPack:
    pack = msgspec.convert(row.document, Pack)
    schema = None if row.schema is None else ConfigSchema(pack=pack.ref, attributes=row.schema)
    return StoredPack(id=row.id, pack=pack, schema=schema)
