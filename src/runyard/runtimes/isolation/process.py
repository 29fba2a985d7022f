"""The engine without isolation: commands are ordinary processes of the server's user. For development and for hosts
that can do nothing better; it must be asked for by name and says what it does not enforce.

Owns a folder per sandbox, which stands for `/root`: relative paths and those below `/root` are in it, all others are
the host's own.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from runyard.kernel.errors import (
    AlreadyExists,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Unavailable,
    Unimplemented,
)
from runyard.runtimes.isolation.engine import (
    PASSING,
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
    plain_name,
)
from runyard.runtimes.isolation.options import IsolationOptions

_HOME = "/root"
_NO_LIMITS = Limits()
_NO_IMAGES = "The engine `process` has no images: its commands see the host's own files."
_FIX = "run the server as root on Linux and use the engine `namespaces`"


class HostProcess:
    """An ordinary process, leader of its own session and group."""

    def __init__(self, started: subprocess.Popen[bytes]) -> None:
        """Watch a started process on the running loop."""
        self._started = started
        self._exit: Exit | None = None
        self._ended = asyncio.Event()
        self._pidfd = os.pidfd_open(started.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    @property
    def pid(self) -> int:
        """The process id, on the host."""
        return self._started.pid

    async def wait(self) -> Exit:
        """Return how the process ended; any number of callers may wait."""
        await self._ended.wait()
        assert self._exit is not None
        return self._exit

    async def ended_within(self, seconds: float) -> Exit | None:
        """Return how the process ended when it does so within a short time, else None."""
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self.wait(), seconds)
        return None

    def signal_group(self, signum: int) -> None:
        """Send a signal to the whole process group; silently nothing when it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._started.pid, signum)

    def _reap(self) -> None:
        code = self._started.poll()
        if code is None:
            return
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._exit = Exit(code=code) if code >= 0 else Exit(signal=-code)
        self._ended.set()


class ProcessSandbox:
    """A folder and the sessions started in it."""

    def __init__(self, spec: SandboxSpec, home: Path) -> None:
        """Take the folder, which exists."""
        self._id = spec.id
        self._home = home
        self._processes: set[HostProcess] = set()
        self._sessions: set[int] = set()
        self._reason: str | None = None
        self._gone = asyncio.Event()
        self._watchers: set[asyncio.Task[None]] = set()

    @property
    def id(self) -> str:
        """The id of the spec."""
        return self._id

    @property
    def gone(self) -> bool:
        """Tell whether it has ended or is ending."""
        return self._reason is not None

    @property
    def over(self) -> bool:
        """Tell whether all its processes have ended."""
        return self._gone.is_set()

    @property
    def home(self) -> str:
        """The folder that stands for `/root`."""
        return str(self._home)

    async def spawn(self, command: Command) -> HostProcess:
        """Start a command as the server's own user. Raises SpawnError, SandboxGone, InvalidArgument."""
        self._check()
        if not command.argv:
            raise InvalidArgument("The command is empty.")
        if any(not name or "=" in name for name in command.env):
            raise InvalidArgument("The name of an environment variable is empty or contains '='.")
        env = dict(command.env)
        if env.get("HOME") == _HOME:
            env["HOME"] = str(self._home)
        try:
            process = HostProcess(_start(command, env, self._place(command.cwd)))
        except ValueError as error:
            raise InvalidArgument(f"The command cannot be passed on: {error}.") from None
        self._processes.add(process)
        self._sessions.add(process.pid)
        watcher = asyncio.get_running_loop().create_task(self._watch(process))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return process

    def prepare(self, command: Command) -> None:  # noqa: ARG002  the port's
        """Return None: a spawn of this engine takes effect at once."""
        return

    async def open_file(self, path: str, mode: OpenMode) -> OpenFile:
        """Open a regular file. Raises NotFound, InvalidArgument, LimitExceeded, SandboxGone."""
        self._check()
        if not path or "\0" in path:
            raise InvalidArgument("This is no path.")
        try:
            return _open_existing(self._place(path)) if mode is OpenMode.READ else _create(self._place(path))
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"There is no file {path}.") from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise LimitExceeded("The disk is full.") from None
            raise InvalidArgument(f"{path}: {error.strerror}.") from None

    async def open_terminal(self) -> tuple[int, int]:
        """Open a pseudo-terminal of the host; return (master, slave). Raises SpawnError, SandboxGone."""
        self._check()
        try:
            return os.openpty()
        except OSError as error:
            raise SpawnError(f"No terminal left: {error.strerror}.", SpawnFailure.RESOURCES) from None

    async def listen(self, port: int = 0) -> socket.socket:
        """Open a port on the host's loopback, 0 for any free one; the socket is the caller's. Raises Unavailable."""
        self._check()
        try:
            return socket.create_server(("127.0.0.1", port), backlog=16)
        except OSError as error:
            raise Unavailable(f"No port: {error.strerror}.") from None

    async def take_shell(self) -> WarmShell | None:
        """Return None: this engine prepares nothing."""
        return None

    async def freeze(self) -> None:
        """Refuse. Raises CannotEnforce."""
        raise CannotEnforce("The engine `process` cannot freeze.")

    async def thaw(self) -> None:
        """Do nothing: nothing is ever frozen."""

    async def set_limits(self, limits: Limits) -> None:
        """Refuse any limit. Raises CannotEnforce."""
        _check_limits(limits)

    async def set_network(self, network: Network) -> None:
        """Do nothing: processes have the host's network, as `capabilities` says."""

    async def set_hosts(self, addresses: Mapping[str, str]) -> None:
        """Refuse: the names are the host's. Raises CannotEnforce."""
        if addresses:
            raise CannotEnforce("The engine `process` cannot give names to addresses.")

    async def pack(self, paths: Sequence[str], target: IO[bytes], max_bytes: int) -> Sequence[str]:
        """Refuse: nothing tells its files from the host's. Raises CannotEnforce."""
        raise CannotEnforce(
            "The engine `process` cannot carry files out of a sandbox.",
            paths=paths,
            target=target,
            limit=max_bytes,
        )

    async def usage(self) -> Usage:
        """Return nothing known."""
        self._check()
        return Usage()

    async def wait_gone(self) -> str:
        """Return the reason when it was destroyed."""
        await self._gone.wait()
        return self._reason or ""

    async def kill(self) -> None:
        """Kill every session started here."""
        await self.destroy(keep_layer=True)

    async def destroy(self, *, keep_layer: bool) -> None:
        """Kill every session started here; a process that made a session of its own escapes. Idempotent."""
        if self._reason is None:
            self._reason = "The sandbox was destroyed."
            _kill_sessions(self._sessions)
            for process in list(self._processes):
                await process.wait()
            await asyncio.gather(*self._watchers)
            self._gone.set()
        await self._gone.wait()
        if not keep_layer:
            await asyncio.to_thread(shutil.rmtree, self._home, ignore_errors=True)

    async def _watch(self, process: HostProcess) -> None:
        await process.wait()
        self._processes.discard(process)

    def _place(self, path: str) -> str:
        if path == _HOME or path.startswith(_HOME + "/"):
            path = path[len(_HOME) :].lstrip("/")
        return os.path.join(self._home, path)

    def _check(self) -> None:
        if self._reason is not None:
            raise SandboxGone(self._reason)


