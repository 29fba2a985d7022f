"""Actions, runner types, packs and their configurations."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from runyard.actions.errors import InvalidMetadata, InvalidParameters
from runyard.actions.masking import mask_config
from runyard.actions.model import DEFAULT_PACK
from runyard.actions.packs.folder import entry_point_path
from runyard.actions.store import StoredAction
from runyard.dialects.door import Call
from runyard.dialects.stackstorm import granting, reading
from runyard.dialects.stackstorm.replies import send_json, send_list, send_nothing, send_text
from runyard.dialects.stackstorm.services import StackStormServices
from runyard.dialects.stackstorm.views import action_view, pack_view, runner_view
from runyard.kernel.errors import InvalidArgument, NotFound

ACTION_FIELDS: Final = (
    "id", "uid", "ref", "name", "pack", "description", "enabled", "runner_type", "entry_point", "parameters",
    "output_schema", "tags", "notify", "metadata_file",
)  # fmt: skip
RUNNER_FIELDS: Final = (
    "id", "uid", "name", "description", "enabled", "runner_package", "runner_module", "runner_parameters",
    "output_schema", "output_key",
)  # fmt: skip
PACK_FIELDS: Final = (
    "id", "uid", "ref", "name", "description", "keywords", "version", "stackstorm_version", "python_versions",
    "author", "email", "contributors", "files", "dependencies", "path",
)  # fmt: skip
_NOT_METADATA: Final = ("id", "ref", "uid", "data_files", "metadata_file")
_KINDS: Final = ("runner", "action", "trigger", "sensor", "rule", "alias", "policy", "config")


class CatalogueHandlers:
    """What can be run."""

    def __init__(self, services: StackStormServices) -> None:
        """Take the services."""
        self._catalogue = services.catalogue
        self._packs = services.packs

    # --- actions ---

    async def actions(self, call: Call) -> None:
        """List actions."""
        values = reading.query(call)
        _check_ids(values)
        found = [
            action_view(one)
            for one in await self._catalogue.actions(call.caller.scope.account_id)
            if _fits(one, values)
        ]
        await _page(call, values, found, ACTION_FIELDS, ("parameters", "notify"), None)

    async def action(self, call: Call) -> None:
        """Get an action."""
        await send_json(call, action_view(await self._viewed(call)))

    async def create_action(self, call: Call) -> None:
        """Add an action."""
        body = await reading.read_object(call)
        _require_create(call, body.get("pack"), body.get("name"))
        made = await self._catalogue.create(call.caller.scope.account_id, _metadata(body))
        await send_json(call, action_view(made), 201)

    async def update_action(self, call: Call) -> None:
        """Replace an action."""
        body = await reading.read_object(call)
        account = call.caller.scope.account_id
        stored = await self._stored(call)
        granting.require_action(call, "action_modify", stored.action)
        if body.get("pack") not in (None, stored.action.pack):
            _require_create(call, body.get("pack"), body.get("name"))
        made = await self._catalogue.update(account, call.params["action"], _metadata(body))
        await send_json(call, action_view(made))

    async def delete_action(self, call: Call) -> None:
        """Remove an action."""
        body = await reading.read_object(call)
        stored = await self._stored(call)
        granting.require_action(call, "action_delete", stored.action)
        if body.get("remove_files") is True and stored.action.metadata_file:
            raise InvalidArgument("Files of actions cannot be removed through the API in this version.")
        await self._catalogue.delete(call.caller.scope.account_id, call.params["action"])
        await send_nothing(call)

    async def clone_action(self, call: Call) -> None:
        """Copy an action."""
        body = await reading.read_object(call)
        for name in ("dest_pack", "dest_action"):
            if not isinstance(body.get(name), str):
                raise InvalidArgument(f"'{name}' is a required property")
        granting.require_action(call, "action_view", (await self._stored(call)).action)
        _require_create(call, body["dest_pack"], body["dest_action"])
        if body.get("overwrite") is True:
            uid = f"action:{body['dest_pack']}:{body['dest_action']}"
            granting.require(call, "action_modify", uid, f"pack:{body['dest_pack']}")
        made = await self._catalogue.clone(
            call.caller.scope.account_id,
            call.params["action"],
            body["dest_pack"],
            body["dest_action"],
            overwrite=body.get("overwrite") is True,
        )
        await send_json(call, action_view(made), 201)

    async def parameters_view(self, call: Call) -> None:
        """Show the merged parameters of an action."""
        stored = await self._viewed(call)
        await send_json(call, {"parameters": dict(self._catalogue.parameters(stored).schemas)})

    async def overview(self, call: Call) -> None:
        """Show an action with its merged parameters."""
        await send_json(call, self._overview(await self._viewed(call)))

    async def overviews(self, call: Call) -> None:
        """Show all actions with their merged parameters."""
        values = reading.query(call)
        _check_ids(values)
        found = await self._catalogue.actions(call.caller.scope.account_id)
        shown = [self._overview(one) for one in found if _fits(one, values)]
        await _page(call, values, shown, ACTION_FIELDS, ("parameters", "notify"), None)

    def _overview(self, stored: StoredAction) -> dict[str, Any]:
        return {**action_view(stored), "parameters": dict(self._catalogue.parameters(stored).schemas)}

    async def entry_point(self, call: Call) -> None:
        """Send the file that an action runs."""
        stored = await self._viewed(call)
        pack = await self._catalogue.pack(call.caller.scope.account_id, stored.action.pack)
        if not stored.action.entry_point or not pack.pack.path:
            raise NotFound(f"Action ref={stored.action.ref} has no entry_point to output")
        try:
            path = entry_point_path(Path(pack.pack.path), stored.action.entry_point)
        except InvalidMetadata as error:
            raise NotFound(error.message) from None
        await send_text(call, path.read_bytes())

    async def _stored(self, call: Call) -> StoredAction:
        return await self._catalogue.action(call.caller.scope.account_id, call.params["action"])

    async def _viewed(self, call: Call) -> StoredAction:
        stored = await self._stored(call)
        granting.require_action(call, "action_view", stored.action)
        return stored

    # --- runner types ---

    async def runners(self, call: Call) -> None:
        """List runner types."""
        values = reading.query(call)
        names = [one.name for _, one in self._catalogue.runners()]
        disabled = await self._catalogue.disabled_runners(call.caller.scope.account_id)
        found = [
            {**runner_view(name), "enabled": name not in disabled}
            for name in names
            if values.get("name") in (None, "", name)
        ]
        await _page(call, values, found, RUNNER_FIELDS)

    async def runner(self, call: Call) -> None:
        """Get a runner type."""
        _, found = self._catalogue.runner(call.params["runner"])
        granting.require(call, "runner_type_view", found.uid)
        disabled = await self._catalogue.disabled_runners(call.caller.scope.account_id)
        await send_json(call, {**runner_view(found.name), "enabled": found.name not in disabled})

    async def update_runner(self, call: Call) -> None:
        """Switch a runner type on or off; nothing else of it can be changed."""
        body = await reading.read_object(call)
        _, found = self._catalogue.runner(call.params["runner"])
        granting.require(call, "runner_type_modify", found.uid)
        enabled = body.get("enabled", True)
        if not isinstance(enabled, bool):
            raise InvalidArgument(f"{enabled!r} is not of type 'boolean'")
        await self._catalogue.switch_runner(call.caller.scope.account_id, found.name, enabled=enabled)
        await send_json(call, {**runner_view(found.name), "enabled": enabled})

    # --- packs ---

    async def packs(self, call: Call) -> None:
        """List packs."""
        values = reading.query(call)
        found = [pack_view(one) for one in await self._catalogue.packs(call.caller.scope.account_id)]
        for name in ("name", "ref"):
            if values.get(name):
                found = [one for one in found if one[name] == values[name]]
        await _page(call, values, found, PACK_FIELDS)

    async def pack(self, call: Call) -> None:
        """Get a pack."""
        found = await self._catalogue.pack(call.caller.scope.account_id, call.params["pack"])
        granting.require(call, "pack_view", found.pack.uid)
        await send_json(call, pack_view(found))

    async def register(self, call: Call) -> None:
        """Load packs from disk."""
        body = await reading.read_object(call)
        types, packs = body.get("types") or ["all"], body.get("packs")
        for value in (types, packs or []):
            if not isinstance(value, list):
                raise InvalidArgument(f"{value!r} is not of type 'array'")
        kinds = {_kind(str(one)) for one in types}
        names = None if not packs else [str(one) for one in packs]
        for uid in [f"pack:{name}" for name in names or ()] or ["pack:*"]:
            granting.require(call, "pack_register", uid)
        report = await self._packs.register(call.caller.scope.account_id, names)
        counts: dict[str, Any] = {}
        if kinds & {"all", "runner", "action"}:
            counts["runners"] = len(self._catalogue.runners())
        if kinds & {"all", "action"}:
            counts["actions"] = report.actions
        if kinds & {"all", "config"}:
            counts["configs"] = report.configs
        if report.problems:
            counts["problems"] = [str(one) for one in report.problems]
        await send_json(call, counts)

    # --- configurations ---

    async def config_schemas(self, call: Call) -> None:
        """List the schemas of configurations."""
        packs = await self._catalogue.packs(call.caller.scope.account_id)
        found = [{"id": one.id, **one.schema.as_dict()} for one in packs if one.schema is not None]
        await _page(call, reading.query(call), found, ("id", "pack", "attributes"))

    async def config_schema(self, call: Call) -> None:
        """Get the schema of a pack's configuration."""
        stored = await self._catalogue.pack(call.caller.scope.account_id, call.params["pack"])
        granting.require(call, "pack_view", stored.pack.uid)
        if stored.schema is None:
            raise NotFound(f'Unable to identify resource with pack_ref "{call.params["pack"]}".')
        await send_json(call, {"id": stored.id, **stored.schema.as_dict()})

    async def configs(self, call: Call) -> None:
        """List configurations."""
        account = call.caller.scope.account_id
        found = [
            await self._shown(call, pack, config_id, given)
            for pack, config_id, given in await self._catalogue.configs(account)
        ]
        await _page(call, reading.query(call), found, ("id", "pack", "values"))

    async def config(self, call: Call) -> None:
        """Get the configuration of a pack."""
        pack = call.params["pack"]
        granting.require(call, "pack_view", f"pack:{pack}")
        found = await self._catalogue.config(call.caller.scope.account_id, pack)
        if found is None:
            raise NotFound(f'Unable to identify resource with pack_ref "{pack}".')
        await send_json(call, await self._shown(call, pack, *found))

    async def set_config(self, call: Call) -> None:
        """Set the configuration of a pack."""
        pack, body = call.params["pack"], await reading.read_object(call)
        granting.require(call, "pack_config", f"pack:{pack}")
        try:
            config_id = await self._catalogue.set_config(call.caller.scope.account_id, pack, body)
        except InvalidParameters as error:
            raise InvalidArgument(error.message) from None
        await send_json(call, await self._shown(call, pack, config_id, body))

    async def _shown(
        self, call: Call, pack: str, config_id: str, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        shown = dict(values)
        if not reading.shows_secrets(call, reading.query(call)):
            stored = await self._catalogue.pack(call.caller.scope.account_id, pack)
            shown = mask_config(values, stored.schema.attributes if stored.schema else {})
        return {"id": config_id, "pack": pack, "values": shown}


def _require_create(call: Call, pack: object, name: object) -> None:
    """Refuse a new action in a pack where none was granted. Raises PermissionDenied."""
    pack = pack if isinstance(pack, str) and pack else DEFAULT_PACK
    granting.require(call, "action_create", f"action:{pack}:{name}", f"pack:{pack}")


def _metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    if body.get("data_files"):
        raise InvalidArgument("Files of actions cannot be written through the API in this version.")
    return {name: value for name, value in body.items() if name not in _NOT_METADATA}


def _kind(word: str) -> str:
    if word == "all":
        return word
    for kind in _KINDS:
        if word in (kind, f"{kind}s", f"{kind}es", f"{kind[:-1]}ies") or word.startswith(f"{kind}_type"):
            return kind
    raise InvalidArgument(f"'{word}' is not one of {['all', *_KINDS]}")


def _check_ids(values: Mapping[str, str]) -> None:
    """Refuse a filter by what cannot be an id. Raises InvalidArgument."""
    for word in reading.words(values, "id"):
        reading.object_id(word)


def _fits(stored: StoredAction, values: Mapping[str, str]) -> bool:
    action = stored.action
    for name, value in (("name", action.name), ("pack", action.pack), ("id", stored.id)):
        wanted = reading.words(values, name)
        if wanted and value not in wanted:
            return False
    tags = values.get("tags")
    return not tags or any(tags in (tag.name, tag.value, f"{tag.name}:{tag.value}") for tag in action.tags)


async def _page(
    call: Call,
    values: Mapping[str, str],
    found: list[dict[str, Any]],
    fields: Iterable[str],
    excludable: tuple[str, ...] = (),
    default: int | None = 100,
) -> None:
    """Send a page of a list that is held in memory; `default` items, None for all, unless the query says how many."""
    included, excluded = reading.attributes(values, tuple(fields), excludable)
    offset, limit = reading.paging(call, values, default)
    for word in reversed(reading.words(values, "sort")):
        name = word.lstrip("+-")
        if name in fields:
            found = sorted(found, key=lambda one: str(one.get(name)), reverse=word.startswith("-"))
    stop = None if limit is None else offset + limit
    items = [reading.narrowed(one, included, excluded) for one in found[offset:stop]]
    await send_list(call, items, len(found), limit)
