"""The code of a run, from its repository or from an upload, as a tar for the sandbox. Owns the folders on the way."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from runyard.infrastructure.provisioner.git import Checkout, Git
from runyard.infrastructure.provisioner.trees import local_states, pack, working_folder
from runyard.infrastructure.runs.errors import CheckoutFailed
from runyard.infrastructure.runs.job import Job
from runyard.infrastructure.runs.model import Archive, Origin, Run
from runyard.infrastructure.runs.ports import Plans, Repositories
from runyard.infrastructure.workspaces.model import Workspace
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
    aside: "Sequence[asyncio.Future[None]]" = ()
    """What goes on meanwhile; wait for it before anything of the code is judged."""


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
        aside: list[asyncio.Future[None]] = []
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as name:
            try:
                with tempfile.TemporaryFile(dir=self._folder) as tar:
                    yield await self._fetched(job, Path(name) / "code", tar, aside)
            finally:
                # The folder must not go while somebody reads it.
                if aside:
                    await asyncio.wait(aside)

    async def _fetched(
        self, job: Job, folder: Path, tar: IO[bytes], aside: "list[asyncio.Future[None]]"
    ) -> Code:
        origin, wanted = job.run.origin, job.workspace.code.working_directory
        if origin.archive is None:
            origin = await self._checked_out(job, folder, aside)
        else:
            await self._unpacked(origin.archive, folder)
            wanted = f"{origin.archive.folder.strip('/')}/{wanted.strip('/')}"

        def work() -> tuple[str, Sequence[Path], Sequence[str]]:
            working = working_folder(folder, wanted)
            states = local_states(folder, working)
            return working, states, pack(folder, tar, working=working, limit=self._limit)

        working, states, dropped = await asyncio.to_thread(work)
        for state in states:
            job.say(f"left out: {state.name}; the state is kept by this server")
        for link in dropped[:20]:
            job.say(f"left out: the link {link} leads out of the repository")
        return Code(tar=tar, working=working, origin=origin, aside=aside)

    async def secrets(self, run: Run, workspace: Workspace) -> Sequence[str]:
        """Return what must not show of the way to the code. Raises as `Repositories.access`."""
        if run.origin.archive is not None:
            return ()
        return ((await self._repositories.access(workspace)).password,)

    async def _checked_out(self, job: Job, folder: Path, aside: "list[asyncio.Future[None]]") -> Origin:
        origin, workspace = job.run.origin, job.workspace
        access = await self._repositories.access(workspace)
        job.say(
            f"checking out {workspace.code.repository or access.url} at {origin.commit or origin.branch or 'HEAD'}"
        )
        checkout = await self._git.checkout(access, folder, branch=origin.branch, commit=origin.commit)
        job.say(f"commit {checkout.commit} {checkout.title}")
        aside.append(asyncio.ensure_future(self._keep_changes(job, checkout)))
        title = origin.commit_title or checkout.title
        return msgspec.structs.replace(origin, commit=checkout.commit, commit_title=title)

    async def _keep_changes(self, job: Job, checkout: Checkout) -> None:
        """Keep what the commit changed, while the run goes on."""
        try:
            patch = await self._git.changes(checkout, PATCH_BYTES)
        except TooLarge:
            job.say(f"the changed files are not shown: the patch has more than {PATCH_BYTES >> 20} MiB")
        else:
            await self._plans.keep_changed_files(job.workspace, job.run, patch, checkout.folder, job.secrets)

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
