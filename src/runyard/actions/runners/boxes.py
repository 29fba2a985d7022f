"""Sandboxes of actions: one for each run, made ahead. Owns their making, their files and their end.

When `box` is left, every process that the run started is dead; its files go in the background.
"""

import asyncio
import io
import os
import secrets
import shlex
import socket
import tarfile
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from runyard.actions.model import Action
from runyard.actions.runners.job import ProcessEnd
from runyard.actions.runners.reach import Reach
from runyard.actions.runners.ready import ReadyBoxes
from runyard.executions.drain import Drain
from runyard.executions.output.model import Stream
from runyard.executions.worker import RunContext
from runyard.kernel.errors import RunyardError
from runyard.runtimes.injection import BASE_ENVIRONMENT
from runyard.runtimes.isolation.engine import (
    PASSING,
    Command,
    Engine,
    Limits,
    Network,
    OpenMode,
    Process,
    Sandbox,
    SandboxSpec,
    SpawnError,
    SpawnFailure,
)
from runyard.runtimes.leash import Leash, Why
from runyard.runtimes.pipes import Ends, make_ends

OUTPUT_BYTES: Final = 14 << 20
"""Bytes of each stream that go into a result; the log has its own limit."""
FILES: Final = ".runyard"
"""The folder below the home folder inside where the files of packs are put."""
ARCHIVE: Final = "pack.tar"
_log = structlog.get_logger(__name__)
_NOT_FOUND: Final = 127
_NOT_EXECUTABLE: Final = 126


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxOptions:
    """How sandboxes of actions are made."""

    base: str = "host"
    network: Network = Network.OPEN
    limits: Limits = field(default_factory=Limits)
    kill_grace_secs: float = 2.0
    ready: int = 0
    """Sandboxes kept ready for the next runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run in a box."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str | None = None
    """None means the home folder."""
    timeout_secs: float
    stdin: int = -1
    """A descriptor for its input, which stays the caller's; -1 means none."""


@dataclass(slots=True)
class Box:
    """A sandbox and a port inside, on which the server answers while a run has it."""

    sandbox: Sandbox
    listener: socket.socket
    made_of: str | None = None
    """The digest of the base's image; None for a base that is none."""
    api_url: str = ""
    """Where the inside finds the server's API."""

    @property
    def gone(self) -> bool:
        """Tell whether the sandbox has ended by itself."""
        return self.sandbox.gone

    @property
    def files(self) -> str:
        """Return the folder for files of packs, as commands inside find it."""
        return f"{self.sandbox.home}/{FILES}"


