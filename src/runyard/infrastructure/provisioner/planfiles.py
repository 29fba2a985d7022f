"""Plan files between a plan and its apply. Owns a folder of sealed files: a plan holds every secret of its variables."""

import asyncio
import os
import tempfile
import zlib
from pathlib import Path

from runyard.kernel.crypto import CannotUnseal, Vault
from runyard.kernel.ids import RunId


class PlanFiles:
    """Keeps the plan file of each run until the run is over."""

    def __init__(self, folder: Path, vault: Vault) -> None:
        """Use a folder, made when missing."""
        self._folder = folder
        self._vault = vault

    async def put(self, run_id: RunId, plan: bytes) -> None:
        """Keep a plan; it is on the disk whole when this returns."""
        await asyncio.to_thread(self._put, run_id, plan)

    async def get(self, run_id: RunId) -> bytes | None:
        """Return a plan, None when there is none. Raises CannotUnseal."""
        return await asyncio.to_thread(self._get, run_id)

    async def delete(self, run_id: RunId) -> None:
        """Forget a plan; idempotent."""
        await asyncio.to_thread(self._path(run_id).unlink, missing_ok=True)

    def _put(self, run_id: RunId, plan: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sealed = self._vault.seal(zlib.compress(plan, 1), _context(run_id))
        fd, temporary = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        with os.fdopen(fd, "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path(run_id))

    def _get(self, run_id: RunId) -> bytes | None:
        try:
            sealed = self._path(run_id).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return zlib.decompress(self._vault.open(sealed, _context(run_id)))
        except zlib.error:
            raise CannotUnseal("a stored plan is damaged") from None

    def _path(self, run_id: RunId) -> Path:
        return self._folder / f"{run_id}.plan"


def _context(run_id: RunId) -> bytes:
    return f"plan:{run_id}".encode()
