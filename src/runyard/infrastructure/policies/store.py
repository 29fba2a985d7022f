"""Statements on policies and shared packages. Owns the SQL; decides nothing."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, delete, func, insert, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Scope
from runyard.identity.scoping import scoped, visible
from runyard.infrastructure.policies.model import Policy, PolicyPackage
from runyard.infrastructure.policies.tables import policies, policy_packages
from runyard.kernel.ids import AccountId

_p, _k = policies.c, policy_packages.c


async def all_policies(tx: Transaction, scope: Scope) -> Sequence[Policy]:
    """Read the policies in a scope, newest first."""
    rows = await tx.all(
        scoped(select(policies), policies, scope).order_by(_p.created_at.desc(), _p.id.desc())
    )
    return [_policy(row) for row in rows]


async def enabled(tx: Transaction, account: AccountId) -> Sequence[Policy]:
    """Read all policies of an account that count, oldest first."""
    wanted = (_p.account_id == account) & _p.enabled.is_(True)
    return [_policy(row) for row in await tx.all(select(policies).where(wanted).order_by(_p.id))]


async def count(tx: Transaction, account: AccountId) -> int:
    """Count the policies of an account."""
    counted = select(func.count()).select_from(policies).where(_p.account_id == account)
    return int(await tx.scalar(counted) or 0)


async def find(tx: Transaction, scope: Scope, policy_id: str) -> Policy | None:
    """Read a policy."""
    row = await tx.one_or_none(scoped(select(policies), policies, scope).where(_p.id == policy_id))
    return None if row is None else _policy(row)


async def add(tx: Transaction, policy: Policy) -> None:
    """Write a new policy."""
    await tx.execute(insert(policies).values(msgspec.structs.asdict(policy)))


async def change(tx: Transaction, scope: Scope, policy: Policy) -> int:
    """Write the fields of a policy; return how many there were."""
    values = msgspec.structs.asdict(policy)
    for fixed in ("id", "account_id", "project_id", "project_path", "created_by", "created_at"):
        del values[fixed]
    wanted = visible(policies, scope) & (_p.id == policy.id)
    return (await tx.execute(update(policies).where(wanted).values(values))).rowcount


async def remove(tx: Transaction, scope: Scope, policy_id: str) -> int:
    """Remove a policy; return how many there were."""
    wanted = visible(policies, scope) & (_p.id == policy_id)
    return (await tx.execute(delete(policies).where(wanted))).rowcount


async def packages(tx: Transaction, account: AccountId) -> Sequence[PolicyPackage]:
    """Read the shared packages of an account, by name."""
    rows = await tx.all(select(policy_packages).where(_k.account_id == account).order_by(_k.name))
    return [
        PolicyPackage(name=row.name, code=row.code, updated_by=row.updated_by, updated_at=row.updated_at)
        for row in rows
    ]


async def put_package(tx: Transaction, account: AccountId, package: PolicyPackage) -> None:
    """Write a shared package, new or changed."""
    values = msgspec.structs.asdict(package)
    wanted = (_k.account_id == account) & (_k.name == package.name)
    if (await tx.execute(update(policy_packages).where(wanted).values(values))).rowcount == 0:
        await tx.execute(insert(policy_packages).values(account_id=account, **values))


async def remove_package(tx: Transaction, account: AccountId, name: str) -> int:
    """Remove a shared package; return how many there were."""
    wanted = (_k.account_id == account) & (_k.name == name)
    return (await tx.execute(delete(policy_packages).where(wanted))).rowcount


def _policy(row: Row[Any]) -> Policy:
    return Policy(**row._mapping)
