"""SQL of users and members. Owns the statements of the member service; decides nothing and never commits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, delete, func, or_, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Member, Role, Scope, User, UserKind
from runyard.identity.scoping import is_whole_account
from runyard.identity.tables import members, projects, users
from runyard.kernel.ids import AccountId, ProjectId, UserId


async def find_user(tx: Transaction, account_id: AccountId, reference: str) -> User | None:
    """Read a user by its id, else by its name, else by its e-mail address."""
    wanted = or_(users.c.id == reference, users.c.name == reference, users.c.email == reference)
    found = await tx.all(select(users).where(users.c.account_id == account_id, wanted))
    ranked = sorted(found, key=lambda row: (row.id != reference, row.name != reference, row.id))
    return _user(ranked[0]) if ranked else None


async def set_email(tx: Transaction, user: User, email: str) -> User:
    """Write down the address of a user."""
    await tx.execute(update(users).where(users.c.id == user.id).values(email=email))
    return replace(user, email=email)


async def members_of(tx: Transaction, project_id: ProjectId) -> Sequence[Member]:
    """Read the members of a project, the first one first."""
    return await _members(tx, project_id, lock=False)


async def lock_members(tx: Transaction, project_id: ProjectId) -> Sequence[Member]:
    """Read the members of a project and keep others from changing them meanwhile."""
    return await _members(tx, project_id, lock=True)


async def _members(tx: Transaction, project_id: ProjectId, *, lock: bool) -> Sequence[Member]:
    statement = (
        select(users, members.c.role, members.c.reference)
        .join(members, members.c.user_id == users.c.id)
        .where(members.c.project_id == project_id)
        .order_by(members.c.created_at, users.c.id)
    )
    if lock:
        statement = statement.with_for_update(of=members)
    return [
        Member(user=_user(row), role=Role(row.role), reference=row.reference or row.id)
        for row in await tx.all(statement)
    ]


async def count_members(tx: Transaction, account_id: AccountId) -> Mapping[ProjectId, int]:
    """Count members by project."""
    statement = (
        select(members.c.project_id, func.count())
        .join(projects, projects.c.id == members.c.project_id)
        .where(projects.c.account_id == account_id)
        .group_by(members.c.project_id)
    )
    return {ProjectId(project): int(count) for project, count in map(tuple, await tx.all(statement))}


async def remove_member(tx: Transaction, project_id: ProjectId, user_id: UserId) -> None:
    """Take a role away."""
    await tx.execute(delete(members).where(members.c.project_id == project_id, members.c.user_id == user_id))


async def users_in(tx: Transaction, scope: Scope, search: str, offset: int, limit: int) -> Sequence[User]:
    """Read users by name: all of the account, or those with a role on a part of it and above."""
    statement = select(users).where(users.c.account_id == scope.account_id)
    if not is_whole_account(scope):
        above = [part for part in scope.project_path.split("/") if part]
        inside = projects.c.path.startswith(scope.project_path, autoescape=True)
        here = (
            select(members.c.user_id)
            .join(projects, projects.c.id == members.c.project_id)
            .where(or_(inside, projects.c.id.in_(above)))
        )
        statement = statement.where(users.c.id.in_(here))
    if search:
        statement = statement.where(
            or_(
                users.c.name.icontains(search, autoescape=True),
                users.c.email.icontains(search, autoescape=True),
            )
        )
    rows = await tx.all(statement.order_by(users.c.name, users.c.id).offset(offset).limit(limit))
    return [_user(row) for row in rows]


def _user(row: Row[Any]) -> User:
    return User(
        id=UserId(row.id),
        account_id=AccountId(row.account_id),
        name=row.name,
        kind=UserKind(row.kind),
        created_at=row.created_at,
        email=row.email,
    )
