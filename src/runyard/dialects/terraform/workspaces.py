"""Organizations, projects and workspaces in the words of the protocol, and the lock of a workspace."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from runyard.dialects.door import Call
from runyard.dialects.terraform import reading
from runyard.dialects.terraform.finding import organization, refuse_manual, writer_of
from runyard.dialects.terraform.reading import Resource
from runyard.dialects.terraform.replies import resource, send_list, send_nothing, send_resource, time_of
from runyard.dialects.terraform.runviews import named
from runyard.dialects.terraform.services import TerraformServices
from runyard.identity.model import Account, Permission, Principal
from runyard.infrastructure.projects.model import NewProject
from runyard.infrastructure.runs.model import Run
from runyard.infrastructure.state.errors import StateLocked
from runyard.infrastructure.state.model import HolderKind, Lock
from runyard.infrastructure.workspaces.model import (
    ApplyRule,
    Code,
    IacType,
    Match,
    NewWorkspace,
    Workspace,
    WorkspaceChanges,
    WorkspaceQuery,
)
from runyard.kernel.errors import Conflict, InvalidArgument
from runyard.kernel.ids import ProjectId

EXTRAS: Final = "terraform"
"""Under which workspaces keep what only this dialect knows."""
LOCAL, REMOTE = "local", "remote"
_MODES: Final = (REMOTE, LOCAL)
_ENTITLEMENTS: Final = {
    "operations": True,
    "state-storage": True,
    "cost-estimation": False,
    "private-module-registry": False,
    "run-tasks": False,
    "sentinel": False,
    "teams": False,
    "vcs-integrations": True,
}


def execution_mode(found: Workspace) -> str:
    """Return where the runs of a workspace are executed: on the server, or where the command is typed."""
    own = found.extras.get(EXTRAS)
    chosen = own.get("execution_mode") if isinstance(own, Mapping) else None
    if chosen in _MODES:
        return str(chosen)
    return REMOTE if found.managed else LOCAL


class WorkspaceHandlers:
    """Workspaces."""

    def __init__(self, services: TerraformServices) -> None:
        """Take the services."""
        self._services = services

    async def ping(self, call: Call) -> None:
        """Say which version of the protocol is spoken."""
        await send_nothing(call)

    async def account(self, call: Call) -> None:
        """Show who the caller is."""
        caller = call.caller
        attributes = {"username": caller.user_name, "is-service-account": False, "email": None}
        await send_resource(call, resource("users", caller.user_id, attributes))

    async def entitlements(self, call: Call) -> None:
        """Say what an organization can do."""
        found = await organization(self._services, call)
        await send_resource(call, resource("entitlement-sets", found.id, _ENTITLEMENTS))

    async def organization(self, call: Call) -> None:
        """Show an organization."""
        found = await organization(self._services, call)
        attributes = {
            "name": found.slug,
            "external-id": found.id,
            "created-at": time_of(found.created_at),
            "permissions": {"can-create-workspace": call.caller.may(Permission.WORKSPACES_WRITE)},
        }
        await send_resource(call, resource("organizations", found.slug, attributes))

    async def projects(self, call: Call) -> None:
        """List the projects that the caller sees, of a name if one is asked for."""
        await organization(self._services, call)
        number, size = reading.page(call)
        wanted = reading.query(call).get("filter[names]") or reading.query(call).get("filter[name]")
        found = await self._services.identity.list_projects(call.caller)
        items = [
            resource("projects", one.id, {"name": wanted or one.slug})
            for one in found
            if wanted is None or wanted in (one.slug, one.name)
        ]
        first = (number - 1) * size
        await send_list(call, items[first : first + size], number, size, more=len(items) > first + size)

    async def create_project(self, call: Call) -> None:
        """Make a project: the command does so when a configuration names one that is not there."""
        await organization(self._services, call)
        name = reading.attribute(await reading.read_document(call), "name", str, "")
        made = await self._services.projects.create(call.caller, NewProject(name=name))
        await send_resource(call, resource("projects", made.project.id, {"name": name}), 201)

    async def list(self, call: Call) -> None:
        """List workspaces by name, part of a name, or tags."""
        account = await organization(self._services, call)
        values = reading.query(call)
        number, size = reading.page(call)
        tags = [tag for tag in values.get("search[tags]", "").split(",") if tag]
        bound = _tagged(values)
        text = (values.get("search[name]") or values.get("search[wildcard-name]") or "").strip("*")
        project = values.get("filter[project][id]")
        query = WorkspaceQuery(
            text=text,
            match=Match(labels=bound[:1] or tags[:1]),
            project_ids=(ProjectId(project),) if project else (),
            sort=(("name", True),),
            offset=(number - 1) * size,
            limit=size + 1,
        )
        found = await self._services.workspaces.search(call.caller.scope, query)
        items = [
            await self._shown(one, account, call.caller)
            for one in found[:size]
            if set(bound) <= set(one.labels) and _has_tags(one, tags) and text in one.name
        ]
        await send_list(call, items, number, size, more=len(found) > size)

    async def get(self, call: Call) -> None:
        """Show a workspace by its name."""
        account = await organization(self._services, call)
        found = await self._services.workspaces.find(call.caller.scope, call.params["name"])
        lock, current = await self._services.locks.holder(found.id), await self._services.runs.current(found)
        await send_resource(call, workspace_view(found, account, call.caller, lock, current))

    async def create(self, call: Call) -> None:
        """Make a workspace."""
        account = await organization(self._services, call)
        asked = await reading.read_document(call)
        project = reading.related(asked, "project")
        made = await self._services.workspaces.create(
            call.caller,
            NewWorkspace(
                name=reading.attribute(asked, "name", str, ""),
                project_id=None if project is None else ProjectId(project),
                description=reading.attribute(asked, "description", str, ""),
                labels=_tags(asked),
                iac_type=reading.attribute(asked, "iac-type", str, IacType.TERRAFORM),
                iac_version=_version(asked),
                code=Code(working_directory=reading.attribute(asked, "working-directory", str, "")),
                apply_rule=_apply_rule(asked),
                remote_state=True,
                extras={EXTRAS: _own(asked, {})},
            ),
        )
        await send_resource(call, await self._shown(made, account, call.caller), 201)

    async def update(self, call: Call) -> None:
        """Change a workspace: its name, version, mode, rule, working directory or description."""
        await organization(self._services, call)
        await self._change(call, await self._services.workspaces.find(call.caller.scope, call.params["name"]))

    async def update_by_id(self, call: Call) -> None:
        """Change a workspace that is named by its id."""
        await self._change(call, await self._named(call))

    async def get_by_id(self, call: Call) -> None:
        """Show a workspace by its id."""
        await self._answer(call, await self._named(call))

    async def delete_by_id(self, call: Call) -> None:
        """Delete a workspace by its id."""
        await self._delete(call, await self._named(call))

    async def _named(self, call: Call) -> Workspace:
        return await self._services.workspaces.look_up(call.caller.scope, call.params["workspace"])

    async def _change(self, call: Call, known: Workspace) -> None:
        asked = await reading.read_document(call)
        changes: dict[str, Any] = {"extras": {EXTRAS: _own(asked, known.extras.get(EXTRAS) or {})}}
        for theirs, ours in (
            ("name", "name"),
            ("description", "description"),
            ("working-directory", "working_directory"),
            ("iac-type", "iac_type"),
        ):
            if asked.attributes.get(theirs) is not None:
                changes[ours] = reading.attribute(asked, theirs, str, "")
        if "terraform-version" in asked.attributes:
            changes["iac_version"] = _version(asked)
        if "auto-apply" in asked.attributes:
            changes["apply_rule"] = _apply_rule(asked)
        changed = await self._services.workspaces.update(call.caller, known.id, WorkspaceChanges(**changes))
        await self._answer(call, changed)

    async def delete(self, call: Call) -> None:
        """Delete a workspace, its history and its state."""
        await organization(self._services, call)
        found = await self._services.workspaces.find(call.caller.scope, call.params["name"])
        await self._delete(call, found)

    async def safe_delete(self, call: Call) -> None:
        """Delete a workspace unless its state has resources."""
        await organization(self._services, call)
        found = await self._services.workspaces.find(call.caller.scope, call.params["name"])
        current = await self._services.states.current(found.id)
        if current is not None and current.facts.resources:
            raise Conflict("the state of the workspace has resources; destroy them first")
        await self._delete(call, found)

    async def _delete(self, call: Call, found: Workspace) -> None:
        await self._services.runs.delete_workspace(call.caller, found.id)
        await send_nothing(call)

    async def tag(self, call: Call) -> None:
        """Add tags, which are the labels here."""
        found = await self._named(call)
        names = [_tag(one.attributes) for one in await reading.read_documents(call)]
        labels = list(dict.fromkeys([*found.labels, *names]))
        await self._services.workspaces.update(call.caller, found.id, WorkspaceChanges(labels=labels))
        await send_nothing(call)

    async def tags(self, call: Call) -> None:
        """List tags."""
        found = await self._named(call)
        items = [resource("tags", label, {"name": label}) for label in found.labels]
        await send_list(call, items, 1, max(len(items), 1))

    async def bindings(self, call: Call) -> None:
        """List tags as keys with values."""
        found = await self._named(call)
        items = [resource("tag-bindings", label, _binding(label)) for label in found.labels]
        await send_list(call, items, 1, max(len(items), 1))

    async def bind(self, call: Call) -> None:
        """Add tags that have a key and a value."""
        found = await self._named(call)
        labels = [_tag(one.attributes) for one in await reading.read_documents(call)]
        merged = list(dict.fromkeys([*found.labels, *labels]))
        changed = await self._services.workspaces.update(
            call.caller, found.id, WorkspaceChanges(labels=merged)
        )
        items = [resource("tag-bindings", label, _binding(label)) for label in changed.labels]
        await send_list(call, items, 1, max(len(items), 1))

    # --- the lock ---

    async def lock(self, call: Call) -> None:
        """Lock a workspace's state for the caller."""
        found = await self._named(call)
        asked = await reading.read_document(call)
        account = await self._services.tenancy.account_of(call.caller.scope)
        writer = writer_of(call.caller)
        refuse_manual(found, writer)
        info = {
            "Who": call.caller.actor,
            "Info": str(asked.attributes.get("reason") or ""),
            "Path": f"{account.slug}/{found.name}",
        }
        await self._services.locks.acquire(found, writer, secrets.token_hex(16), info)
        await send_resource(call, await self._shown(found, account, call.caller))

    async def unlock(self, call: Call) -> None:
        """Release the caller's lock."""
        found = await self._named(call)
        lock = await self._services.locks.holder(found.id)
        if lock is None:
            raise Conflict("the workspace is not locked")
        if lock.holder is not HolderKind.CLIENT or lock.user_id != call.caller.user_id:
            raise StateLocked(f"the workspace is locked by {lock.actor}", holder=lock)
        await self._services.locks.release(found, writer_of(call.caller), lock.lock_id)
        await self._answer(call, found)

    async def force_unlock(self, call: Call) -> None:
        """Break whichever lock is held."""
        found = await self._named(call)
        broken = await self._services.locks.break_lock(found, writer_of(call.caller))
        if broken is None:
            raise Conflict("the workspace is not locked")
        await self._answer(call, found)

    async def _answer(self, call: Call, found: Workspace) -> None:
        account = await self._services.tenancy.account_of(call.caller.scope)
        await send_resource(call, await self._shown(found, account, call.caller))

    async def _shown(self, found: Workspace, account: Account, caller: Principal) -> dict[str, Any]:
        return workspace_view(found, account, caller, await self._services.locks.holder(found.id))


