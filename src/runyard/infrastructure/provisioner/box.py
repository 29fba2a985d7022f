"""The sandbox of one phase of a run. Owns its files, how commands run in it, and its end.

Layout below the home folder: `code` (the tree), `data` (the tool's data folder), `home`, `plan.bin`, the CLI's
configuration; `tools` and `providers` are the server's, read-only. When the box is left, every process in it is dead.
"""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Protocol

from runyard.executions.drain import Drain
from runyard.executions.output.model import Stream
from runyard.executions.worker import RunContext
from runyard.kernel.errors import AlreadyExists, InvalidArgument, NotFound, RunyardError, TooLarge
from runyard.runtimes.injection import BASE_ENVIRONMENT
from runyard.runtimes.isolation.engine import (
    Command,
    Engine,
    Exit,
    Limits,
    Network,
    OpenMode,
    Sandbox,
    SandboxSpec,
    SpawnError,
)
from runyard.runtimes.leash import Leash, Why
from runyard.runtimes.pipes import Source, close_all, make_ends

_UNPACK_SECONDS: Final = 300.0
_PATIENCE: Final = 200
_PATIENCE_STEP: Final = 0.05


class Sink(Protocol):
    """Takes the output of a command."""

    def write(self, data: bytes, /) -> int:
        """Take some bytes."""
        ...

    def flush(self) -> None:
        """Take the end."""
        ...


class Inside(Protocol):
    """Answers on a port inside a sandbox."""

    def __call__(self, listener: socket.socket, path: str) -> AbstractAsyncContextManager[None]:
        """Serve this server's own API on a listening socket, only below a path, while the context lasts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxOptions:
    """How sandboxes of runs are made."""

    base: str = "host"
    network: Network = Network.OPEN
    limits: Limits = field(default_factory=Limits)
    interrupt_grace_secs: float = 60.0
    """Between the interrupt and the kill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    exit: Exit
    why: Why | None
    """Who ended it, when that was not the command itself."""

    @property
    def code(self) -> int | None:
        """Return its status; None when a signal or somebody else ended it."""
        return self.exit.code if self.why is None else None


class Box:
    """A living sandbox of a run."""

    def __init__(self, sandbox: Sandbox, options: BoxOptions, devnull: int, nowhere: int) -> None:
        """Made by `Boxes`."""
        self.sandbox = sandbox
        self._options = options
        self._devnull = devnull
        self._nowhere = nowhere

    def place(self, name: str) -> str:
        """Return where something below the home folder is, for commands inside."""
        return f"{self.sandbox.home}/{name}"

    async def put(self, name: str, content: bytes, mode: int = 0o600) -> None:
        """Write a file below the home folder. Raises as `Sandbox.open_file`."""
        opened = await self.sandbox.open_file(f"/root/{name}", OpenMode.CREATE)
        try:
            os.fchmod(opened.fd, mode)
            await asyncio.to_thread(_write_all, opened.fd, content)
        except BaseException:
            if opened.publication is not None:
                with suppress(RunyardError):
                    await opened.publication.discard()
            raise
        finally:
            os.close(opened.fd)
        if opened.publication is not None:
            await opened.publication.publish()

    async def has(self, name: str) -> bool:
        """Tell whether there is a file or a folder below the home folder."""
        try:
            opened = await self.sandbox.open_file(f"/root/{name}", OpenMode.READ)
        except NotFound:
            return False
        except InvalidArgument:
            return True  # it is no regular file
        os.close(opened.fd)
        return True

    async def get(self, name: str, limit: int) -> bytes | None:
        """Read a file below the home folder; None when there is none. Raises TooLarge."""
        try:
            opened = await self.sandbox.open_file(f"/root/{name}", OpenMode.READ)
        except NotFound:
            return None
        with os.fdopen(opened.fd, "rb") as file:
            if opened.size > limit:
                raise TooLarge(f"{name} has more than {limit} bytes")
            return await asyncio.to_thread(file.read, limit)

    async def unpack(self, archive: IO[bytes], folder: str) -> None:
        """Unpack a tar of the server's own into a new folder below the home folder. Raises RunyardError."""
        archive.seek(0)
        argv = ("/bin/sh", "-c", 'mkdir -p "$1" && exec tar -x -f - -C "$1"', "sh", self.place(folder))
        with tempfile.TemporaryFile() as said:
            command = Command(
                argv=argv,
                env=BASE_ENVIRONMENT,
                stdin=archive.fileno(),
                stdout=said.fileno(),
                stderr=said.fileno(),
            )
            process = await self.sandbox.spawn(command)
            ended = await process.ended_within(_UNPACK_SECONDS)
            if ended is None or ended.code != 0:
                process.signal_group(signal.SIGKILL)
                said.seek(0)
                text = said.read(500).decode("utf-8", "replace").strip()
                raise RunyardError(
                    f"the code could not be put into the sandbox: {text or 'it took too long'}"
                )

    async def output(self, argv: Sequence[str], target: Sink, limit: int) -> None:
        """Run a command of the server's own and take what it prints. Raises RunyardError, TooLarge, SpawnError."""
        ends = make_ends(self._devnull, with_stdin=False)
        command = Command(
            argv=argv,
            env=BASE_ENVIRONMENT,
            stdin=ends.child_in,
            stdout=ends.child_out,
            stderr=self._nowhere,
        )
        try:
            process = await self.sandbox.spawn(command)
        except BaseException:
            close_all(ends.stdout)
            raise
        finally:
            ends.close_child()
            close_all(ends.stderr)
        try:
            await _copy(Source(ends.stdout), target, limit)
            ended = await process.wait()
        finally:
            process.signal_group(signal.SIGKILL)
        if ended.code != 0:
            raise RunyardError(f"{argv[0]} failed in the sandbox")

    async def run(
        self,
        context: RunContext,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        folder: str,
        timeout_secs: float,
        kept: Sink | None = None,
        limit: int = 0,
    ) -> Ended:
        """Run a command to its end, its time-out or the end that somebody asked for: an interrupt first, as Ctrl-C
        gives it, and the kill later. Output goes to the log; with `kept` its standard output goes there instead, at
        most `limit` bytes when that is not 0. Raises SpawnError, SandboxGone, TooLarge.
        """
        ends = make_ends(self._devnull, with_stdin=False)
        command = Command(
            argv=argv,
            env={**BASE_ENVIRONMENT, **env},
            cwd=f"/root/{folder}",
            stdin=ends.child_in,
            stdout=ends.child_out,
            stderr=ends.child_err,
        )
        try:
            process = await self.sandbox.spawn(command)
        except BaseException as error:
            ends.close()
            if isinstance(error, SpawnError):
                context.output.write(Stream.STDERR, f"{argv[0]}: {error.message}\n".encode())
            raise
        finally:
            ends.close_child()
        leash = Leash(process, self._options.interrupt_grace_secs, signal.SIGINT)
        leash.end_after(timeout_secs)
        leash.obey(context)
        drain = Drain(context.output)
        drain.add(ends.stderr, Stream.STDERR)
        copying: asyncio.Task[None] | None = None
        if kept is None:
            drain.add(ends.stdout, Stream.STDOUT)
        else:
            copying = asyncio.ensure_future(_copy(Source(ends.stdout), kept, limit))
        try:
            if copying is not None:
                await copying
            await drain.finished(leash.waiting())
            ended = await leash.result()
        finally:
            context.on_cancel = None
            if copying is not None:
                copying.cancel()
            drain.close()
            leash.sweep()
            leash.drop()
        return Ended(exit=ended, why=leash.why)


