"""Verbs of identity: first set-up, authentication, tokens, projects, users.

Knows nothing of headers: a door finds the secret, this finds the caller.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from runyard.database.engine import Database, Transaction
from runyard.database.errors import ReferenceViolation, UniqueViolation
from runyard.identity import store
from runyard.identity.errors import SlugTaken, StillInUse
from runyard.identity.login import AccessToken, Signer, looks_signed
from runyard.identity.minting import (
    NewToken,
    add_token,
    digest_of,
    new_secret,
    refuse_passing,
    require_within,
)
from runyard.identity.model import (
    ALL_PERMISSIONS,
    ROLE_PERMISSIONS,
    Account,
    Permission,
    Principal,
    Project,
    Role,
    Scope,
    Token,
    User,
    UserKind,
    slug_paths,
)
from runyard.identity.passing import PassingGrant, PassingTokens, new_passing_secret
from runyard.identity.planting import SLUG, add_node, check_names
from runyard.identity.remembering import Remembered
from runyard.identity.scoping import is_whole_account
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from runyard.kernel.events import Event
from runyard.kernel.ids import AccountId, TokenId, UserId
from runyard.kernel.paging import Page

MIN_ADMIN_TOKEN: Final = 8
FIRST_ACCOUNT: Final = "default"
"""The account that an installation begins with; its administrators operate the installation."""


class IdentityService:
    """The verbs of identity over one database."""

    def __init__(self, database: Database, now: Now = utc_now, vault: Vault | None = None) -> None:
        """Work on a database; without a vault there are no access tokens."""
        self._database = database
        self._now = now
        self._signer = None if vault is None else Signer(vault)
        self._remembered = Remembered()
        self._used: dict[TokenId, datetime] = {}
        self._passing = PassingTokens()
        self.on_changed: Callable[[Callable[[Principal], bool]], object] = lambda concerned: None  # noqa: ARG005
        """Told whose rights are no longer what they were, so that whoever reads on can be ended."""

    async def bootstrap(self, admin_token: str | None = None) -> str | None:
        """Set up a new installation: account `default`, root `global`, below it `default`, below that `default`,
        user `admin` with a token. Return the token when one was made here and must be shown, else None.
        Does nothing on an installation that was set up before. Raises InvalidArgument for a short token.
        """
        if admin_token is not None and len(admin_token) < MIN_ADMIN_TOKEN:
            raise InvalidArgument(f"the admin token needs at least {MIN_ADMIN_TOKEN} characters")
        secret = admin_token or new_secret()
        try:
            async with self._database.transaction() as tx:
                if await store.any_account(tx):
                    return None
                await self._set_up(tx, secret)
        except UniqueViolation:
            # Two servers began on one new PostgreSQL database: the other one's set-up is the installation.
            return None
        return None if admin_token else secret

    async def _set_up(self, tx: Transaction, secret: str) -> None:
        now = self._now()
        account = Account(id=AccountId.new(), slug=FIRST_ACCOUNT, name="Default", created_at=now)
        await store.insert_account(tx, account)
        root = await add_node(tx, account.id, None, "global", "Global", now)
        first = await add_node(tx, account.id, root, "default", "Default", now)
        await add_node(tx, account.id, first, "default", "Default", now)
        user = User(id=UserId.new(), account_id=account.id, name="admin", kind=UserKind.USER, created_at=now)
        await store.insert_user(tx, user)
        await store.set_member(tx, root.id, user.id, Role.ADMIN, now)
        await add_token(tx, user, root, NewToken(name="admin"), secret, now)

    async def new_admin_token(self, account_slug: str = FIRST_ACCOUNT) -> str:
        """Make another admin token of an account for an operator who lost the first one; return it, shown this once.
        Whoever may call this owns the data folder anyway. Raises NotFound.
        """
        secret = new_secret()
        async with self._database.transaction() as tx:
            account = await store.account_by_slug(tx, account_slug)
            user = None if account is None else await store.user_by_name(tx, account.id, "admin")
            if account is None or user is None:
                raise NotFound(f"there is no account {account_slug!r} with a user 'admin'")
            root = await store.root_project(tx, account.id)
            token = await add_token(tx, user, root, NewToken(name="admin"), secret, self._now())
            await tx.record(_event(account.id, "token", token.id, "token.created", "operator", self._now()))
        return secret

    # --- authentication ---

    def authenticate_cached(self, secret: str) -> Principal | None:
        """Return the caller of a secret that was authenticated a moment ago, without touching the database."""
        now = self._now()
        found = self._remembered.find(digest_of(secret), now)
        if found is not None and found.token_id is not None:
            self._used[found.token_id] = now
        return found

    async def authenticate(self, secret: str) -> Principal:
        """Return the caller of a secret. Raises Unauthenticated; never says which part was wrong."""
        known = self.authenticate_cached(secret)
        if known is not None:
            return known
        digest, mark, now = digest_of(secret), self._remembered.mark, self._now()
        passing = self._passing.find(digest)
        if passing is not None:
            return await self._authenticate_passing(digest, passing)
        proven = self._signer.check(secret, now) if self._signer and looks_signed(secret) else None
        async with self._database.read() as tx:
            if proven is None:
                found = await store.token_by_digest(tx, digest)
            else:
                found = await store.token_with_owner(tx, proven.token_id)
            roles = await store.roles_of(tx, found[2].id) if found else []
        if found is None or (proven is None and not hmac.compare_digest(found[1], digest)):
            raise Unauthenticated("the token is not valid")
        token, _, user, project = found
        if token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now):
            # Only who holds the secret comes here, and may know which of both it is.
            why = "expired" if token.revoked_at is None else "revoked"
            raise Unauthenticated("the token has expired or was revoked", why=why, name=token.name)
        ends = [end for end in (token.expires_at, proven.expires_at if proven else None) if end is not None]
        principal = replace(_principal(token, user, project, roles), expires_at=min(ends, default=None))
        self._remembered.add(digest, principal, principal.expires_at, mark)
        self._used[token.id] = now
        return principal

    def begin_passing(self, grant: PassingGrant) -> str:
        """Return the secret of a token that ends with `end_passing`, or with this server."""
        secret = new_passing_secret()
        self._passing.add(digest_of(secret), grant)
        return secret

    def end_passing(self, secret: str) -> None:
        """End such a token."""
        digest = digest_of(secret)
        self._passing.remove(digest)
        self._remembered.remove(digest)

    async def _authenticate_passing(self, digest: bytes, grant: PassingGrant) -> Principal:
        mark = self._remembered.mark
        async with self._database.read() as tx:
            user = await store.user_by_name(tx, grant.scope.account_id, grant.user_name)
            user_id = grant.asker_id if user is None else user.id
            roles = await store.roles_of(tx, user_id)
        held: frozenset[Permission] = frozenset()
        for path, role in roles:
            if grant.scope.project_path.startswith(path):
                held |= ROLE_PERMISSIONS[role]
        principal = Principal(
            grant.scope, user_id, grant.user_name, None, held & grant.scopes, grant.scopes, passing=True
        )
        if self._passing.find(digest) is None:
            raise Unauthenticated("the token has expired or was revoked")
        self._remembered.add(digest, principal, None, mark)
        return principal

    async def log_in_with_key(self, access_key: str, secret_key: str) -> AccessToken:
        """Exchange a key pair for an access token: the secret of a token, and with it the token's id or the name of its
        user. Raises Unauthenticated; never says which part was wrong.
        """
        wrong = Unauthenticated("the key pair is not valid")
        if self._signer is None or looks_signed(secret_key):
            raise wrong  # an access token must not make itself longer
        try:
            caller = await self.authenticate(secret_key)
        except Unauthenticated:
            raise wrong from None
        if caller.token_id is None or access_key not in (caller.token_id, caller.user_name):
            raise wrong
        return self._signer.issue(caller, caller.token_id, self._now())

    def forget_user(self, user_id: UserId) -> None:
        """Drop what is remembered of a user whose roles have changed, so that they count at once."""
        self._drop(lambda principal: principal.user_id == user_id)

    def _drop(self, concerned: Callable[[Principal], bool]) -> None:
        self._remembered.drop(concerned)
        self.on_changed(concerned)

    async def flush_last_used(self) -> None:
        """Write down when tokens were last used; called now and then, never on a request."""
        used, self._used = self._used, {}
        if used:
            async with self._database.transaction() as tx:
                await store.touch_tokens(tx, used)

    async def require_operator(self, caller: Principal) -> None:
        """Refuse who may not change what all accounts share: that is for administrators of the whole account that the
        installation began with. Raises PermissionDenied.
        """
        caller.require(Permission.ADMIN)
        await self.require_first(caller)

    async def require_first(self, caller: Principal) -> None:
        """Refuse who is not in the first account, or sees a part of it only; what the caller may do there is not asked.
        Raises PermissionDenied.
        """
        async with self._database.read() as tx:
            first = await store.account_by_slug(tx, FIRST_ACCOUNT)
        if first is None or first.id != caller.scope.account_id or not is_whole_account(caller.scope):
            raise PermissionDenied(
                "this changes the whole installation: an administrator of its first account may do that, with a token "
                "that is not narrowed to a project"
            )

    # --- tokens ---

    async def create_token(self, caller: Principal, new: NewToken) -> tuple[Token, str]:
        """Make a token and return it with its secret, which is shown this once. A token never gets a permission
        or a project that the caller lacks. Raises PermissionDenied, NotFound, InvalidArgument.
        """
        refuse_passing(caller)
        caller.require(Permission.TOKENS_MANAGE)
        if not new.name or len(new.name) > 256:
            raise InvalidArgument("a token needs a name of 1 to 256 characters")
        lacking = [item.value for item in new.permissions if not caller.may(item)]
        if lacking:
            raise PermissionDenied(
                f"a token cannot have permissions that its maker lacks: {', '.join(sorted(lacking))}"
            )
        secret = new.secret or new_secret()
        account_id = caller.scope.account_id
        async with self._database.transaction() as tx:
            project = await self.visible_project(tx, caller.scope, new.project_id or caller.scope.project_id)
            user = await store.user_by_name(tx, account_id, new.user_name or caller.user_name)
            if user is None:
                raise NotFound(f"there is no user {new.user_name!r}")
            if user.id != caller.user_id:
                caller.require(Permission.ADMIN)
                await require_within(tx, caller, user)
            token = await add_token(tx, user, project, new, secret, self._now())
            await tx.record(_event(account_id, "token", token.id, "token.created", caller.actor, self._now()))
        return token, secret

    async def log_in(self, caller: Principal, secret: str, lifetime: timedelta) -> Token:
        """Make a token that ends soon and can do what the caller can; anybody may have one for itself. It ends with the
        credential that it was made with at the latest: else whoever has one for an hour would have one for ever.
        """
        refuse_passing(caller)
        if caller.expires_at is not None:
            lifetime = min(lifetime, caller.expires_at - self._now())
        new = NewToken(
            name="login",
            permissions=caller.scopes,
            project_id=caller.scope.project_id,
            expires_in=lifetime,
        )
        async with self._database.transaction() as tx:
            project = await self.visible_project(tx, caller.scope, caller.scope.project_id)
            user = await store.user_by_name(tx, caller.scope.account_id, caller.user_name)
            if user is None:
                raise NotFound(f"there is no user {caller.user_name!r}")
            return await add_token(tx, user, project, new, secret, self._now())

    async def token_of(self, caller: Principal) -> Token | None:
        """Return the token that the caller came with; None for the server itself."""
        if caller.token_id is None:
            return None
        async with self._database.read() as tx:
            return await store.token_by_id(tx, caller.scope, caller.token_id)

    async def restore_token(self, caller: Principal, token_id: str) -> None:
        """Make a revoked token valid again. Raises NotFound, PermissionDenied."""
        caller.require(Permission.TOKENS_MANAGE)
        async with self._database.transaction() as tx:
            token = await store.token_by_id(tx, caller.scope, token_id)
            if token is None:
                raise NotFound(f"there is no token {token_id}")
            await store.restore_token(tx, token.id)
            await tx.record(
                _event(token.account_id, "token", token.id, "token.restored", caller.actor, self._now())
            )

    async def list_tokens(self, caller: Principal, limit: int, cursor: str | None = None) -> Page[Token]:
        """List the tokens of the caller's project and all below it, the newest first, without their secrets."""
        caller.require(Permission.TOKENS_MANAGE)
        async with self._database.read() as tx:
            return await store.page_of_tokens(tx, caller.scope, limit, cursor)

    async def revoke_token(self, caller: Principal, token_id: str) -> Token:
        """End a token of the caller's part of the tree at once; idempotent. Anybody may end the own one.
        Raises NotFound, PermissionDenied.
        """
        if token_id != caller.token_id:
            caller.require(Permission.TOKENS_MANAGE)
        async with self._database.transaction() as tx:
            token = await store.token_by_id(tx, caller.scope, token_id)
            if token is None:
                raise NotFound(f"there is no token {token_id}")
            if await store.revoke_token(tx, token.id, self._now()):
                await tx.record(
                    _event(token.account_id, "token", token.id, "token.revoked", caller.actor, self._now())
                )
        self._drop(lambda principal: principal.token_id == token.id)
        return token

    # --- the tree ---

    async def create_project(
        self, caller: Principal, parent_id: str, slug: str, name: str | None = None
    ) -> Project:
        """Add a node below another. Raises NotFound, SlugTaken, TreeTooDeep, InvalidArgument."""
        async with self._database.transaction() as tx:
            return await self.add_project(tx, caller, parent_id, slug, name or slug)

    async def add_project(
        self, tx: Transaction, caller: Principal, parent_id: str, slug: str, name: str
    ) -> Project:
        """Do the same within a transaction of another domain."""
        caller.require(Permission.ADMIN)
        parent = await self.visible_project(tx, caller.scope, parent_id)
        return await add_node(tx, parent.account_id, parent, slug, name, self._now())

    async def rename_project(
        self, tx: Transaction, caller: Principal, project_id: str, slug: str, name: str
    ) -> Project:
        """Change what a node is called. Raises NotFound, SlugTaken, InvalidArgument, PermissionDenied."""
        caller.require(Permission.ADMIN)
        project = await self.visible_project(tx, caller.scope, project_id)
        check_names(slug, name)
        try:
            await store.rename_project(tx, project.id, slug, name)
        except UniqueViolation:
            raise SlugTaken(f"there is a project {slug!r} at this place already") from None
        return replace(project, slug=slug, name=name)

    async def list_projects(self, caller: Principal) -> Sequence[Project]:
        """List the caller's project and all below it, parents first."""
        async with self._database.read() as tx:
            return await store.subtree_of(tx, caller.scope.account_id, caller.scope.project_path)

    async def get_project(self, caller: Principal, project_id: str) -> Project:
        """Read one visible node. Raises NotFound."""
        async with self._database.read() as tx:
            return await self.visible_project(tx, caller.scope, project_id)

    async def find_project(self, caller: Principal, reference: str) -> Project:
        """Find a visible node by its id or its slugs below the caller's project. Raises NotFound."""
        tree = await self.list_projects(caller)
        paths = slug_paths(tree)
        wanted = reference.strip("/") or "/"
        for project in tree:
            if reference == project.id or wanted == paths[project.id]:
                return project
        raise NotFound(f"there is no project {reference[:200]!r}")

    async def delete_project(self, caller: Principal, project_id: str) -> None:
        """Remove a node on which nothing hangs but revoked tokens, which go with it. Raises NotFound, StillInUse, InvalidArgument for the root."""
        async with self._database.transaction() as tx:
            await self.remove_project(tx, caller, project_id)

    async def remove_project(self, tx: Transaction, caller: Principal, project_id: str) -> None:
        """Do the same within a transaction of another domain."""
        caller.require(Permission.ADMIN)
        project = await self.visible_project(tx, caller.scope, project_id)
        if project.parent_id is None:
            raise InvalidArgument("the root of the tree cannot be deleted")
        try:
            await store.delete_revoked_tokens(tx, project.id)
            await store.delete_project(tx, project.id)
        except ReferenceViolation:
            raise StillInUse from None

    @staticmethod
    async def visible_project(tx: Transaction, scope: Scope, project_id: str) -> Project:
        """Read one node of a scope within a transaction of another domain. Raises NotFound."""
        found = await store.project_by_id(tx, scope.account_id, project_id)
        if found is None or not found.path.startswith(scope.project_path):
            raise NotFound(f"there is no project {project_id}")
        return found

    # --- users and accounts ---

    async def list_users(self, caller: Principal) -> Sequence[User]:
        """List the users of the caller's account by name."""
        caller.require(Permission.ADMIN)
        async with self._database.read() as tx:
            return await store.users_of(tx, caller.scope.account_id)

    async def create_user(self, caller: Principal, name: str, kind: UserKind, role: Role | None) -> User:
        """Add a user with a role on the caller's project; without one it may do what other roles grant, and nothing
        else. Raises AlreadyExists, InvalidArgument, PermissionDenied.
        """
        caller.require(Permission.ADMIN)
        if not name or len(name) > 256 or "\0" in name:
            raise InvalidArgument("a user needs a name of 1 to 256 characters")
        now, account_id = self._now(), caller.scope.account_id
        user = User(id=UserId.new(), account_id=account_id, name=name, kind=kind, created_at=now)
        async with self._database.transaction() as tx:
            try:
                await store.insert_user(tx, user)
            except UniqueViolation:
                raise AlreadyExists(f"there is a user {name!r} already") from None
            if role is not None:
                await store.set_member(tx, caller.scope.project_id, user.id, role, now)
            await tx.record(_event(account_id, "user", user.id, "user.created", caller.actor, now))
        return user

    async def create_account(self, slug: str, name: str) -> tuple[Account, str]:
        """Add a tenant with a tree and an `admin` of its own; return it with the admin's token, shown this once.
        Raises AlreadyExists, InvalidArgument. Who may call this is the composition root's business.
        """
        if SLUG.match(slug) is None:
            raise InvalidArgument(
                "an account's slug has lower-case letters, digits, dots, dashes or underscores"
            )
        now, secret = self._now(), new_secret()
        account = Account(id=AccountId.new(), slug=slug, name=name, created_at=now)
        async with self._database.transaction() as tx:
            try:
                await store.insert_account(tx, account)
            except UniqueViolation:
                raise AlreadyExists(f"there is an account {slug!r} already") from None
            root = await add_node(tx, account.id, None, "global", "Global", now)
            user = User(
                id=UserId.new(), account_id=account.id, name="admin", kind=UserKind.USER, created_at=now
            )
            await store.insert_user(tx, user)
            await store.set_member(tx, root.id, user.id, Role.ADMIN, now)
            await add_token(tx, user, root, NewToken(name="admin"), secret, now)
        return account, secret

    async def system_principal(self, account_slug: str = FIRST_ACCOUNT) -> Principal:
        """Return the server itself as a caller in an account. Raises NotFound."""
        async with self._database.read() as tx:
            account = await store.account_by_slug(tx, account_slug)
            if account is None:
                raise NotFound(f"there is no account {account_slug!r}")
            root = await store.root_project(tx, account.id)
        scope = Scope(account.id, root.id, root.path)
        return Principal(scope, UserId("0" * 24), "runyard", None, ALL_PERMISSIONS)


def _principal(token: Token, user: User, project: Project, roles: Sequence[tuple[str, Role]]) -> Principal:
    """Narrow the token's permissions to those that the user's roles give at the token's project."""
    held: frozenset[Permission] = frozenset()
    for path, role in roles:
        if project.path.startswith(path):
            held |= ROLE_PERMISSIONS[role]
    scope = Scope(token.account_id, project.id, project.path)
    scopes = frozenset(token.permissions)
    return Principal(scope, user.id, user.name, token.id, held & scopes, scopes)


def _event(account_id: AccountId, kind: str, subject_id: str, name: str, actor: str, now: datetime) -> Event:
    return Event(
        account_id=account_id, subject_kind=kind, subject_id=subject_id, type=name, actor=actor, at=now
    )