class HostPublication:
    """A half-written file beside its final path."""

    def __init__(self, temporary: str, final: str) -> None:
        """Take both paths."""
        self._temporary, self._final = temporary, final

    async def publish(self) -> None:
        """Rename the written file over its final path. Raises InvalidArgument."""
        try:
            os.rename(self._temporary, self._final)
        except OSError as error:
            await self.discard()
            raise InvalidArgument(f"{self._final}: {error.strerror}.") from None

    async def discard(self) -> None:
        """Remove the half-written file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)


class ProcessEngine:
    """Sandboxes in name only."""

    name = "process"

    def __init__(self, options: IsolationOptions) -> None:
        """Take the settings; nothing is touched before `start`."""
        self._living = options.data_dir / "process" / "live"
        self._checkpoints = options.data_dir / "process" / "checkpoints"
        self._sandboxes: dict[str, ProcessSandbox] = {}

    def capabilities(self) -> Sequence[Capability]:
        """List what is not enforced, which is everything."""
        missing = {
            "process isolation": "commands run as the server's own user and see its files and processes",
            "memory limit": "not limited",
            "pids limit": "not limited",
            "cpu limit": "not limited",
            "disk limit": "not limited",
            "network": "commands use the host's network",
            "freeze": "not possible",
        }
        return [Capability(name=name, enforced=False, how=how, fix=_FIX) for name, how in missing.items()]

    async def start(self) -> None:
        """Make the folders."""
        for folder in (self._living, self._checkpoints):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self._living.glob(f"{PASSING}*"):
            await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)

    async def stop(self) -> None:
        """End every sandbox; folders stay."""
        for sandbox in list(self._sandboxes.values()):
            await sandbox.destroy(keep_layer=True)
        self._sandboxes.clear()

    async def create(self, spec: SandboxSpec) -> ProcessSandbox:
        """Make a sandbox, or bring one back from its folder. Raises CannotEnforce, NotFound, AlreadyExists."""
        _check_limits(spec.limits)
        if spec.base != "host":
            raise NotFound(f"There is no base {spec.base}.")
        known = self._sandboxes.get(spec.id)
        if known is not None and not known.over:
            raise AlreadyExists("This sandbox lives already.")
        for name in [name for name, one in self._sandboxes.items() if one.over]:
            del self._sandboxes[name]
        home = self._living / _safe(spec.id)
        if spec.restore_from is not None and not home.exists():
            source = self._checkpoints / _safe(spec.restore_from)
            if not source.is_dir():
                raise NotFound("There is no such checkpoint.")
            await asyncio.to_thread(shutil.copytree, source, home, symlinks=True)
        home.mkdir(exist_ok=True, mode=0o700)
        for name, path in spec.shared.items():
            link = home / plain_name(name)
            link.unlink(missing_ok=True)
            link.symlink_to(path)
        sandbox = self._sandboxes[spec.id] = ProcessSandbox(spec, home)
        return sandbox

    async def make_network(self, name: str) -> PrivateNetwork:  # noqa: ARG002  the port's
        """Refuse: its commands share the host's network. Raises CannotEnforce."""
        raise CannotEnforce("The engine `process` has no private networks.")

    def layers(self, prefix: str) -> Sequence[str]:
        """List the folders that are kept and whose name begins with a text."""
        return sorted(path.name for path in self._living.iterdir() if path.name.startswith(prefix))

    async def delete_layer(self, sandbox_id: str) -> None:
        """Delete the kept folder; idempotent."""
        await asyncio.to_thread(shutil.rmtree, self._living / _safe(sandbox_id), ignore_errors=True)

    async def capture(self, sandbox_id: str, checkpoint_id: str) -> int:
        """Copy the folder into a checkpoint and return its size in bytes. Raises NotFound."""
        source, target = self._living / _safe(sandbox_id), self._checkpoints / _safe(checkpoint_id)
        if not source.is_dir():
            raise NotFound("There is no such sandbox.")
        await asyncio.to_thread(shutil.copytree, source, target, symlinks=True)
        return sum(path.lstat().st_size for path in target.rglob("*"))

    async def delete_checkpoint(self, checkpoint_id: str) -> None:
        """Delete a checkpoint's files; idempotent."""
        await asyncio.to_thread(shutil.rmtree, self._checkpoints / _safe(checkpoint_id), ignore_errors=True)

    def captured(self, prefix: str) -> Sequence[str]:
        """List the ids of checkpoints that begin so."""
        return sorted(path.name for path in self._checkpoints.iterdir() if path.name.startswith(prefix))

    def bases(self) -> Sequence[BaseFacts]:
        """List the only base."""
        return [BaseFacts(name="host", kind=BaseKind.HOST)]

    async def import_image(self, path: Path, name: str) -> BaseFacts:  # noqa: ARG002  the port's
        """Refuse: commands see the host's own files. Raises Unimplemented."""
        raise Unimplemented(_NO_IMAGES)

    async def remove_image(self, name: str) -> None:  # noqa: ARG002  the port's
        """Refuse: there are none. Raises Unimplemented."""
        raise Unimplemented(_NO_IMAGES)


