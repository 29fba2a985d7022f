"""An isolation engine in memory. Owns sandboxes that run small programs given as coroutines; isolates nothing.

It records what was asked of it and can be told to fail, hold or crash, so that the supervisor can be tested alone.
"""

import asyncio
import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from runyard.kernel.errors import NotFound, RunyardError
from runyard.runtimes.isolation.engine import (
    BaseFacts,
    BaseKind,
    CannotEnforce,
    Capability,
    Command,
    Exit,
    Limits,
    Network,
    OpenFile,
    OpenMode,
    PrivateNetwork,
    SandboxGone,
    SandboxSpec,
    SpawnError,
    SpawnFailure,
    Usage,
    WarmShell,
)

Program = Callable[["FakeProcess"], Awaitable[int]]


class FakeProcess:
    """A process that is a task; it gets copies of the command's descriptors."""

    def __init__(self, command: Command, program: Program) -> None:
        """Begin to run."""
        self.command = command
        self.stdin, self.stdout, self.stderr = (
            os.dup(fd) for fd in (command.stdin, command.stdout, command.stderr)
        )
        self.pid = 1
        self.signals: list[int] = []
        self.ignores: set[int] = set()
        self._ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._task = asyncio.ensure_future(self._run(program))

    async def _run(self, program: Program) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self.end(Exit(code=await program(self)))

    def end(self, how: Exit | None) -> None:
        """End with an exit, or because the sandbox is gone."""
        if self._ended.done():
            return
        for fd in (self.stdin, self.stdout, self.stderr):
            os.close(fd)
        if how is None:
            self._ended.set_exception(SandboxGone("killed by the test"))
            self._ended.exception()
        else:
            self._ended.set_result(how)

    async def wait(self) -> Exit:
        """Wait for the end."""
        return await asyncio.shield(self._ended)

    async def ended_within(self, seconds: float) -> Exit | None:
        """Wait for the end a short time."""
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self.wait(), seconds)
        return None

    def signal_group(self, signum: int) -> None:
        """Take a signal; KILL always ends it, others unless ignored."""
        self.signals.append(signum)
        if signum == signal.SIGKILL or signum not in self.ignores:
            self._task.cancel()
            self.end(Exit(signal=signum))

    def say(self, text: str) -> None:
        """Write to standard output."""
        os.write(self.stdout, text.encode())


async def true(_: FakeProcess) -> int:
    """End at once."""
    return 0


async def echo(process: FakeProcess) -> int:
    """Print the arguments."""
    process.say(" ".join(process.command.argv[1:]) + "\n")
    return 0


async def env(process: FakeProcess) -> int:
    """Print the environment."""
    process.say("".join(f"{name}={value}\n" for name, value in sorted(process.command.env.items())))
    return 0


async def forever(process: FakeProcess) -> int:
    """Say so and never end."""
    process.say("on\n")
    await asyncio.Event().wait()
    return 0


PROGRAMS: Mapping[str, Program] = {"true": true, "echo": echo, "env": env, "forever": forever}


class FakePublication:
    """Renames a written file."""

    def __init__(self, temporary: Path, final: Path) -> None:
        """Know both paths."""
        self._temporary, self._final = temporary, final

    async def publish(self) -> None:
        """Rename."""
        self._temporary.rename(self._final)

    async def discard(self) -> None:
        """Remove."""
        self._temporary.unlink(missing_ok=True)


class FakeSandbox:
    """A sandbox with a folder."""

    def __init__(self, engine: "FakeEngine", spec: SandboxSpec, folder: Path) -> None:
        """Belong to an engine."""
        self.id = spec.id
        self.spec = spec
        self.frozen = False
        self.limits = spec.limits
        self.network = spec.network
        self.processes: list[FakeProcess] = []
        self._engine = engine
        self._folder = folder
        self._gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.home = str(folder / "root")

    @property
    def gone(self) -> bool:
        """Tell whether it has ended."""
        return self._gone.done()

    def prepare(self, command: Command) -> None:
        """Return None: nothing of this engine is slow."""

    async def spawn(self, command: Command) -> FakeProcess:
        """Run a program by name."""
        if self._gone.done():
            raise SandboxGone
        if command.cwd == "/missing":
            raise SpawnError("no such folder", SpawnFailure.BAD_CWD)
        program = self._engine.programs.get(command.argv[0])
        if program is None:
            raise SpawnError("not found", SpawnFailure.NOT_FOUND)
        process = FakeProcess(command, program)
        self.processes.append(process)
        return process

    async def open_file(self, path: str, mode: OpenMode) -> OpenFile:
        """Open a file below the folder."""
        real = self._folder / path.lstrip("/")
        if mode is OpenMode.READ:
            if not real.exists():
                raise NotFound(f"there is no file {path}")
            return OpenFile(os.open(real, os.O_RDONLY), real.stat().st_size)
        real.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=real.parent)
        return OpenFile(fd, 0, FakePublication(Path(name), real))

    async def open_terminal(self) -> tuple[int, int]:
        """Open a terminal of the host."""
        return os.openpty()

    async def listen(self, port: int = 0) -> socket.socket:
        """Open a port of the host."""
        return socket.create_server(("127.0.0.1", port))

    async def take_shell(self) -> WarmShell | None:
        """There is none."""
        return None

    async def freeze(self) -> None:
        """Note it."""
        self.frozen = True

    async def thaw(self) -> None:
        """Note it."""
        self.frozen = False

    async def set_limits(self, limits: Limits) -> None:
        """Note it."""
        self.limits = limits

    async def set_network(self, network: Network) -> None:
        """Note it."""
        self.network = network

    async def set_hosts(self, addresses: Mapping[str, str]) -> None:
        """Note it."""
        self.hosts = dict(addresses)

    async def pack(self, paths: Sequence[str], target: IO[bytes], max_bytes: int) -> Sequence[str]:
        """Pack nothing."""
        raise NotImplementedError

    async def usage(self) -> Usage:
        """Know nothing."""
        return Usage()

    async def wait_gone(self) -> str:
        """Wait for the end."""
        return await asyncio.shield(self._gone)

    def crash(self, reason: str) -> None:
        """End by itself."""
        self._end(reason)

    async def kill(self) -> None:
        """End the processes."""
        self._end("killed")

    async def destroy(self, *, keep_layer: bool) -> None:
        """End on order."""
        self._end("destroyed")
        self._engine.living.pop(self.id, None)
        if not keep_layer:
            await self._engine.delete_layer(self.id)

    def _end(self, reason: str) -> None:
        for process in self.processes:
            process.end(None)
        if not self._gone.done():
            self._gone.set_result(reason)