class Boxes:
    """Makes sandboxes for runs."""

    def __init__(self, engine: Engine, options: BoxOptions, reach: Reach) -> None:
        """Use an engine, and the way from inside to the server."""
        self._reach = reach
        self.engine = engine
        self.options = options
        self._devnull = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._ready = ReadyBoxes[Box](options.ready, self._make)
        self._freeing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to make sandboxes ahead."""
        self._ready.start()

    async def close(self) -> None:
        """Free all that is left and give back what was opened."""
        left = await self._ready.stop()
        await asyncio.gather(*(self._free(box) for box in left), *self._freeing, return_exceptions=True)
        os.close(self._devnull)

    @asynccontextmanager
    async def box(self, checkpoint: str | None = None) -> AsyncIterator[Box]:
        """Hold a sandbox, blank or with the files of a checkpoint; no process of it lives afterwards. Raises NotFound."""
        box = (self._take() if checkpoint is None else None) or await self._make(checkpoint)
        opened = self._reach.open(box.listener)
        box.api_url = f"{opened.url}/v1"
        try:
            yield box
        finally:
            opened.close()
            await asyncio.shield(asyncio.ensure_future(self._end(box)))

    @asynccontextmanager
    async def lasting_box(self) -> AsyncIterator[Box]:
        """Hold a blank sandbox whose files stay after its end, until the next start of the server at the latest."""
        box = await self._make(None)
        try:
            yield box
        finally:
            box.listener.close()
            await asyncio.shield(asyncio.ensure_future(box.sandbox.destroy(keep_layer=True)))

    def _take(self) -> Box | None:
        """Take one that was made ahead, unless the image it was made of has been replaced since."""
        box = self._ready.take()
        if box is not None and box.made_of != self._digest():
            self._free_later(box)
            return None
        return box

    def _digest(self) -> str | None:
        if self.options.base == "host":
            return None
        return next((one.digest for one in self.engine.bases() if one.name == self.options.base), None)

    def _free_later(self, box: Box) -> None:
        task = asyncio.get_running_loop().create_task(self._free(box))
        self._freeing.add(task)
        task.add_done_callback(self._freeing.discard)

    async def _make(self, checkpoint: str | None = None) -> Box:
        spec = SandboxSpec(
            id=f"{PASSING}{secrets.token_hex(12)}",
            hostname="runyard",
            base=self.options.base,
            limits=self.options.limits,
            network=self.options.network,
            restore_from=checkpoint,
        )
        made_of = self._digest()
        sandbox = await self.engine.create(spec)
        try:
            return Box(sandbox, await sandbox.listen(), made_of)
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(sandbox.destroy(keep_layer=False)))
            raise

    async def _free(self, box: Box) -> None:
        box.listener.close()
        await box.sandbox.destroy(keep_layer=False)

    async def _end(self, box: Box) -> None:
        """Wait until all inside is dead; what is left is freed afterwards."""
        await box.sandbox.kill()
        self._free_later(box)

    async def run(self, box: Box, program: Program, context: RunContext | None) -> ProcessEnd:
        """Run a program to its end, its time-out or the end that somebody asked for; without a context nothing of it
        is logged and nobody can ask. Raises SandboxGone, Unavailable.
        """
        ends = make_ends(self._devnull, with_stdin=False)
        try:
            process = await self._spawn(box.sandbox, program, ends)
        except SpawnError as error:
            ends.close()
            return _not_spawned(program, error, context)
        except BaseException:
            ends.close()
            raise
        finally:
            ends.close_child()
        return await self._follow(process, program, ends, context)

    async def _spawn(self, sandbox: Sandbox, program: Program, ends: Ends) -> Process:
        command = Command(
            argv=program.argv,
            env={**BASE_ENVIRONMENT, **program.env},
            cwd=program.cwd or "/root",
            stdin=ends.child_in if program.stdin < 0 else program.stdin,
            stdout=ends.child_out,
            stderr=ends.child_err,
        )
        return await sandbox.spawn(command)

    async def _follow(
        self, process: Process, program: Program, ends: Ends, context: RunContext | None
    ) -> ProcessEnd:
        drain = Drain(context.output if context is not None else None)
        leash = Leash(process, self.options.kill_grace_secs)
        out = drain.add(ends.stdout, Stream.STDOUT, head_limit=OUTPUT_BYTES)
        err = drain.add(ends.stderr, Stream.STDERR, head_limit=OUTPUT_BYTES)
        if program.timeout_secs > 0:
            leash.end_after(program.timeout_secs)
        if context is not None:
            leash.obey(context)
        try:
            await drain.finished(leash.waiting())
            exited = await leash.result()
        finally:
            drain.close()
            leash.sweep()
            leash.drop()
        return ProcessEnd(
            code=exited.code,
            signal=exited.signal,
            stdout=bytes(out.data),
            stderr=bytes(err.data),
            timed_out=leash.why is Why.TIMEOUT,
            canceled=leash.why is Why.CANCELED,
            out_of_memory=exited.oom_killed,
        )


def _not_spawned(program: Program, error: SpawnError, context: RunContext | None) -> ProcessEnd:
    """Say as a shell does that a program cannot be run."""
    code = _NOT_FOUND if error.reason is SpawnFailure.NOT_FOUND else _NOT_EXECUTABLE
    line = f"{program.argv[0]}: {error.message}\n".encode("utf-8", "replace")
    if context is not None:
        context.output.write(Stream.STDERR, line)
    return ProcessEnd(code=code, signal=None, stdout=b"", stderr=line)


class Places:
    """Where the runs of a pack happen: isolated, unless the pack is named as one that is not."""

    def __init__(self, isolated: Boxes, open_boxes: Boxes, open_packs: Collection[str]) -> None:
        """Take both kinds and the names of the packs that are not isolated."""
        self._isolated = isolated
        self._open = open_boxes
        self.open_packs = frozenset(open_packs)

    def of(self, action: Action) -> Boxes:
        """Return where the runs of an action happen. Trusted is what lies in the pack's folder: an action that somebody
        wrote or changed through the API has no file there, and stays isolated whatever its pack is called.
        """
        return self.of_files(action.pack) if action.metadata_file else self._isolated

    def of_files(self, pack: str) -> Boxes:
        """Return where what lies in the folder of a pack is at work."""
        return self._open if pack in self.open_packs else self._isolated

    def start(self) -> None:
        """Begin to make sandboxes ahead, and say loudly what is not isolated."""
        if self.open_packs:
            _log.warning(
                "actions.isolation_lifted",
                packs=sorted(self.open_packs),
                meaning="actions of these packs run as the server's own user, with its files and its network",
            )
        self._isolated.start()

    async def close(self) -> None:
        """Close both."""
        await self._isolated.close()
        await self._open.close()


async def put_file(sandbox: Sandbox, path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a file inside a box. Raises as `Sandbox.open_file`."""
    opened = await sandbox.open_file(path, OpenMode.CREATE)
    try:
        os.fchmod(opened.fd, mode)
        view = memoryview(content)
        while view:
            view = view[os.write(opened.fd, view) :]
    except BaseException:
        if opened.publication is not None:
            with suppress(RunyardError):
                await opened.publication.discard()
        raise
    finally:
        os.close(opened.fd)
    if opened.publication is not None:
        await opened.publication.publish()


async def put_folders(box: Box, folders: Mapping[str, Path]) -> None:
    """Put folders inside as one archive under the given names; `UNPACK` takes them out. Raises as `put_file`."""
    archive = await asyncio.to_thread(packed, folders)
    await put_file(box.sandbox, f"/root/{FILES}/{ARCHIVE}", archive)


def unpack_and(files: str, command: str) -> str:
    """Return a shell script that takes out what `put_folders` put in and goes on with a command."""
    folder = shlex.quote(files)
    return f"tar -xf {folder}/{ARCHIVE} -C {folder} && {command}"


def packed(folders: Mapping[str, Path]) -> bytes:
    """Return a tar of folders under the given names; whoever owns them outside, root does inside. Blocking."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, folder in folders.items():
            archive.add(folder, name, filter=_plain)
    return buffer.getvalue()


def _plain(item: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if item.name.endswith("__pycache__") or "/.git/" in item.name or not (item.isfile() or item.isdir()):
        return None
    item.uid = item.gid = 0
    item.uname = item.gname = "root"
    return item