class Boxes:
    """Makes the sandboxes of runs."""

    def __init__(self, engine: Engine, options: BoxOptions, inside: Inside) -> None:
        """Use an engine."""
        self._engine = engine
        self._options = options
        self._inside = inside
        self._devnull = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    @property
    def connected(self) -> bool:
        """Tell whether commands in boxes reach the outside."""
        return self._options.network is Network.OPEN

    def close(self) -> None:
        """Give back what was opened."""
        close_all(self._devnull, self._nowhere)

    @asynccontextmanager
    async def box(self, name: str, shared: Mapping[str, Path]) -> AsyncIterator[Box]:
        """Hold the sandbox of a run, with the files that are kept of it; they stay until `forget`."""
        spec = SandboxSpec(
            id=name,
            hostname="runyard",
            base=self._options.base,
            limits=self._options.limits,
            network=self._options.network,
            shared=shared,
        )
        sandbox = await self._created(spec)
        try:
            yield Box(sandbox, self._options, self._devnull, self._nowhere)
        finally:
            await asyncio.shield(asyncio.ensure_future(sandbox.destroy(keep_layer=True)))

    async def _created(self, spec: SandboxSpec) -> Sandbox:
        """Make the sandbox. That of the plan before may still be on its way out when an apply is asked for at once."""
        for _ in range(_PATIENCE):
            try:
                return await self._engine.create(spec)
            except AlreadyExists:
                await asyncio.sleep(_PATIENCE_STEP)
        return await self._engine.create(spec)

    @asynccontextmanager
    async def serving(self, box: Box, path: str) -> AsyncIterator[str]:
        """Let commands in a box reach one path of this server; gives the address without the path."""
        listener = await box.sandbox.listen()
        port = listener.getsockname()[1]
        async with self._inside(listener, path):
            yield f"http://127.0.0.1:{port}"

    async def forget(self, name: str) -> None:
        """Delete what is kept of a box; idempotent."""
        await self._engine.delete_layer(name)


async def _copy(source: Source, target: Sink, limit: int) -> None:
    total = 0
    try:
        while data := await source.read():
            total += len(data)
            if limit and total > limit:
                raise TooLarge(f"the tool printed more than {limit} bytes")
            target.write(data)
        target.flush()
    finally:
        source.close()


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