def workspace_view(
    found: Workspace, account: Account, caller: Principal, lock: Lock | None, current: Run | None = None
) -> dict[str, Any]:
    """Show a workspace as the protocol does; by `current` the command counts the runs before its own."""
    mode, code = execution_mode(found), found.code
    repository = code.repository or code.repository_url
    attributes: dict[str, Any] = {
        "name": found.name,
        "description": found.description,
        "auto-apply": found.apply_rule is ApplyRule.AUTO,
        "created-at": time_of(found.created_at),
        "updated-at": time_of(found.updated_at),
        "execution-mode": mode,
        "operations": mode == REMOTE,
        "locked": lock is not None or found.lock is not None,
        "terraform-version": found.iac_version or "latest",
        "iac-type": found.iac_type.value,
        "working-directory": code.working_directory,
        "vcs-repo": {"identifier": repository, "branch": code.branch} if repository else None,
        "speculative-enabled": True,
        "structured-run-output-enabled": False,
        "global-remote-state": False,
        "queue-all-runs": False,
        "file-triggers-enabled": False,
        "allow-destroy-plan": True,
        "tag-names": list(found.labels),
        "resource-count": found.resource_count or 0,
        "actions": {"is-destroyable": True},
        "permissions": _permissions(caller),
    }
    related: dict[str, Any] = {
        "organization": ("organizations", account.slug),
        "project": ("projects", found.project_id),
    }
    if current is not None:
        related["current-run"] = ("runs", named("run", current.id))
    if lock is not None:
        related["locked-by"] = (
            ("runs", named("run", lock.run_id)) if lock.run_id else ("users", lock.user_id or lock.actor)
        )
    return resource("workspaces", found.id, attributes, related)


