"""Reads the tenancy tree for doors whose API has two fixed levels of it: nodes just below the root, and what is below those.

Owns how a narrow scope is placed: the nodes above it can be named by whoever sees only a part, and nothing else can.
"""

from collections.abc import Sequence
from typing import Final

from runyard.database.engine import Database
from runyard.identity import store
from runyard.identity.model import Account, Project, Scope, User
from runyard.kernel.errors import NotFound
from runyard.kernel.ids import AccountId, UserId

_KNOWN_ACCOUNTS: Final = 10_000


class TenancyService:
    """Accounts, and the tree of one account as a scope sees it."""

    def __init__(self, database: Database) -> None:
        """Read a database."""
        self._database = database
        self._accounts: dict[AccountId, Account] = {}

    async def account_of(self, scope: Scope) -> Account:
        """Return the account of a scope; its slug never changes, so it is read once. Raises NotFound."""
        known = self._accounts.get(scope.account_id)
        if known is not None:
            return known
        async with self._database.read() as tx:
            found = await store.account_by_id(tx, scope.account_id)
        if found is None:
            raise NotFound("there is no such account")
        if len(self._accounts) >= _KNOWN_ACCOUNTS:
            self._accounts.clear()
        self._accounts[found.id] = found
        return found

    async def account_named(self, slug: str) -> Account | None:
        """Return the account with a slug."""
        async with self._database.read() as tx:
            return await store.account_by_slug(tx, slug)

    async def user(self, user_id: UserId) -> User:
        """Return a user. Raises NotFound."""
        async with self._database.read() as tx:
            found = await store.user_by_id(tx, user_id)
        if found is None:
            raise NotFound("there is no such user")
        return found

    async def tops(self, scope: Scope) -> Sequence[Project]:
        """Return the nodes just below the root that the scope holds or lies in, by slug."""
        async with self._database.read() as tx:
            return [one for one in await store.at_depth(tx, scope.account_id, 1) if _touches(one, scope)]

    async def top(self, scope: Scope, reference: str) -> Project:
        """Return one of `tops` by its slug or id. Raises NotFound."""
        async with self._database.read() as tx:
            found = await store.top_of(tx, scope.account_id, reference)
        if found is None or not _touches(found, scope):
            raise NotFound("there is no such project below the root")
        return found

    async def inner(self, scope: Scope, top: Project) -> Sequence[tuple[str, Project]]:
        """Return the nodes below one of `tops` that the scope holds or lies in, parents first, each with its key: the
        slugs that lead there joined by dots.
        """
        async with self._database.read() as tx:
            tree = await store.subtree_of(tx, scope.account_id, top.path)
        keys: dict[str, str] = {top.id: ""}
        for project in tree:
            if project.parent_id in keys:
                keys[project.id] = f"{keys[project.parent_id]}.{project.slug}".lstrip(".")
        return [(keys[one.id], one) for one in tree if one.id != top.id and _touches(one, scope)]

    async def inner_named(self, scope: Scope, top: Project, reference: str) -> tuple[str, Project]:
        """Return one of `inner` by its key or id. Raises NotFound."""
        for key, project in await self.inner(scope, top):
            if reference in (key, project.id):
                return key, project
        raise NotFound("there is no such project")

    async def home(self, scope: Scope, top: Project) -> Project:
        """Return where something new goes that is to be in one of `tops`: that node, or the scope's own project when
        the scope is narrower. Raises NotFound.
        """
        if top.path.startswith(scope.project_path):
            return top
        async with self._database.read() as tx:
            found = await store.project_by_id(tx, scope.account_id, scope.project_id)
        if found is None:
            raise NotFound("there is no such project")
        return found


def _touches(project: Project, scope: Scope) -> bool:
    return project.path.startswith(scope.project_path) or scope.project_path.startswith(project.path)
