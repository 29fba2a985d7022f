"""Shapes of projects, users, tokens and roles of actions on the wire of the native API."""

from datetime import datetime
from typing import Literal

import msgspec


class ProjectIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What project to make."""

    slug: str
    """1 to 64 lower-case letters, digits, dots, dashes or underscores; unique among its siblings."""
    parent: str | None = None
    """Id or slug path of the node above it; the caller's project when left out."""
    name: str | None = None
    """For people; the slug when left out."""


class ProjectOut(msgspec.Struct, kw_only=True):
    """A node of the caller's part of the project tree."""

    id: str
    path: str
    """Slugs below the caller's project, such as `default/web`; that project itself is `/`."""
    slug: str
    name: str
    parent_id: str | None
    """None for the caller's project."""
    depth: int
    """0 for the root of the account."""
    created_at: datetime


class UserIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What user to add."""

    name: str
    kind: Literal["user", "service"] = "user"
    role: Literal["admin", "operator", "viewer", "none"] = "none"
    """What it is in the caller's project and below; `none` leaves it to roles of actions."""


class UserOut(msgspec.Struct, kw_only=True):
    """A person or a program of the account."""

    id: str
    name: str
    kind: str
    created_at: datetime


class GrantBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Leave to do something."""

    permission_types: list[str]
    resource_uid: str | None = None
    """Such as `pack:core` or `action:core:local`; all resources when left out."""


class RoleBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A named set of grants."""

    name: str
    description: str = ""
    enabled: bool = True
    permission_grants: list[GrantBody] = []


class AssignmentBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The roles of a user."""

    username: str
    roles: list[str] = []
    description: str = ""
    enabled: bool = True


class ActionRoles(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All roles of actions that were defined, and who holds which."""

    roles: list[RoleBody] = []
    assignments: list[AssignmentBody] = []


class TokenIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What token to make; no scopes means those of the caller, no project that of the caller."""

    name: str
    scopes: list[str] = []
    """Permissions; those of the caller when empty."""
    project: str | None = None
    """Id of the project to which it is narrowed, with all below it."""
    user: str | None = None
    """Name of the user for whom it acts; another one than the caller's needs `admin`."""
    expires_in_secs: int | None = None
    """It does not expire when left out."""
    shape: Literal["runyard", "harness"] = "runyard"
    """`harness` makes a secret of the form that its clients demand: `pat.ACCOUNT.ID.SECRET`."""


class TokenOut(msgspec.Struct, kw_only=True):
    """A credential, without its secret."""

    id: str
    name: str
    prefix: str
    """The first characters of the secret, so that people can tell tokens apart."""
    scopes: list[str]
    project: str
    user_id: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    """Written every half minute."""
    revoked_at: datetime | None


class MadeTokenOut(msgspec.Struct, kw_only=True):
    """A fresh token with its secret, which is shown this once."""

    secret: str
    token: TokenOut


class WhoOut(msgspec.Struct, kw_only=True):
    """The caller."""

    user: str
    account_id: str
    project_id: str
    scopes: list[str]
