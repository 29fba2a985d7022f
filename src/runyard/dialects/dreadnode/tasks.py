"""Task packages: list, details, versions, readme, instruction, visibility, removal."""

import re
from collections.abc import Mapping
from typing import Any, Final

from runyard.dialects.door import Call
from runyard.dialects.dreadnode import places, reading
from runyard.dialects.dreadnode.listing import facets_view, page_view, read_listing
from runyard.dialects.dreadnode.replies import send_json, send_nothing, time_of
from runyard.dialects.dreadnode.services import DreadnodeServices
from runyard.environments.errors import EnvironmentNotFound
from runyard.environments.packages.model import SORTS, ScriptUse, TaskFilter, TaskPackage
from runyard.environments.packages.service import parsed
from runyard.environments.variables import service_variables, text_of
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied

_PLACEHOLDER: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")


class TaskHandlers:
    """The tasks of an organization."""

    def __init__(self, services: DreadnodeServices) -> None:
        """Take the services."""
        self._packages = services.packages
        self._tenancy = services.tenancy
        self._environments = services.environments

    async def list(self, call: Call) -> None:
        """List the latest version of each task."""
        await places.organization(self._tenancy, call)
        wanted = _filter(call)
        found, total = await self._packages.list(call.caller.scope, wanted)
        items = [summary(one) for one in found]
        await send_json(call, page_view("tasks", items, wanted.page, wanted.limit, total))

    async def facets(self, call: Call) -> None:
        """Count the values to filter by."""
        await places.organization(self._tenancy, call)
        public = reading.boolean(reading.query(call), "include_public") or False
        found = await self._packages.facets(call.caller.scope, include_public=public)
        await send_json(call, facets_view(found))

    async def get(self, call: Call) -> None:
        """Tell all about a version, the latest unless the path names one."""
        await send_json(call, detail(await self._found(call)))

    async def versions(self, call: Call) -> None:
        """List the versions, the highest first."""
        found, latest = await self._packages.versions(
            call.caller.scope, call.params["org"], call.params["task"]
        )
        await send_json(call, {"versions": [str(one) for one in found], "latest": summary(latest)})

    async def readme(self, call: Call) -> None:
        """Send the README of the latest version."""
        found = await self._found(call)
        if found.readme is None:
            raise NotFound("This task has no README")
        await send_json(call, {"content": found.readme})

    async def instruction(self, call: Call) -> None:
        """Send the instruction; with an environment named, its variables are filled in."""
        found = await self._found(call)
        environment = reading.one(reading.query(call), "sandbox_id")
        variables = {} if environment is None else await self._variables(call, environment)
        await send_json(call, {"instruction": rendered(found.manifest.instruction, variables)})

    async def _variables(self, call: Call, environment: str) -> Mapping[str, str]:
        """Return what the placeholders mean in an environment; what its maker gave wins. Raises NotFound."""
        try:
            found = await self._environments.get(call.caller.scope, environment)
        except EnvironmentNotFound:
            raise NotFound("Sandbox not found") from None
        values = {**found.variables, **found.definition.inputs}
        return {
            **service_variables(found.service_urls or {}),
            **{name: text_of(one) for name, one in values.items() if one is not None},
        }

    async def set_visibility(self, call: Call) -> None:
        """Publish a task or take it back, all versions together."""
        await self._own(call)
        name = call.params["task"]
        public = reading.optional_flag(await reading.read_object(call), "is_public")
        if public is None:
            raise InvalidArgument("is_public: field required", loc=["body", "is_public"])
        await self._packages.set_public(call.caller, name, public=public)
        message = f"Task {name} is {'public' if public else 'private'} now"
        await send_json(call, {"is_public": public, "message": message})

    async def delete(self, call: Call) -> None:
        """Remove a version."""
        await self._own(call)
        await self._packages.delete(
            call.caller, call.params["task"], parsed(call.params["version"], call.params["task"])
        )
        await send_nothing(call)

    async def _found(self, call: Call) -> TaskPackage:
        name = call.params["task"]
        version = parsed(call.params.get("version", "latest"), name)
        return await self._packages.of(call.caller.scope, call.params["org"], name, version)

    async def _own(self, call: Call) -> None:
        """Refuse to change what belongs to others: not found, or forbidden when it can be seen."""
        try:
            await places.organization(self._tenancy, call)
        except NotFound:
            await self._packages.of(call.caller.scope, call.params["org"], call.params["task"], None)
            raise PermissionDenied("this task belongs to another organization") from None


def _filter(call: Call) -> TaskFilter:
    values = reading.query(call)
    return TaskFilter(
        difficulties=values.get("difficulty", ()),
        tags=values.get("tags", ()),
        authors=values.get("author", ()),
        sources=values.get("source", ()),
        **read_listing(values, SORTS),
    )


def rendered(instruction: str, variables: Mapping[str, str]) -> str:
    """Fill in placeholders; those without a value stay as they are."""
    return _PLACEHOLDER.sub(lambda found: variables.get(found.group(1), found.group(0)), instruction)


def summary(task: TaskPackage) -> dict[str, Any]:
    """Return a task as it is listed."""
    manifest = task.manifest
    return {
        "id": task.id,
        "name": task.name,
        "version": task.version,
        "org_key": task.org,
        "organization_id": task.account_id,
        "is_public": task.public,
        "file_size": task.size_bytes,
        "created_at": time_of(task.created_at),
        "template_status": "ready",
        "sandbox_provider": "docker",
        "oci_digest": f"sha256:{task.layer_digest}",
        "ports": {service: list(ports) for service, ports in manifest.ports.items()},
        "tags": list(manifest.tags),
        "source": manifest.source,
        "author": manifest.author,
        "license": manifest.license,
        "difficulty": manifest.difficulty,
        "description": manifest.description,
        "verification": manifest.document.get("verification"),
        "max_agent_timeout_sec": manifest.max_agent_timeout_sec,
    }


def detail(task: TaskPackage) -> dict[str, Any]:
    """Return all about a task."""
    manifest = task.manifest
    return {
        **summary(task),
        "instruction": manifest.instruction,
        "created_by": task.created_by,
        "sha256": task.layer_digest,
        "provision": _script(manifest.provision),
        "teardown": _script(manifest.teardown),
        "solution": None if manifest.solution is None else {"script": manifest.solution},
        "models": manifest.document.get("models"),
        "egress": None if manifest.egress is None else {"allow": list(manifest.egress)},
        "repository": manifest.repository,
    }


def _script(use: ScriptUse | None) -> dict[str, Any] | None:
    return None if use is None else {"script": use.script, "timeout": use.timeout_sec}
