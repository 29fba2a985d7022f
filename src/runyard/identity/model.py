"""Who may do what, where. Owns scopes, principals, permissions, roles and the shape of the tenancy tree.

Pure types: nothing here reads a database or knows how a credential arrives.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from runyard.kernel.errors import PermissionDenied
from runyard.kernel.ids import AccountId, ProjectId, TokenId, UserId

MAX_DEPTH: Final = 5
"""Levels of the project tree, the root included."""


class Permission(enum.StrEnum):
    """What a caller may do; tokens name these as their scopes."""

    RUNTIMES_READ = "runtimes:read"
    RUNTIMES_WRITE = "runtimes:write"
    RUNTIMES_EXEC = "runtimes:exec"
    EXECUTIONS_READ = "executions:read"
    EXECUTIONS_CANCEL = "executions:cancel"
    SECRETS_READ = "secrets:read"
    SECRETS_WRITE = "secrets:write"
    ACTIONS_READ = "actions:read"
    ACTIONS_WRITE = "actions:write"
    ACTIONS_RUN = "actions:run"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    ENVIRONMENTS_READ = "environments:read"
    ENVIRONMENTS_WRITE = "environments:write"
    ENVIRONMENTS_EXEC = "environments:exec"
    WORKSPACES_READ = "workspaces:read"
    WORKSPACES_WRITE = "workspaces:write"
    WORKSPACES_RUN = "workspaces:run"
    WORKSPACES_APPROVE = "workspaces:approve"
    STATE_READ = "state:read"
    STATE_WRITE = "state:write"
    GUARDRAILS_READ = "guardrails:read"
    GUARDRAILS_WRITE = "guardrails:write"
    TOKENS_MANAGE = "tokens:manage"
    ADMIN = "admin"
    """Everything below the project; on the whole of the first account, what all accounts share as well."""


ALL_PERMISSIONS: Final = frozenset(Permission)


class Role(enum.StrEnum):
    """What a member of a project is there and in everything below it."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


ROLE_PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    Role.ADMIN: ALL_PERMISSIONS,
    Role.OPERATOR: ALL_PERMISSIONS
    - {Permission.ADMIN, Permission.TOKENS_MANAGE, Permission.GUARDRAILS_WRITE},
    Role.VIEWER: frozenset(
        {
            Permission.RUNTIMES_READ,
            Permission.EXECUTIONS_READ,
            Permission.SECRETS_READ,
            Permission.ACTIONS_READ,
            Permission.KEYS_READ,
            Permission.TASKS_READ,
            Permission.ENVIRONMENTS_READ,
            Permission.WORKSPACES_READ,
            Permission.GUARDRAILS_READ,
        }
    ),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the tenancy tree that a caller may see: one account, one project and all below it."""

    account_id: AccountId
    project_id: ProjectId
    project_path: str
    """`/<root id>/<project id>/.../`; a row is visible when its own path starts with this."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    scope: Scope
    user_id: UserId
    user_name: str
    token_id: TokenId | None
    """None for the server acting by itself and for a token that is not written down."""
    permissions: frozenset[Permission]
    scopes: frozenset[Permission] = ALL_PERMISSIONS
    """What the token allows, whatever the user is a member of; `permissions` are those that the membership has too."""

    passing: bool = False
    """The token ends with what it was made for, so it must not make others."""
    expires_at: datetime | None = None
    """When the credential ends by itself."""

    @property
    def actor(self) -> str:
        """The name written into events and executions."""
        return self.user_name

    def may(self, permission: Permission) -> bool:
        """Tell whether the caller holds a permission; `admin` holds all."""
        return permission in self.permissions or Permission.ADMIN in self.permissions

    def scoped(self, permission: Permission) -> bool:
        """Tell whether the token alone allows something; for doors that ask roles of their own for the rest."""
        return permission in self.scopes or Permission.ADMIN in self.scopes

    def require(self, permission: Permission) -> None:
        """Raise PermissionDenied, naming the permission, unless the caller holds it."""
        if not self.may(permission):
            raise PermissionDenied(
                f"the token lacks the permission {permission.value}",
                permission=permission.value,
                user=self.user_name,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The tenant boundary."""

    id: AccountId
    slug: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A node of an account's tree. The root is called `global` and has no parent."""

    id: ProjectId
    account_id: AccountId
    parent_id: ProjectId | None
    slug: str
    name: str
    path: str
    """`/<root id>/.../<own id>/`."""
    depth: int
    """0 for the root."""
    created_at: datetime


def slug_paths(tree: Sequence[Project]) -> Mapping[ProjectId, str]:
    """Return how people write each node of a subtree whose parents come first: slugs from below its top, `default/web`;
    the top itself is `/`, so that nobody learns the names above the own part.
    """
    paths: dict[ProjectId, str] = {}
    for project in tree:
        above = None if project.parent_id is None else paths.get(project.parent_id)
        paths[project.id] = "/" if above is None else f"{above}/{project.slug}".lstrip("/")
    return paths


class UserKind(enum.StrEnum):
    """A person or a program."""

    USER = "user"
    SERVICE = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person or a program of an account."""

    id: UserId
    account_id: AccountId
    name: str
    kind: UserKind
    created_at: datetime
    email: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A user's place on a project."""

    user: User
    role: Role
    reference: str
    """How the user was named when it was added, so that a client finds its own spelling again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A credential, without its secret: only a hash of that is kept."""

    id: TokenId
    account_id: AccountId
    user_id: UserId
    project_id: ProjectId
    name: str
    prefix: str
    """The first characters of the secret, so that people can tell tokens apart."""
    permissions: Sequence[Permission]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
