"""SQL of identity. Owns every statement on its tables; decides nothing and never commits."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, Table, delete, insert, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Account, Permission, Project, Role, Scope, Token, User, UserKind
from runyard.identity.tables import accounts, members, projects, tokens, users
from runyard.kernel.ids import AccountId, ProjectId, TokenId, UserId
from runyard.kernel.paging import Page, decode_cursor, encode_cursor


async def insert_account(tx: Transaction, account: Account) -> None:
    """Add an account. Raises UniqueViolation."""
    await tx.execute(insert(accounts), asdict(account))


async def any_account(tx: Transaction) -> bool:
    """Tell whether the installation has an account: whether it was set up before."""
    return await tx.scalar(select(accounts.c.id).limit(1)) is not None


async def account_by_slug(tx: Transaction, slug: str) -> Account | None:
    """Read one account."""
    row = await tx.one_or_none(select(accounts).where(accounts.c.slug == slug))
    return None if row is None else _account(row)


async def account_by_id(tx: Transaction, account_id: AccountId) -> Account | None:
    """Read one account."""
    row = await tx.one_or_none(select(accounts).where(accounts.c.id == account_id))
    return None if row is None else _account(row)


async def at_depth(tx: Transaction, account_id: AccountId, depth: int) -> Sequence[Project]:
    """Read the nodes of one level of an account's tree by slug."""
    wanted = (projects.c.account_id == account_id) & (projects.c.depth == depth)
    found = await tx.all(select(projects).where(wanted).order_by(projects.c.slug, projects.c.id))
    return [_project(row) for row in found]


async def top_of(tx: Transaction, account_id: AccountId, reference: str) -> Project | None:
    """Read a node just below the root by its slug, else by its id."""
    of_account = (projects.c.account_id == account_id) & (projects.c.depth == 1)
    named = (projects.c.slug == reference) | (projects.c.id == reference)
    rows = await tx.all(select(projects).where(of_account & named))
    found = sorted((_project(row) for row in rows), key=lambda one: one.slug != reference)
    return found[0] if found else None


async def insert_project(tx: Transaction, project: Project) -> None:
    """Add a node. Raises UniqueViolation for a slug among siblings, ReferenceViolation for a parent that went away."""
    await tx.execute(insert(projects), asdict(project))


async def root_project(tx: Transaction, account_id: AccountId) -> Project:
    """Read the root of an account's tree."""
    wanted = (projects.c.account_id == account_id) & projects.c.parent_id.is_(None)
    return _project((await tx.execute(select(projects).where(wanted))).one())


async def project_by_id(tx: Transaction, account_id: AccountId, project_id: str) -> Project | None:
    """Read one node of an account."""
    wanted = (projects.c.account_id == account_id) & (projects.c.id == project_id)
    row = await tx.one_or_none(select(projects).where(wanted))
    return None if row is None else _project(row)


async def subtree_of(tx: Transaction, account_id: AccountId, path: str) -> Sequence[Project]:
    """Read a node and everything below it, parents first."""
    wanted = (projects.c.account_id == account_id) & projects.c.path.startswith(path, autoescape=True)
    found = await tx.all(select(projects).where(wanted).order_by(projects.c.depth, projects.c.slug))
    return [_project(row) for row in found]


async def rename_project(tx: Transaction, project_id: ProjectId, slug: str, name: str) -> None:
    """Change what a node is called. Raises UniqueViolation for a slug among siblings."""
    await tx.execute(update(projects).where(projects.c.id == project_id).values(slug=slug, name=name))


async def delete_project(tx: Transaction, project_id: ProjectId) -> None:
    """Remove a node and who belongs to it. Raises ReferenceViolation while something else hangs on it."""
    await tx.execute(delete(members).where(members.c.project_id == project_id))
    await tx.execute(delete(projects).where(projects.c.id == project_id))


async def insert_user(tx: Transaction, user: User) -> None:
    """Add a user. Raises UniqueViolation."""
    await tx.execute(insert(users), asdict(user))


async def user_by_name(tx: Transaction, account_id: AccountId, name: str) -> User | None:
    """Read one user of an account."""
    row = await tx.one_or_none(
        select(users).where((users.c.account_id == account_id) & (users.c.name == name))
    )
    return None if row is None else _user(row)


async def user_by_id(tx: Transaction, user_id: UserId) -> User | None:
    """Read one user."""
    row = await tx.one_or_none(select(users).where(users.c.id == user_id))
    return None if row is None else _user(row)


async def users_of(tx: Transaction, account_id: AccountId) -> Sequence[User]:
    """Read the users of an account by name."""
    found = await tx.all(select(users).where(users.c.account_id == account_id).order_by(users.c.name))
    return [_user(row) for row in found]


async def set_member(
    tx: Transaction,
    project_id: ProjectId,
    user_id: UserId,
    role: Role,
    now: datetime,
    reference: str | None = None,
) -> None:
    """Give a user a role on a project, instead of the one it had there."""
    await tx.execute(
        delete(members).where((members.c.project_id == project_id) & (members.c.user_id == user_id))
    )
    row = {"project_id": project_id, "user_id": user_id, "role": role.value, "created_at": now}
    await tx.execute(insert(members), {**row, "reference": reference})


