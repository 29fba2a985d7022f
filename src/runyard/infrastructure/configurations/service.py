"""Verbs of configuration versions: announce, upload, use. Owns how an archive from anybody becomes code that may run.

The bytes go to the disk as they come and are read once, as the hostile input that they are, before anything is kept.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from runyard.database.engine import Database
from runyard.identity.model import Permission, Principal, Scope
from runyard.infrastructure.configurations import store
from runyard.infrastructure.configurations.errors import (
    ConfigurationNotFound,
    ConfigurationNotReady,
    ConfigurationTaken,
)
from runyard.infrastructure.configurations.model import (
    RETENTION,
    Configuration,
    ConfigurationId,
    ConfigurationStatus,
)
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.blobs import BlobStore, Incoming
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import InvalidArgument, TooLarge
from runyard.kernel.tarballs import TarballLimits, check

_LONGEST_ERROR: Final = 1024
_AT_ONCE: Final = 100
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationOptions:
    """Limits of uploads."""

    upload_bytes: int = 1 << 30
    """Largest archive as it is sent."""
    unpacked: TarballLimits = field(default_factory=TarballLimits)


class ConfigurationService:
    """Configuration versions of all accounts."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        options: ConfigurationOptions | None = None,
        now: Now = utc_now,
    ) -> None:
        """Take the parts; `blobs` are those from which runs read their archives."""
        self._database = database
        self._blobs = blobs
        self._options = options or ConfigurationOptions()
        self._now = now
        self._keeping = asyncio.Lock()
        """Held while bytes are kept and written down, and while they are found unneeded and removed."""

    async def announce(self, caller: Principal, workspace: Workspace, *, speculative: bool) -> Configuration:
        """Make one whose bytes are to come. Raises PermissionDenied."""
        caller.require(Permission.WORKSPACES_RUN)
        made = Configuration(
            id=ConfigurationId.new(),
            account_id=workspace.account_id,
            project_id=workspace.project_id,
            project_path=workspace.project_path,
            workspace_id=workspace.id,
            status=ConfigurationStatus.PENDING,
            speculative=speculative,
            created_at=self._now(),
            created_by=caller.actor,
        )
        async with self._database.transaction() as tx:
            await store.add(tx, made)
        return made

    async def get(self, scope: Scope, configuration_id: str) -> Configuration:
        """Return one of the scope. Raises ConfigurationNotFound."""
        async with self._database.read() as tx:
            found = await store.get(tx, scope, configuration_id)
        if found is None:
            raise ConfigurationNotFound
        return found

    async def ready(self, scope: Scope, configuration_id: str, workspace_id: str) -> Configuration:
        """Return one that a run of a workspace may use. Raises ConfigurationNotFound, ConfigurationNotReady."""
        found = await self.get(scope, configuration_id)
        if found.workspace_id != workspace_id:
            raise ConfigurationNotFound
        if found.blob is None:
            raise ConfigurationNotReady(found.error or f"the configuration version is {found.status.value}")
        return found

    async def upload(self, configuration_id: str, body: AsyncIterator[bytes]) -> Configuration:
        """Take the bytes: a gzipped tar. Raises ConfigurationNotFound, ConfigurationTaken, BadTarball, TooLarge."""
        async with self._database.read() as tx:
            found = await store.by_id(tx, configuration_id)
        if found is None:
            raise ConfigurationNotFound
        if found.status is not ConfigurationStatus.PENDING:
            raise ConfigurationTaken
        with self._blobs.receive() as incoming:
            try:
                await incoming.take(body, self._options.upload_bytes, "a configuration")
                await asyncio.to_thread(self._check, incoming)
            except (InvalidArgument, TooLarge) as error:
                await self._settle(found, ConfigurationStatus.ERRORED, None, incoming.size, error.message)
                raise
            async with self._keeping:
                digest = await asyncio.to_thread(incoming.keep)
                return await self._settle(found, ConfigurationStatus.UPLOADED, digest, incoming.size, "")

    def _check(self, incoming: Incoming) -> None:
        with incoming.reader() as reader:
            check(reader, self._options.unpacked)

    async def _settle(
        self, found: Configuration, status: ConfigurationStatus, blob: str | None, size: int, error: str
    ) -> Configuration:
        error = error[:_LONGEST_ERROR]
        async with self._database.transaction() as tx:
            if not await store.settle(tx, found.id, status, blob=blob, size=size, error=error):
                raise ConfigurationTaken
        return replace(found, status=status, blob=blob, size=size, error=error)

    async def sweep(self) -> int:
        """Remove bytes that are older than the retention; return how many configuration versions lost theirs."""
        before = self._now() - RETENTION
        async with self._database.transaction() as tx:
            await store.forget_pending(tx, before)
        async with self._keeping:
            async with self._database.read() as tx:
                old = await store.older(tx, before, _AT_ONCE)
            for one in old:
                async with self._database.transaction() as tx:
                    await store.archive(tx, one.id)
                    shared = one.blob is not None and await store.uses(tx, one.blob)
                if one.blob is not None and not shared:
                    self._blobs.delete(one.blob)
        if old:
            _log.info("configurations.swept", count=len(old))
        return len(old)
