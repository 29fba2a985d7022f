"""The code of a run, from its repository or from an upload, as a tar for the sandbox. Owns the folders on the way."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from runyard.infrastructure.provisioner.git import Git
from runyard.infrastructure.provisioner.trees import pack, working_folder
from runyard.infrastructure.runs.errors import CheckoutFailed
from runyard.infrastructure.runs.job import Job
from runyard.infrastructure.runs.model import Archive, Origin
from runyard.infrastructure.runs.ports import Plans, Repositories
from runyard.kernel.blobs import BlobStore
from runyard.kernel.errors import NotFound, TooLarge
from runyard.kernel.tarballs import TarballLimits, unpack

PATCH_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Code that is ready to be put into a sandbox."""

    tar: IO[bytes]
    working: str
    """The working directory below the top of the code, "" for the top itself."""
    origin: Origin


class Sources:
    """Gets the code of runs."""

    def __init__(
        self,
        folder: Path,
        git: Git,
        repositories: Repositories,
        archives: Mapping[str, BlobStore],
        plans: Plans,
        limit_bytes: int,
    ) -> None:
        """Use a folder of the server's own for what is on its way."""
        self._folder = folder
        self._git = git
        self._repositories = repositories
        self._archives = archives
        self._plans = plans
        self._limit = limit_bytes

    def start(self) -> None:
        """Remove what a killed server left on its way."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @asynccontextmanager
    async def code(self, job: Job) -> AsyncIterator[Code]:
        """Hold the code of a run. Raises CheckoutFailed, TooLarge, BadTarball, NotFound."""
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as name:
            folder = Path(name) / "code"
            origin = job.run.origin
            wanted = job.workspace.code.working_directory
            if origin.archive is None:
                origin = await self._checked_out(job, folder)
            else:
                await self._unpacked(origin.archive, folder)
                wanted = f"{origin.archive.folder.strip('/')}/{wanted.strip('/')}"
            working = await asyncio.to_thread(working_folder, folder, wanted)
            with tempfile.TemporaryFile(dir=self._folder) as tar:
                dropped = await asyncio.to_thread(pack, folder, tar, working=working, limit=self._limit)
                for link in dropped[:20]:
                    job.say(f"left out: the link {link} leads out of the repository")
                yield Code(tar=tar, working=working, origin=origin)

    async def _checked_out(self, job: Job, folder: Path) -> Origin:
        origin, workspace = job.run.origin, job.workspace
        access = await self._repositories.access(workspace)
        if access.password:
            job.context.hide([access.password.encode()])
        job.say(
            f"checking out {workspace.code.repository or access.url} at {origin.commit or origin.branch or 'HEAD'}"
        )
        checkout = await self._git.checkout(access, folder, branch=origin.branch, commit=origin.commit)
        job.say(f"commit {checkout.commit} {checkout.title}")
        try:
            patch = await self._git.changes(checkout, PATCH_BYTES)
        except TooLarge:
            job.say(f"the changed files are not shown: the patch has more than {PATCH_BYTES >> 20} MiB")
        else:
            await self._plans.keep_changed_files(workspace, job.run, patch, folder, job.secrets)
        title = origin.commit_title or checkout.title
        return msgspec.structs.replace(origin, commit=checkout.commit, commit_title=title)

    async def _unpacked(self, archive: Archive, folder: Path) -> None:
        blobs = self._archives.get(archive.store)
        if blobs is None:
            raise CheckoutFailed(f"this server keeps no archives of the kind {archive.store!r}")
        if ".." in archive.folder.split("/"):
            raise CheckoutFailed("the folder of an archive must not contain `..`")
        folder.mkdir()
        limits = TarballLimits(bytes=self._limit)

        def work() -> None:
            with blobs.open(archive.blob) as source:
                unpack(source, os.fspath(folder), limits)

        try:
            await asyncio.to_thread(work)
        except NotFound:
            raise CheckoutFailed("the uploaded code is no longer there") from None