async def roles_of(tx: Transaction, user_id: UserId) -> Sequence[tuple[str, Role]]:
    """Read where a user is what: pairs of project path and role."""
    statement = (
        select(projects.c.path, members.c.role)
        .join(projects, projects.c.id == members.c.project_id)
        .where(members.c.user_id == user_id)
    )
    return [(row.path, Role(row.role)) for row in await tx.all(statement)]


async def insert_token(tx: Transaction, token: Token, digest: bytes) -> None:
    """Add a token by the hash of its secret. Raises UniqueViolation."""
    await tx.execute(
        insert(tokens), {**asdict(token), "permissions": list(token.permissions), "digest": digest}
    )


async def token_by_digest(tx: Transaction, digest: bytes) -> tuple[Token, bytes, User, Project] | None:
    """Read the token with this hash, the hash itself, its user and its project."""
    return await _with_owner(tx, await tx.one_or_none(select(tokens).where(tokens.c.digest == digest)))


async def token_with_owner(tx: Transaction, token_id: TokenId) -> tuple[Token, bytes, User, Project] | None:
    """Read a token by its id, the hash of its secret, its user and its project."""
    return await _with_owner(tx, await tx.one_or_none(select(tokens).where(tokens.c.id == token_id)))


async def _with_owner(tx: Transaction, found: Row[Any] | None) -> tuple[Token, bytes, User, Project] | None:
    if found is None:
        return None
    user = (await tx.execute(select(users).where(users.c.id == found.user_id))).one()
    project = (await tx.execute(select(projects).where(projects.c.id == found.project_id))).one()
    return _token(found), bytes(found.digest), _user(user), _project(project)


async def token_by_id(tx: Transaction, scope: Scope, token_id: str) -> Token | None:
    """Read one token of a project in the scope."""
    row = await tx.one_or_none(_tokens_in(scope).where(tokens.c.id == token_id))
    return None if row is None else _token(row)


async def token_with_user(tx: Transaction, token_id: TokenId) -> tuple[Token, User] | None:
    """Read a token of any account and its user."""
    row = await tx.one_or_none(select(tokens).where(tokens.c.id == token_id))
    if row is None:
        return None
    user = await user_by_id(tx, UserId(row.user_id))
    return None if user is None else (_token(row), user)


def _tokens_in(scope: Scope) -> Select[Any]:
    """Select the tokens of the projects in a scope; a token itself has no path, its project has."""
    places = projects.alias()
    here = select(tokens).join(places, places.c.id == tokens.c.project_id)
    inside = places.c.path.startswith(scope.project_path, autoescape=True)
    return here.where((tokens.c.account_id == scope.account_id) & inside)


async def page_of_tokens(tx: Transaction, scope: Scope, limit: int, cursor: str | None) -> Page[Token]:
    """Read tokens of the projects in a scope, the newest first."""
    statement = _tokens_in(scope)
    if cursor is not None:
        statement = statement.where(tokens.c.id < decode_cursor(cursor, str)[0])
    rows = await tx.all(statement.order_by(tokens.c.id.desc()).limit(limit + 1))
    found = [_token(row) for row in rows[:limit]]
    return Page(found, encode_cursor(found[-1].id) if len(rows) > limit else None)


async def revoke_token(tx: Transaction, token_id: TokenId, now: datetime) -> int:
    """Mark a token as revoked, once; return how many rows changed."""
    wanted = (tokens.c.id == token_id) & tokens.c.revoked_at.is_(None)
    return (await tx.execute(update(tokens).where(wanted).values(revoked_at=now))).rowcount


async def restore_token(tx: Transaction, token_id: TokenId) -> None:
    """Take a revocation back."""
    await tx.execute(update(tokens).where(tokens.c.id == token_id).values(revoked_at=None))


async def delete_revoked_tokens(tx: Transaction, project_id: ProjectId) -> None:
    """Remove the rows of a node's revoked tokens; the events that tell of them stay."""
    wanted = (tokens.c.project_id == project_id) & tokens.c.revoked_at.is_not(None)
    await tx.execute(delete(tokens).where(wanted))


async def touch_tokens(tx: Transaction, used: dict[TokenId, datetime]) -> None:
    """Note when tokens were last used."""
    for token_id, moment in used.items():
        await tx.execute(update(tokens).where(tokens.c.id == token_id).values(last_used_at=moment))


def _values(row: Row[Any], table: Table) -> dict[str, Any]:
    return {column.name: row._mapping[column.name] for column in table.columns}


def _account(row: Row[Any]) -> Account:
    return Account(**{**_values(row, accounts), "id": AccountId(row.id)})


def _project(row: Row[Any]) -> Project:
    values = _values(row, projects)
    values["id"], values["account_id"] = ProjectId(row.id), AccountId(row.account_id)
    values["parent_id"] = None if row.parent_id is None else ProjectId(row.parent_id)
    return Project(**values)


def _user(row: Row[Any]) -> User:
    values = _values(row, users)
    return User(
        **{
            **values,
            "id": UserId(row.id),
            "account_id": AccountId(row.account_id),
            "kind": UserKind(row.kind),
        }
    )


def _token(row: Row[Any]) -> Token:
    values = _values(row, tokens)
    del values["digest"]
    values["id"], values["account_id"] = TokenId(row.id), AccountId(row.account_id)
    values["user_id"], values["project_id"] = UserId(row.user_id), ProjectId(row.project_id)
    values["permissions"] = tuple(Permission(name) for name in row.permissions)
    return Token(**values)
