"""Verbs of roles: apply definitions, list them, and tell what a caller may do. Owns the cache of that.

Roles bind the one door that asks for them. A caller with the permission `admin` is an administrator here too; everybody
else may do what the roles assigned to the user grant, whatever the membership says, and never more than the token allows.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, delete, insert, select

from runyard.actions.access.model import (
    ADMIN,
    SYSTEM_ADMIN,
    SYSTEM_ROLES,
    Access,
    Assignment,
    Definitions,
    Grant,
    Role,
)
from runyard.actions.access.tables import action_role_assignments, action_roles
from runyard.actions.ids import AssignmentId, RoleId, settled_id
from runyard.database.engine import Database, Transaction
from runyard.identity.model import Permission, Principal
from runyard.identity.scoping import is_whole_account
from runyard.identity.tables import accounts
from runyard.kernel.clock import Now, monotonic, utc_now
from runyard.kernel.errors import PermissionDenied
from runyard.kernel.ids import AccountId

_r, _a = action_roles.c, action_role_assignments.c
_CACHED: Final = 10_000
_CACHE_SECONDS: Final = 30.0
"""How long another server process on the same database may go on by roles that were replaced here."""


class AccessService:
    """Who may do what."""

    def __init__(self, database: Database, *, enforced: bool, isolated: bool, now: Now = utc_now) -> None:
        """Work on a database. `enforced`: grants are asked for; `isolated`: users see their own executions only."""
        self.enforced = enforced
        self._isolated = isolated
        self._database = database
        self._now = now
        self._cache: dict[tuple[str, str, bool], tuple[float, Access]] = {}
        self._applied = 0

    async def of(self, caller: Principal) -> Access:
        """Return what a caller may do."""
        admin = caller.may(Permission.ADMIN)
        if not self.enforced:
            return Access(user=caller.user_name, is_admin=admin, isolated=self._isolated)
        if admin:
            return Access(user=caller.user_name, is_admin=True, enforced=True, roles=(ADMIN,))
        key = (str(caller.scope.account_id), caller.user_name, caller.scoped(Permission.ADMIN))
        known = self._cache.get(key)
        if known is not None and known[0] > monotonic():
            return known[1]
        applied = self._applied
        found = await self._held(caller)
        if applied != self._applied:
            # Roles were replaced after they were read: what was read must not live on in the cache.
            return await self.of(caller)
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        self._cache[key] = (monotonic() + _CACHE_SECONDS, found)
        return found

    async def _held(self, caller: Principal) -> Access:
        wanted = (_a.account_id == caller.scope.account_id) & (_a.user_name == caller.user_name)
        async with self._database.read() as tx:
            names = [row.role for row in await tx.all(select(_a.role).where(wanted).order_by(_a.role))]
            roles = [one for one in await self._defined(tx, caller.scope.account_id) if one.name in names]
        held = tuple(name for name in names if name in SYSTEM_ROLES or any(one.name == name for one in roles))
        grants = tuple(grant for one in roles if one.enabled for grant in one.grants)
        admin = caller.scoped(Permission.ADMIN) and (ADMIN in held or SYSTEM_ADMIN in held)
        return Access(
            user=caller.user_name,
            is_admin=admin,
            enforced=True,
            isolated=self._isolated,
            roles=held,
            grants=grants,
        )

    async def roles(self, account: AccountId) -> list[Role]:
        """List all roles by name, those of the system included."""
        async with self._database.read() as tx:
            own = await self._defined(tx, account)
        return sorted([*system_roles(), *own], key=lambda one: one.name)

    async def _defined(self, tx: Transaction, account: AccountId) -> list[Role]:
        rows = await tx.all(select(action_roles).where(_r.account_id == account).order_by(_r.name))
        return [_role(row) for row in rows]

    async def assignments(self, account: AccountId) -> list[Assignment]:
        """List who holds which role, by user and role."""
        statement = select(action_role_assignments).where(_a.account_id == account)
        async with self._database.read() as tx:
            rows = await tx.all(statement.order_by(_a.user_name, _a.role))
        return [
            Assignment(id=row.id, user=row.user_name, role=row.role, description=row.description)
            for row in rows
        ]

    async def apply(self, caller: Principal, wanted: Definitions) -> None:
        """Put definitions in the place of all that were there, at once. They hold in the whole account, so that nobody who
        administers a part of it may write them. Raises PermissionDenied.
        """
        caller.require(Permission.ADMIN)
        if not is_whole_account(caller.scope):
            raise PermissionDenied(
                "roles hold in the whole account: an administrator of all of it defines them"
            )
        await self._replace(caller.scope.account_id, wanted)
        self._applied += 1
        self._cache.clear()

    async def _replace(self, account: AccountId, wanted: Definitions) -> None:
        now = self._now()
        async with self._database.transaction() as tx:
            # One after the other: two that delete and insert beside each other would leave a mixture of both.
            await tx.execute(select(accounts.c.id).where(accounts.c.id == account).with_for_update())
            await tx.execute(delete(action_role_assignments).where(_a.account_id == account))
            await tx.execute(delete(action_roles).where(_r.account_id == account))
            for role in wanted.roles:
                await tx.execute(insert(action_roles).values(_role_row(account, role, now)))
            for one in wanted.assignments:
                row = {"id": AssignmentId.new(), "account_id": account, "user_name": one.user}
                await tx.execute(
                    insert(action_role_assignments).values(role=one.role, description=one.description, **row)
                )


def system_roles() -> Sequence[Role]:
    """Return the roles that are always there."""
    return [
        Role(id=settled_id(f"role:{name}"), name=name, description=description, system=True)
        for name, description in SYSTEM_ROLES.items()
    ]


def denied(access: Access, permission: str, resource: str | None = None) -> PermissionDenied:
    """Return the refusal of something that was not granted."""
    on = {} if resource is None else {"resource": resource}
    return PermissionDenied(
        "the roles of the user do not grant this", permission=permission, user=access.user, **on
    )


def _role_row(account: AccountId, role: Role, now: datetime) -> dict[str, Any]:
    return {
        "id": RoleId.new(),
        "account_id": account,
        "name": role.name,
        "description": role.description,
        "enabled": role.enabled,
        "grants": msgspec.to_builtins(role.grants),
        "applied_at": now,
    }


def _role(row: Row[Any]) -> Role:
    return Role(
        id=row.id,
        name=row.name,
        description=row.description,
        enabled=row.enabled,
        grants=msgspec.convert(row.grants, tuple[Grant, ...]),
    )
