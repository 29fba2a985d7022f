"""Reads requests of the dialect. Owns where a key, an account, an organization and a project stand in them.

Clients name the account in a header, in one of two spellings of the query, or only within their key; every one that is
there must be the key's own.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from runyard.dialects.door import Call, Scope
from runyard.dialects.harness.services import HarnessServices
from runyard.dialects.reading import header, query
from runyard.identity.model import Account, Principal, Project
from runyard.identity.model import Scope as TenantScope
from runyard.infrastructure.state.model import Writer
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated

_KEY_HEADERS: Final = (b"x-api-key", b"x-harness-token")
MAX_IDENTIFIER: Final = 128


def credential(scope: Scope) -> str:
    """Return the key: of `x-api-key`, of the log service's token (header or query), of `Authorization` with `Bearer`,
    or as the password of `Basic`. Raises Unauthenticated.
    """
    headers = dict(scope["headers"])
    for name in _KEY_HEADERS:
        value = headers.get(name)
        if value:
            return str(value.decode("latin-1")).strip()
    authorization = headers.get(b"authorization", b"")
    kind, _, rest = authorization.partition(b" ")
    if kind.lower() == b"bearer" and rest.strip():
        return str(rest.strip().decode("latin-1"))
    if kind.lower() == b"basic":
        return _password(rest.strip())
    raw = scope["query_string"]
    if b"X-Harness-Token" in raw:
        values: list[str] = parse_qs(raw.decode("latin-1"), max_num_fields=64).get("X-Harness-Token", [])
        if values and values[-1]:
            return values[-1]
    raise Unauthenticated("the request needs a key in the header x-api-key")


def _password(encoded: bytes) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "surrogateescape").partition(":")[2]
    except binascii.Error:
        raise Unauthenticated("the Authorization header is no valid Basic credential") from None


def writer_of(caller: Principal) -> Writer:
    """Return the caller as a writer of states."""
    return Writer(actor=caller.actor, user_id=caller.user_id)


@dataclass(frozen=True, slots=True)
class Where:
    """The place that a path names."""

    account: Account
    org: Project
    project: Project
    org_name: str
    project_name: str


class Reader:
    """Resolves the names in requests."""

    def __init__(self, services: HarnessServices) -> None:
        """Take the services."""
        self._services = services

    async def account(self, call: Call) -> Account:
        """Return the account of the caller. Raises PermissionDenied when the request names another one."""
        account = await self._services.tenancy.account_of(call.caller.scope)
        values = query(call)
        named = (header(call, b"harness-account"), values.get("accountIdentifier"), values.get("accountID"))
        for one in named:
            if one and one not in (account.slug, account.id):
                raise PermissionDenied(f"the key does not belong to account {one[:MAX_IDENTIFIER]!r}")
        return account

    async def where(self, call: Call) -> Where:
        """Return the organization and the project of a path. Raises NotFound, PermissionDenied."""
        return await self.place(call, call.params["org"], call.params["project"])

    async def place(self, call: Call, org: str, project: str) -> Where:
        """Return an organization and a project by their names. Raises NotFound, PermissionDenied."""
        account = await self.account(call)
        _check_length("org", org)
        _check_length("project", project)
        scope: TenantScope = call.caller.scope
        try:
            top = await self._services.tenancy.top(scope, org)
        except NotFound:
            raise NotFound(f"organization {org} not found") from None
        try:
            key, inner = await self._services.tenancy.inner_named(scope, top, project)
        except NotFound:
            raise NotFound(f"project {project} not found in organization {org}") from None
        return Where(account, top, inner, top.slug, key)

    async def project_pipelines(self, where: Where) -> Mapping[str, Mapping[str, str]]:
        """Return the default pipelines of a project by tool and operation."""
        own = await self._services.projects.extras(where.project, "harness")
        return own.get("default_pipelines") or {}

    async def common_pipelines(self, where: Where, workspace: Workspace) -> Mapping[str, str]:
        """Return the default pipelines that a workspace has from its project, by operation."""
        return (await self.project_pipelines(where)).get(workspace.iac_type.value) or {}

    async def organization(self, call: Call) -> Project:
        """Return the organization of a path. Raises NotFound, PermissionDenied."""
        await self.account(call)
        org = call.params["org"]
        _check_length("org", org)
        try:
            return await self._services.tenancy.top(call.caller.scope, org)
        except NotFound:
            raise NotFound(f"organization {org} not found") from None

    async def workspace(self, call: Call) -> tuple[Where, Workspace]:
        """Return the workspace of a path with its place. Raises NotFound, PermissionDenied."""
        where = await self.where(call)
        identifier = call.params["workspace"]
        _check_length("workspace", identifier)
        found = await self._services.workspaces.find_identifier(
            call.caller.scope, where.project.id, identifier
        )
        return where, found


def _check_length(name: str, value: str) -> None:
    if not 1 <= len(value) <= MAX_IDENTIFIER:
        raise InvalidArgument(f"length of {name} must be between 1 and {MAX_IDENTIFIER}")