def _start(command: Command, env: dict[str, str], cwd: str) -> subprocess.Popen[bytes]:
    argv = list(command.argv)
    if command.tty:
        # setsid of util-linux takes the terminal; our own session would be in its way.
        argv = ["setsid", "--ctty", *argv]
    try:
        return subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=command.stdin,
            stdout=command.stdout,
            stderr=command.stderr,
            start_new_session=not command.tty,
        )
    except OSError as error:
        raise _spawn_error(error, command, cwd) from None


def _spawn_error(error: OSError, command: Command, cwd: str) -> SpawnError:
    if error.filename == cwd:
        message, reason = f"The working folder {command.cwd} cannot be entered", SpawnFailure.BAD_CWD
    elif isinstance(error, (FileNotFoundError, NotADirectoryError)):
        message, reason = f"The program {command.argv[0]} was not found", SpawnFailure.NOT_FOUND
    elif error.errno in (errno.EACCES, errno.ENOEXEC, errno.EPERM, errno.EISDIR):
        message, reason = f"The program {command.argv[0]} cannot be executed", SpawnFailure.NOT_EXECUTABLE
    else:
        message, reason = "No resources for another process", SpawnFailure.RESOURCES
    return SpawnError(f"{message}: {error.strerror}.", reason)


def _open_existing(path: str) -> OpenFile:
    # Looked at without opening first: opening a FIFO or device may wait or do anything.
    found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        about = os.fstat(found)
        if not stat.S_ISREG(about.st_mode):
            raise InvalidArgument(f"{path}: it is not a regular file.")
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(found)
    return OpenFile(fd, about.st_size)


def _create(path: str) -> OpenFile:
    final = os.path.realpath(path)
    if path.endswith("/") or os.path.isdir(final):
        raise InvalidArgument(f"{path}: it is a directory.")
    if os.path.lexists(final) and not os.path.isfile(final):
        raise InvalidArgument(f"{path}: it is not a regular file.")
    folder = os.path.dirname(final)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".runyard-{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, os.stat(final).st_mode & 0o777 if os.path.exists(final) else 0o644)
    return OpenFile(fd, 0, HostPublication(temporary, final))


def _kill_sessions(sessions: set[int]) -> None:
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(int(entry)) in sessions:
                os.kill(int(entry), signal.SIGKILL)


def _check_limits(limits: Limits) -> None:
    if limits != _NO_LIMITS:
        raise CannotEnforce("The engine `process` enforces no limits.")


def _safe(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise InvalidArgument("This is no id.")
    return name
