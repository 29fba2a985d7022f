"""Verbs of packs that act on more than their rows: load, forget, delete, and their virtual environments.

The API and the actions of the pack `packs` come here alike; what may be done to which pack is decided before.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from runyard.actions.catalogue import Catalogue, Registered
from runyard.actions.errors import InvalidMetadata, PackNotFound
from runyard.actions.masking import mask_config
from runyard.actions.model import READ_ONLY_TEXT
from runyard.actions.runners.virtualenv import Virtualenvs, Wanted
from runyard.actions.store import StoredPack
from runyard.actions.values import Json
from runyard.kernel.errors import FailedPrecondition, RunyardError
from runyard.kernel.ids import AccountId


class PackService:
    """Packs with their files and virtual environments."""

    def __init__(self, catalogue: Catalogue, virtualenvs: Virtualenvs, own_folder: Path) -> None:
        """Files are deleted below `own_folder` only: all other folders of packs are somebody else's."""
        self._catalogue = catalogue
        self._virtualenvs = virtualenvs
        self._own_folder = own_folder

    async def register(self, account: AccountId, names: Sequence[str] | None) -> Registered:
        """Load packs from disk and begin to make the virtual environments that they miss. Raises PackNotFound."""
        report = await self._catalogue.register(account, names)
        for stored in await self._catalogue.packs(account):
            if names is None or stored.pack.ref in names:
                with contextlib.suppress(RunyardError, OSError):  # the first run meets it again, and says it
                    wanted = self._wanted(account, stored)
                    if wanted is not None:
                        self._virtualenvs.begin(wanted)
        return report

    def _wanted(self, account: AccountId, stored: StoredPack) -> Wanted | None:
        """Return the virtual environment that a pack needs; the product's own packs and those without files need none."""
        if stored.pack.is_system or not stored.pack.path:
            return None
        return self._virtualenvs.wanted(account, stored.pack.ref, Path(stored.pack.path))

    async def set_up(self, account: AccountId, names: Sequence[str]) -> list[str]:
        """Make the virtual environments of packs again, one after the other, and return the packs that have one.
        Raises PackNotFound, VirtualenvMissing with what the installer said.
        """
        made: list[str] = []
        for name in names:
            stored = await self._catalogue.pack(account, name)
            wanted = self._wanted(account, stored)
            if wanted is not None:
                await self._virtualenvs.rebuild(wanted)
                made.append(stored.pack.ref)
        return made

    async def unload(self, account: AccountId, names: Sequence[str]) -> list[str]:
        """Forget packs with their actions; files and configurations stay. Raises PackNotFound, InvalidMetadata."""
        found = [await self._own(account, name) for name in names]
        for stored in found:
            await self._catalogue.forget(account, stored.pack.ref)
        return [stored.pack.ref for stored in found]

    async def delete_files(
        self, account: AccountId, names: Sequence[str], *, virtualenvs: bool
    ) -> dict[str, str]:
        """Delete the folders of packs, and their virtual environments if wanted; return what was deleted by pack.
        Raises InvalidMetadata (the product's own), FailedPrecondition (a folder that is not this server's).
        """
        folders = {name: self._folder(name) for name in names}
        for name, folder in folders.items():
            if virtualenvs:
                await self._virtualenvs.remove(account, name)
            await asyncio.to_thread(shutil.rmtree, folder)
        return {name: str(folder) for name, folder in folders.items()}

    async def shown(self, account: AccountId, name: str) -> dict[str, Json] | None:
        """Return a registered pack as the API shows it, None when there is none."""
        try:
            stored = await self._catalogue.pack(account, name)
        except PackNotFound:
            return None
        return {"id": stored.id, **stored.pack.as_dict()}

    async def config(self, account: AccountId, name: str) -> Mapping[str, Json] | None:
        """Return the configuration of a pack, secrets masked; None when none was set. Raises PackNotFound."""
        stored = await self._catalogue.pack(account, name)
        found = await self._catalogue.config(account, name)
        if found is None:
            return None
        attributes = {} if stored.schema is None else stored.schema.attributes
        return {"id": found[0], "pack": name, "values": mask_config(found[1], attributes)}

    async def _own(self, account: AccountId, name: str) -> StoredPack:
        stored = await self._catalogue.pack(account, name)
        if stored.pack.is_system:
            raise InvalidMetadata(READ_ONLY_TEXT)
        return stored

    def _folder(self, name: str) -> Path:
        folder = self._own_folder / name
        inside = name and "/" not in name and not name.startswith(".")
        if not inside or folder.is_symlink() or not (folder / "pack.yaml").is_file():
            raise FailedPrecondition(
                f'The pack "{name}" has no folder of its own in {self._own_folder}; nothing was deleted.'
            )
        return folder