class FakeEngine:
    """Makes fake sandboxes."""

    name = "fake"

    def __init__(self, folder: Path) -> None:
        """Keep layers and checkpoints below a folder."""
        self.folder = folder
        self.programs = dict(PROGRAMS)
        self.living: dict[str, FakeSandbox] = {}
        self.kept: set[str] = set()
        self.checkpoints: dict[str, str] = {}
        self.images: dict[str, BaseFacts] = {}
        self.created: list[SandboxSpec] = []
        self.deleted_layers: list[str] = []
        self.fail: RunyardError | None = None
        """Raised by `create` and `capture`."""
        self.broken: Exception | None = None
        """Raised by `create`: a mistake of the engine."""
        self.stuck_layers = 0
        """How often `delete_layer` fails."""
        self.hold: asyncio.Event | None = None
        """Awaited by `create` and `capture`."""
        self.frozen_at_capture: list[bool] = []

    def capabilities(self) -> Sequence[Capability]:
        """Enforce nothing."""
        return ()

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """End everything."""
        for sandbox in list(self.living.values()):
            await sandbox.destroy(keep_layer=True)

    async def _obey_test(self) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.fail is not None:
            raise self.fail

    async def create(self, spec: SandboxSpec) -> FakeSandbox:
        """Make a sandbox."""
        self.created.append(spec)
        await self._obey_test()
        if self.broken is not None:
            raise self.broken
        self.kept.add(spec.id)
        folder = self.folder / spec.id
        folder.mkdir(parents=True, exist_ok=True)
        sandbox = self.living[spec.id] = FakeSandbox(self, spec, folder)
        return sandbox

    async def make_network(self, name: str) -> PrivateNetwork:
        """Refuse."""
        raise CannotEnforce(f"no network {name}")

    def layers(self, prefix: str) -> Sequence[str]:
        """List what is kept."""
        return [name for name in self.kept if name.startswith(prefix)]

    async def delete_layer(self, sandbox_id: str) -> None:
        """Forget the files."""
        if self.stuck_layers:
            self.stuck_layers -= 1
            raise OSError("busy")
        self.kept.discard(sandbox_id)
        self.deleted_layers.append(sandbox_id)

    async def capture(self, sandbox_id: str, checkpoint_id: str) -> int:
        """Remember the source."""
        living = self.living.get(sandbox_id)
        self.frozen_at_capture.append(living.frozen if living else True)
        await self._obey_test()
        self.checkpoints[checkpoint_id] = sandbox_id
        return 42

    async def delete_checkpoint(self, checkpoint_id: str) -> None:
        """Forget it."""
        self.checkpoints.pop(checkpoint_id, None)

    def captured(self, prefix: str) -> Sequence[str]:
        """List the captured folders."""
        return sorted(one for one in self.checkpoints if one.startswith(prefix))

    def bases(self) -> Sequence[BaseFacts]:
        """Know the host and what was imported."""
        return (BaseFacts(name="host", kind=BaseKind.HOST), *self.images.values())

    async def import_image(self, path: Path, name: str) -> BaseFacts:
        """Remember the name."""
        await self._obey_test()
        self.images[name] = BaseFacts(name=name, kind=BaseKind.IMAGE, digest=f"sha256:{'0' * 64}")
        return self.images[name]

    async def remove_image(self, name: str) -> None:
        """Forget the name."""
        if self.images.pop(name, None) is None:
            raise NotFound
