"""Verbs of packs, actions and configurations. Owns what can be run; runs nothing.

The packs that come with the product are read from its folder at start and live in memory, for every account alike, with
ids made from their names. Everything else is a row of an account.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from runyard.actions import store
from runyard.actions.errors import ActionExists, ActionNotFound, InvalidMetadata, PackNotFound
from runyard.actions.ids import ActionId, PackId, settled_id
from runyard.actions.model import (
    READ_ONLY_PACKS,
    READ_ONLY_TEXT,
    RunnerType,
    make_action,
    split_ref,
)
from runyard.actions.packs.config import check_config
from runyard.actions.packs.loader import Problem, check_action, find_packs, load_pack, runner_of, system_packs
from runyard.actions.parameters.validate import Parameters
from runyard.actions.runnertypes import RUNNER_TYPES, runner_named
from runyard.actions.store import StoredAction, StoredPack
from runyard.actions.values import Json, JsonObject
from runyard.database.engine import Database
from runyard.database.errors import UniqueViolation
from runyard.kernel.clock import Now, monotonic, utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import Conflict, NotFound
from runyard.kernel.ids import AccountId
from runyard.kernel.jsons import encode_json

LARGEST_ACTION: Final = 1 << 20
"""Bytes of the metadata of an action, as of a file of a pack: lists hold all actions of an account."""
LARGEST_PREPARED: Final = 64 << 10
"""Bytes of an action beyond which it is prepared for each run anew, and not kept in memory."""
_PREPARED: Final = 2048
_KNOWN_SECONDS: Final = 15.0
"""How long another server process on the same database may use a runner that was switched off here."""


class Registered(msgspec.Struct):
    """What a registration found."""

    actions: int = 0
    packs: int = 0
    configs: int = 0
    problems: list[Problem] = []


class Catalogue:
    """The packs and actions of all accounts."""

    def __init__(self, database: Database, vault: Vault, folders: Sequence[Path], now: Now = utc_now) -> None:
        """Look for packs below some folders when asked to; `start` loads those of the product."""
        self._database = database
        self._vault = vault
        self._folders = tuple(folders)
        self._now = now
        self._packs: dict[str, StoredPack] = {}
        self._actions: dict[str, StoredAction] = {}
        self._prepared: dict[tuple[str, object], Parameters] = {}
        self._disabled: dict[str, tuple[float, frozenset[str]]] = {}
        self._switched = 0

    def start(self) -> None:
        """Load the packs that come with the product. Raises InvalidMetadata."""
        for folder in system_packs():
            loaded = load_pack(folder)
            ref = loaded.pack.ref
            self._packs[ref] = StoredPack(
                id=settled_id(f"pack:{ref}"), pack=loaded.pack, schema=loaded.config_schema
            )
            for action in loaded.actions:
                stored = StoredAction(id=settled_id(f"action:{action.ref}"), action=action, changed_at=None)
                self._actions[action.ref] = stored

    # --- runner types ---

    def runners(self) -> list[tuple[str, RunnerType]]:
        """List all runner types with their ids, by name."""
        return [(settled_id(one.uid), one) for one in sorted(RUNNER_TYPES.values(), key=lambda one: one.name)]

    def runner(self, name_or_id: str) -> tuple[str, RunnerType]:
        """Find a runner type. Raises NotFound."""
        for found in self.runners():
            if name_or_id in (found[0], found[1].name):
                return found
        raise NotFound(f'Resource with a name or id "{name_or_id}" not found')

    async def disabled_runners(self, account: AccountId) -> frozenset[str]:
        """Return the names of the runner types that an account has switched off; known for some seconds."""
        known = self._disabled.get(account)
        if known is not None and known[0] > monotonic():
            return known[1]
        switched = self._switched
        async with self._database.read() as tx:
            found = await store.disabled_runner_types(tx, account)
        if switched == self._switched:
            # Else a switch came after it was read, and what was read would live on.
            self._disabled[account] = (monotonic() + _KNOWN_SECONDS, found)
        return found

    async def switch_runner(self, account: AccountId, name_or_id: str, *, enabled: bool) -> RunnerType:
        """Switch a runner type of an account on or off. Raises NotFound, Conflict."""
        _, found = self.runner(name_or_id)
        try:
            async with self._database.transaction() as tx:
                await store.switch_runner(tx, account, found.name, enabled=enabled)
        except UniqueViolation:
            raise Conflict("somebody else switches this runner at this moment") from None
        self._switched += 1
        self._disabled.clear()
        return found

    # --- actions ---

    async def actions(self, account: AccountId) -> list[StoredAction]:
        """List all actions, by pack and name."""
        async with self._database.read() as tx:
            own = await store.all_actions(tx, account)
        return sorted([*self._actions.values(), *own], key=lambda one: (one.action.pack, one.action.name))

    async def find(self, account: AccountId, ref_or_id: str) -> StoredAction | None:
        """Find an action by reference or id."""
        if (known := self._actions.get(ref_or_id)) is not None:
            return known
        parts = split_ref(ref_or_id)
        async with self._database.read() as tx:
            if parts is not None:
                return await store.action_by_ref(tx, account, *parts)
            found = await store.action_by_id(tx, account, ref_or_id)
        if found is not None:
            return found
        return next((one for one in self._actions.values() if one.id == ref_or_id), None)

    async def action(self, account: AccountId, ref_or_id: str) -> StoredAction:
        """Find an action by reference or id. Raises ActionNotFound."""
        found = await self.find(account, ref_or_id)
        if found is None:
            raise ActionNotFound(f'Resource with a reference or id "{ref_or_id}" not found')
        return found

    def parameters(self, stored: StoredAction) -> Parameters:
        """Return the prepared parameters of an action. Raises InvalidMetadata."""
        key = (stored.id, stored.changed_at)
        known = self._prepared.get(key)
        if known is None:
            known = check_action(stored.action)
            if len(encode_json(stored.action.as_dict())) <= LARGEST_PREPARED:
                if len(self._prepared) >= _PREPARED:
                    self._prepared.clear()
                self._prepared[key] = known
        return known

    async def create(self, account: AccountId, metadata: Json) -> StoredAction:
        """Add an action. Raises InvalidMetadata, ActionExists, PackNotFound."""
        _check_size(metadata)
        action = make_action(metadata)
        self._writable(action.pack)
        runner_of(action)
        await self._known_pack(account, action.pack)
        stored = StoredAction(id=ActionId.new(), action=action, changed_at=self._now())
        self.parameters(stored)
        return await self._put(account, stored)

    async def update(self, account: AccountId, ref_or_id: str, metadata: JsonObject) -> StoredAction:
        """Replace an action. Raises ActionNotFound, InvalidMetadata, ActionExists."""
        known = await self.action(account, ref_or_id)
        self._writable(known.action.pack)
        _check_size(metadata)
        action = make_action(metadata, pack=known.action.pack)
        self._writable(action.pack)
        if action.pack != known.action.pack:
            await self._known_pack(account, action.pack)
        stored = StoredAction(id=known.id, action=action, changed_at=self._now())
        self.parameters(stored)
        return await self._put(account, stored)

    async def delete(self, account: AccountId, ref_or_id: str) -> None:
        """Remove an action. Raises ActionNotFound, InvalidMetadata for the product's own."""
        known = await self.action(account, ref_or_id)
        self._writable(known.action.pack)
        async with self._database.transaction() as tx:
            await store.delete_action(tx, account, known.id)

    async def clone(
        self, account: AccountId, ref: str, pack: str, name: str, *, overwrite: bool
    ) -> StoredAction:
        """Copy an action under another name. Raises ActionNotFound, ActionExists, PackNotFound, InvalidMetadata."""
        source = await self.action(account, ref)
        self._writable(pack)
        await self._known_pack(account, pack)
        target = await self.find(account, f"{pack}.{name}")
        if target is not None and not overwrite:
            raise ActionExists(
                f"The requested destination action already exists: {pack}.{name}", existing=target.id
            )
        # The copy has no file of its own: what is trusted for the sake of its folder is the original alone.
        action = make_action({**source.action.as_dict(), "pack": pack, "name": name, "metadata_file": ""})
        action_id = ActionId.new() if target is None else target.id
        return await self._put(account, StoredAction(id=action_id, action=action, changed_at=self._now()))

    async def _put(self, account: AccountId, stored: StoredAction) -> StoredAction:
        try:
            async with self._database.transaction() as tx:
                await store.put_action(tx, account, stored)
        except UniqueViolation:
            existing = await self.find(account, stored.action.ref)
            raise ActionExists(
                f'Tried to save duplicate unique keys: an action "{stored.action.ref}" exists already',
                existing=existing.id if existing is not None else "",
            ) from None
        return stored

    def _writable(self, pack: str) -> None:
        if pack in READ_ONLY_PACKS:
            raise InvalidMetadata(READ_ONLY_TEXT)

    async def _known_pack(self, account: AccountId, ref: str) -> None:
        try:
            await self.pack(account, ref)
        except PackNotFound:
            raise InvalidMetadata(
                f'Content pack "{ref}" is not found or doesn\'t contain actions directory. '
                f"Searched in: {', '.join(map(str, self._folders)) or 'no folder'}"
            ) from None

    # --- packs ---

    async def packs(self, account: AccountId) -> list[StoredPack]:
        """List all packs, by name."""
        async with self._database.read() as tx:
            own = await store.all_packs(tx, account)
        return sorted([*self._packs.values(), *own], key=lambda one: one.pack.ref)

    async def pack(self, account: AccountId, ref_or_id: str) -> StoredPack:
        """Find a pack. Raises PackNotFound."""
        known = self._packs.get(ref_or_id)
        if known is None:
            known = next((one for one in self._packs.values() if one.id == ref_or_id), None)
        if known is not None:
            return known
        async with self._database.read() as tx:
            found = await store.pack_named(tx, account, ref_or_id)
        if found is not None:
            return found
        raise PackNotFound(f'Resource with a ref or id "{ref_or_id}" not found')

    async def register(self, account: AccountId, names: Sequence[str] | None) -> Registered:
        """Load packs from disk, all that are found or those that are named. Raises PackNotFound."""
        folders = find_packs(*self._folders)
        report = Registered()
        if names is not None:
            by_name = {folder.name: folder for folder in folders}
            for name in names:
                if name not in by_name and name not in self._packs:
                    raise PackNotFound(
                        f'Pack "{name}" not found on disk: nothing below the pack folders has it'
                    )
            folders = [by_name[name] for name in names if name in by_name]
        for folder in folders:
            await self._register_one(account, folder, report)
        if names is None or any(name in self._packs for name in names):
            self.count_system(names, report)
        return report

    async def forget(self, account: AccountId, ref: str) -> None:
        """Remove a pack and its actions; its configuration stays. Raises PackNotFound, InvalidMetadata."""
        self._writable((await self.pack(account, ref)).pack.ref)
        async with self._database.transaction() as tx:
            await store.delete_pack(tx, account, ref)

    def count_system(self, names: Iterable[str] | None, report: Registered) -> None:
        """Count the product's own packs, which are always registered."""
        wanted = set(self._packs) if names is None else set(names)
        report.actions += sum(one.action.pack in wanted for one in self._actions.values())
        report.packs += len(wanted & set(self._packs))

    async def _register_one(self, account: AccountId, folder: Path, report: Registered) -> None:
        try:
            loaded = load_pack(folder)
        except InvalidMetadata as error:
            report.problems.append(Problem(error.file or str(folder), error.line, error.message))
            return
        if loaded.pack.ref in self._packs:
            report.problems.append(
                Problem("pack.yaml", 0, "a pack that comes with the product has this name")
            )
            return
        report.problems += loaded.problems
        now = self._now()
        stored = StoredPack(id=PackId.new(), pack=loaded.pack, schema=loaded.config_schema)
        async with self._database.transaction() as tx:
            await store.put_pack(tx, account, stored, now)
            known = {
                one.action.ref: one.id
                for one in await store.all_actions(tx, account)
                if one.action.pack == loaded.pack.ref
            }
            for action in loaded.actions:
                action_id = known.pop(action.ref, None) or ActionId.new()
                made = StoredAction(id=action_id, action=action, changed_at=now)
                await store.put_action(tx, account, made)
        report.packs += 1
        report.actions += len(loaded.actions)
        report.configs += loaded.config_schema is not None

    # --- configurations ---

    async def config(self, account: AccountId, pack: str) -> tuple[str, dict[str, Json]] | None:
        """Return id and values of a pack's configuration as they were set; None when they were not."""
        async with self._database.read() as tx:
            found = await store.config_of(tx, account, pack)
        if found is None:
            return None
        config_id, sealed = found
        values: dict[str, Json] = msgspec.json.decode(self._vault.open(sealed, _context(account, pack)))
        return config_id, values

    async def configs(self, account: AccountId) -> list[tuple[str, str, dict[str, Json]]]:
        """List the configurations: pack, id, values."""
        async with self._database.read() as tx:
            rows = await store.configs(tx, account)
        return [
            (pack, config_id, msgspec.json.decode(self._vault.open(sealed, _context(account, pack))))
            for pack, config_id, sealed in rows
        ]

    async def set_config(self, account: AccountId, pack: str, values: Mapping[str, Json]) -> str:
        """Set the configuration of a pack and return its id. Raises PackNotFound, InvalidParameters."""
        stored = await self.pack(account, pack)
        check_config(stored.schema, values)
        known = await self.config(account, pack)
        config_id = PackId.new() if known is None else known[0]
        sealed = self._vault.seal(encode_json(values), _context(account, pack))
        async with self._database.transaction() as tx:
            await store.put_config(tx, account, pack, config_id, sealed)
        return config_id


def _check_size(metadata: Json) -> None:
    if len(encode_json(metadata)) > LARGEST_ACTION:
        raise InvalidMetadata(f"the metadata of an action has at most {LARGEST_ACTION} bytes")


def runner_type(name: str) -> RunnerType:
    """Return a runner type that exists. Raises NotFound."""
    found = runner_named(name)
    if found is None:
        raise NotFound(f'Resource with a name or id "{name}" not found')
    return found


def _context(account: AccountId, pack: str) -> bytes:
    return f"pack-config:{account}:{pack}".encode()