def _permissions(caller: Principal) -> Mapping[str, bool]:
    may = caller.may
    run, write = may(Permission.WORKSPACES_RUN), may(Permission.WORKSPACES_WRITE)
    state = may(Permission.STATE_WRITE)
    return {
        "can-read-settings": may(Permission.WORKSPACES_READ),
        "can-update": write,
        "can-destroy": write,
        "can-queue-run": run,
        "can-queue-apply": run and may(Permission.WORKSPACES_APPROVE),
        "can-queue-destroy": run and may(Permission.WORKSPACES_APPROVE),
        "can-lock": state,
        "can-unlock": state,
        "can-force-unlock": state,
        "can-read-state-versions": may(Permission.STATE_READ),
        "can-read-state-outputs": may(Permission.STATE_READ),
        "can-create-state-versions": state,
        "can-read-variable": may(Permission.WORKSPACES_READ),
        "can-update-variable": write,
        "can-read-run": may(Permission.WORKSPACES_READ),
    }


def _own(asked: Resource, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what only this dialect keeps of a workspace."""
    mode = asked.attributes.get("execution-mode")
    if mode is None and isinstance(asked.attributes.get("operations"), bool):
        mode = REMOTE if asked.attributes["operations"] else LOCAL
    if mode is None:
        return dict(known)
    if mode not in _MODES:
        raise InvalidArgument("execution-mode must be remote or local")
    return {**known, "execution_mode": mode}


def _version(asked: Resource) -> str:
    found = reading.attribute(asked, "terraform-version", str, "")
    return "" if found == "latest" else found


def _apply_rule(asked: Resource) -> ApplyRule:
    auto = reading.attribute(asked, "auto-apply", bool, default=False)
    return ApplyRule.AUTO if auto else ApplyRule.MANUAL


def _tags(asked: Resource) -> Sequence[str]:
    """Return names of tags, of either form; a key with a value is written `key:value`."""
    names: list[str] = []
    for kind in ("tags", "tag-bindings"):
        relation = asked.relationships.get(kind)
        data = relation.get("data") if isinstance(relation, Mapping) else None
        for one in data if isinstance(data, list) else ():
            found = one.get("attributes") if isinstance(one, Mapping) else None
            if isinstance(found, Mapping):
                names.append(_tag(found))
    return names


def _tagged(values: Mapping[str, str]) -> list[str]:
    """Return the tags with keys that a query asks for: `filter[tagged][0][key]`, `filter[tagged][0][value]`."""
    keys = {name: value for name, value in values.items() if name.startswith("filter[tagged][")}
    return [
        _tag({"key": key, "value": keys.get(f"{name.removesuffix('[key]')}[value]")})
        for name, key in keys.items()
        if name.endswith("[key]")
    ]


def _has_tags(found: Workspace, tags: Sequence[str]) -> bool:
    """Tell whether a workspace has all tags, with whatever value."""
    return set(tags) <= {label.partition(":")[0] for label in found.labels} | set(found.labels)


def _binding(label: str) -> dict[str, str]:
    key, _, value = label.partition(":")
    return {"key": key, "value": value}


def _tag(attributes: Mapping[str, Any]) -> str:
    key, value = attributes.get("key"), attributes.get("value")
    if isinstance(key, str):
        return f"{key}:{value}" if value else key
    name = attributes.get("name")
    if not isinstance(name, str):
        raise InvalidArgument("a tag needs a name")
    return name
