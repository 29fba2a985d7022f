"""Who the caller is, and where: user, organizations, workspaces, projects, API keys."""

from typing import Any

from runyard.dialects.door import Call
from runyard.dialects.dreadnode import places, reading
from runyard.dialects.dreadnode.replies import send_json, send_nothing, time_of
from runyard.dialects.dreadnode.services import DreadnodeServices
from runyard.environments.lifetimes import Lifetimes
from runyard.identity.keys import NewKey, UserKey
from runyard.identity.model import Account, Project
from runyard.kernel.errors import InvalidArgument, NotFound
from runyard.kernel.ids import ProjectId

DEFAULT = "default"
"""The key that is preferred where the caller names none."""


class IdentityHandlers:
    """The caller and its part of the tree."""

    def __init__(self, services: DreadnodeServices) -> None:
        """Take the services."""
        self._tenancy = services.tenancy
        self._identity = services.identity
        self._lifetimes = services.lifetimes

    async def user(self, call: Call) -> None:
        """Tell who the caller is."""
        caller = call.caller
        account = await self._tenancy.account_of(caller.scope)
        known = await self._tenancy.user(caller.user_id)
        name = known.name
        view = {
            "id": caller.user_id,
            "email_address": known.email or (name if "@" in name else f"{name}@{account.slug}.invalid"),
            "username": name,
            "full_name": name,
            "onboarding_complete": True,
            "is_platform_admin": False,
        }
        await send_json(call, view)

    async def organizations(self, call: Call) -> None:
        """List the organizations of the caller: the one of its account."""
        account = await self._tenancy.account_of(call.caller.scope)
        await send_json(call, [self._organization(account)])

    async def organization(self, call: Call) -> None:
        """Tell about an organization."""
        await send_json(call, self._organization(await places.organization(self._tenancy, call)))

    def _organization(self, account: Account) -> dict[str, Any]:
        return {
            "id": account.id,
            "name": account.name,
            "key": account.slug,
            "is_active": True,
            **_limits(self._lifetimes),
            "created_at": time_of(account.created_at),
            "updated_at": time_of(account.created_at),
        }

    async def workspaces(self, call: Call) -> None:
        """List workspaces."""
        await places.organization(self._tenancy, call)
        found = await self._tenancy.tops(call.caller.scope)
        await send_json(call, [_workspace(one) for one in found])

    async def workspace(self, call: Call) -> None:
        """Tell about a workspace."""
        await send_json(call, _workspace(await places.workspace(self._tenancy, call)))

    async def projects(self, call: Call) -> None:
        """List the projects of a workspace."""
        top = await places.workspace(self._tenancy, call)
        found = await self._tenancy.inner(call.caller.scope, top)
        await send_json(call, [_project(key, one, top) for key, one in found])

    async def project(self, call: Call) -> None:
        """Tell about a project."""
        top = await places.workspace(self._tenancy, call)
        key, found = await places.project(self._tenancy, call, top, call.params["project"])
        await send_json(call, _project(key, found, top))

    async def create_project(self, call: Call) -> None:
        """Add a project to a workspace."""
        top = await places.workspace(self._tenancy, call)
        body = await reading.read_object(call)
        key = reading.text(body, "key", most=64)
        name = reading.optional_text(body, "name", least=1, most=256)
        made = await self._identity.create_project(call.caller, top.id, key, name)
        await send_json(call, _project(made.slug, made, top), 201)


class KeyHandlers:
    """API keys of the caller."""

    def __init__(self, services: DreadnodeServices) -> None:
        """Take the services."""
        self._keys = services.keys
        self._tenancy = services.tenancy

    async def create(self, call: Call) -> None:
        """Make one; its secret is in this answer only."""
        body = await reading.read_object(call)
        account = await self._tenancy.account_of(call.caller.scope)
        org = reading.optional_text(body, "org_id")
        if org is not None and org not in (account.id, account.slug):
            raise NotFound("Organization not found")
        scopes = body.get("allowed_scopes")
        if scopes is not None and not _texts(scopes):
            raise InvalidArgument("allowed_scopes: must be texts", loc=["body", "allowed_scopes"])
        new = NewKey(
            name=reading.optional_text(body, "name", least=1, most=256),
            project_id=await self._workspace(call, reading.optional_text(body, "workspace_id")),
            scopes=scopes,
            allow_self_revoke=reading.optional_flag(body, "allow_self_revoke") or False,
        )
        made, secret = await self._keys.create(call.caller, new)
        await send_json(call, {**_key(made), "key": secret}, 201)

    async def _workspace(self, call: Call, reference: str | None) -> ProjectId | None:
        if reference is None:
            return None
        top = await places.workspace_named(self._tenancy, call, reference)
        return (await self._tenancy.home(call.caller.scope, top)).id

    async def list(self, call: Call) -> None:
        """List them, without their secrets."""
        await send_json(call, [_key(one) for one in await self._keys.list(call.caller)])

    async def delete(self, call: Call) -> None:
        """End one."""
        await self._keys.revoke(call.caller, call.params["key"])
        await send_nothing(call)

    async def delete_self(self, call: Call) -> None:
        """End the one that the caller came with."""
        await self._keys.revoke_self(call.caller)
        await send_nothing(call)


def _limits(lifetimes: Lifetimes) -> dict[str, Any]:
    """Tell how long sandboxes live, and which level of the dialect's four says so."""
    narrowed = lifetimes.max_secs < lifetimes.hard_max_secs
    return {
        "effective_max_sandbox_runtime_seconds": min(lifetimes.max_secs, lifetimes.hard_max_secs),
        "max_sandbox_runtime_source_level": "l2_org_max" if narrowed else "l1_platform_max",
        "effective_default_sandbox_runtime_seconds": lifetimes.effective(None),
        "default_sandbox_runtime_source_level": "l1_platform_default",
        "platform_max_sandbox_runtime_seconds": lifetimes.hard_max_secs,
        "platform_default_sandbox_runtime_seconds": lifetimes.default_secs,
    }


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _workspace(project: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "name": project.name,
        "key": project.slug,
        "org_id": project.account_id,
        "is_default": project.slug == DEFAULT,
        "created_at": time_of(project.created_at),
        "updated_at": time_of(project.created_at),
    }


def _project(key: str, project: Project, top: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "key": key,
        "name": project.name,
        "workspace_id": top.id,
        "is_default": key == DEFAULT,
        "created_at": time_of(project.created_at),
        "updated_at": time_of(project.created_at),
    }


def _key(key: UserKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "masked_key": key.masked,
        "active": key.active,
        "allowed_scopes": key.scopes,
        "allow_self_revoke": key.allow_self_revoke,
        "created_at": time_of(key.created_at),
        "last_used_at": None if key.last_used_at is None else time_of(key.last_used_at),
        "expires_at": None if key.expires_at is None else time_of(key.expires_at),
    }
