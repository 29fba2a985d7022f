"""The isolation port. Owns the vocabulary between those who want a command run and those who isolate it.

An engine makes sandboxes; a sandbox spawns processes whose descriptors the caller supplies. Nothing here
knows of the ledger, of HTTP or of a dialect. `namespaces` and `process` are the two implementations; every
implementation must pass the same contract tests.
"""

import enum
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol

from runyard.kernel.errors import FailedPrecondition, InvalidArgument, Unavailable

PASSING = "warm-"
"""How ids of sandboxes begin that end with their server: files that a killed one left of them are removed at a start."""


class Network(enum.StrEnum):
    """How a sandbox reaches the outside."""

    NONE = "none"
    """Loopback only."""
    OPEN = "open"
    """Outgoing connections through the host's address translation; nothing of the host itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a sandbox may use at most; None means that the caller asks for no limit."""

    memory_bytes: int | None = None
    pids: int | None = None
    cpus: float | None = None
    disk_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """All that an engine needs to make one sandbox; self-contained, so that a remote worker could obey it."""

    id: str
    hostname: str
    base: str
    """Name of a base: `host`, or one that the images store knows."""
    limits: Limits = field(default_factory=Limits)
    network: Network = Network.NONE
    restore_from: str | None = None
    """Id of a checkpoint whose writable layer is copied in before the first process."""
    shared: Mapping[str, Path] = field(default_factory=dict)
    """Folders of the host that are shown read-only inside, by their name below `/root`: one part, no slash. What others
    may not read on the host, nobody can read inside.
    """


def plain_name(name: str) -> str:
    """Return the name of a shared folder. Raises InvalidArgument for one that is no plain file name."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise InvalidArgument("The name of a shared folder must be a plain file name.")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One process to spawn. Descriptors belong to the caller, who closes its copies after `spawn` returned."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    """The whole environment; nothing is inherited."""
    cwd: str = "/root"
    stdin: int
    stdout: int
    stderr: int
    tty: bool = False
    """Descriptor 0 is the slave of a terminal: make it the controlling terminal of the new session."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: exactly one of `code` (0 to 255) and `signal` is set."""

    code: int | None = None
    signal: int | None = None
    oom_killed: bool = False

    @property
    def shell_code(self) -> int:
        """Return the status as a shell reports it: the code, or 128 plus the signal."""
        return self.code if self.code is not None else 128 + (self.signal or 0)


class SpawnFailure(enum.StrEnum):
    """Why a command could not be started."""

    NOT_FOUND = "not_found"
    NOT_EXECUTABLE = "not_executable"
    BAD_CWD = "bad_cwd"
    RESOURCES = "resources"


class SpawnError(Unavailable):
    """The command could not be started."""

    code = "spawn_failed"

    def __init__(self, message: str, reason: SpawnFailure) -> None:
        """Carry the machine-readable reason beside the message."""
        super().__init__(message)
        self.reason = reason


class SandboxGone(Unavailable):
    """The sandbox has ended."""

    code = "sandbox_gone"


class CannotEnforce(FailedPrecondition):
    """This host cannot enforce what was asked for."""

    code = "cannot_enforce"


class Process(Protocol):
    """A spawned process, leader of its own session and process group."""

    @property
    def pid(self) -> int:
        """The process id inside the sandbox."""
        ...

    async def wait(self) -> Exit:
        """Return how the process ended; any number of callers may wait. Raises SandboxGone."""
        ...

    async def ended_within(self, seconds: float) -> Exit | None:
        """Return how the process ended when it does so within a short time, else None. Raises SandboxGone."""
        ...

    def signal_group(self, signum: int) -> None:
        """Send a signal to the whole process group; silently nothing when it is gone."""
        ...


class Prepared(Protocol):
    """A command that waits before it becomes the program. When the server dies, it never will."""

    async def go(self) -> Process:
        """Let it, once. Returns when it has ended or runs for some milliseconds. Raises SpawnError, SandboxGone."""
        ...

    def drop(self) -> None:
        """Give it up: it will never run. Nothing after `go`."""
        ...


class OpenMode(enum.StrEnum):
    """What a file inside a sandbox is opened for."""

    READ = "read"
    """An existing regular file."""
    CREATE = "create"
    """A new, empty sibling of the path, parents made; `publish` renames it over the path."""


class Sandbox(Protocol):
    """A living sandbox."""

    @property
    def id(self) -> str:
        """The id of the spec."""
        ...

    @property
    def gone(self) -> bool:
        """Tell whether it has ended or is ending."""
        ...

    @property
    def home(self) -> str:
        """Where commands inside find the folder that `open_file` and `cwd` name `/root`."""
        ...

    async def spawn(self, command: Command) -> Process:
        """Start a command. Raises SpawnError, SandboxGone."""
        ...

    def prepare(self, command: Command) -> "Prepared | None":
        """Begin to start a command that waits for `go` before it becomes the program, so that something can be
        written down meanwhile; None where the engine has no such thing. The command's descriptors may be closed at
        once. Raises SpawnError, SandboxGone, OSError.
        """
        ...

    async def open_file(self, path: str, mode: OpenMode) -> "OpenFile":
        """Open a regular file as seen from inside, never following a link out of the sandbox and never blocking
        on a FIFO or device. Raises NotFound, InvalidArgument (not a regular file, bad path), SandboxGone.
        """
        ...

    async def open_terminal(self) -> tuple[int, int]:
        """Open a pseudo-terminal of the sandbox's own devpts; return (master, slave) descriptors, the caller's.
        Raises SandboxGone, SpawnError (no terminal left).
        """
        ...

    async def listen(self, port: int = 0) -> socket.socket:
        """Open a listening TCP socket on the loopback inside, 0 for any free port, and hand it over: whoever accepts on
        it is reached from inside without any way out. Raises Unavailable, SandboxGone.
        """
        ...

    async def take_shell(self) -> "WarmShell | None":
        """Hand over a pre-spawned `/bin/sh` that waits for its script, or None when there is none just now.
        A taken shell is replaced in the background. Never blocks.
        """
        ...

    async def freeze(self) -> None:
        """Stop all processes where they are. Raises CannotEnforce."""
        ...

    async def thaw(self) -> None:
        """Let frozen processes run on."""
        ...

    async def set_limits(self, limits: Limits) -> None:
        """Change limits of the living sandbox. Raises CannotEnforce."""
        ...

    async def set_network(self, network: Network) -> None:
        """Connect the living sandbox to the outside or cut it off; its processes go on. Nothing to do when it is so
        already. Raises CannotEnforce.
        """
        ...

    async def set_hosts(self, addresses: Mapping[str, str]) -> None:
        """Say which addresses stand behind which names, instead of what was said before. Raises Unavailable."""
        ...

    async def pack(self, paths: Sequence[str], target: IO[bytes], max_bytes: int) -> Sequence[str]:
        """Write a tar of the regular files and folders below absolute paths, without running anything inside and
        without following links (those that stay below their path are in it as links); return the paths at which there is nothing. Raises InvalidArgument, TooLarge.
        """
        ...

    async def usage(self) -> "Usage":
        """Measure what the sandbox uses now."""
        ...

    async def wait_gone(self) -> str:
        """Return the reason when the sandbox has ended by itself or was destroyed."""
        ...

    async def kill(self) -> None:
        """Kill every process inside and return as soon as they are dead; idempotent. `destroy` frees what is left."""
        ...

    async def destroy(self, *, keep_layer: bool) -> None:
        """Kill every process inside and free namespaces, groups and mounts; idempotent.
        With `keep_layer` the files stay for a later `create` with the same id.
        """
        ...


class PrivateNetwork(Protocol):
    """A network that only its members and the server reach."""

    async def join(self, sandbox: Sandbox) -> str:
        """Connect a living sandbox of the same engine and return its address, which holds as long as both live.
        Raises LimitExceeded, Unavailable.
        """
        ...

    async def close(self) -> None:
        """Remove it; idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open file of a sandbox. `fd` belongs to the caller. `publish` is needed after writing a new file."""

    fd: int
    size: int
    publication: "Publication | None" = None


class WarmShell(Protocol):
    """A shell inside a sandbox that was spawned before its script was known so that start-up is off the request's path.
    The three pipe ends belong to the taker.
    """

    @property
    def process(self) -> Process:
        """The waiting shell, leader of its own session and group."""
        ...

    @property
    def stdin(self) -> int:
        """Write end of its standard input."""
        ...

    @property
    def stdout(self) -> int:
        """Read end of its standard output."""
        ...

    @property
    def stderr(self) -> int:
        """Read end of its standard error."""
        ...

    def run(self, script: str, env: Mapping[str, str], cwd: str) -> bool:
        """Give the shell its script, once; behaves like `/bin/sh -c script` with that whole environment and folder.
        Return False when the shell had ended before it took anything, so that a cold spawn is still safe.
        """
        ...


class Publication(Protocol):
    """The second half of writing a file."""

    async def publish(self) -> None:
        """Rename the written file over its final path."""
        ...

    async def discard(self) -> None:
        """Remove the half-written file."""
        ...


@dataclass(frozen=True, slots=True)
class Usage:
    """A measurement: None where the host cannot tell."""

    memory_bytes: int | None = None
    pids: int | None = None
    disk_bytes: int | None = None
    oom_kills: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One thing that a host can or cannot enforce, as `doctor` and the start-up message show it."""

    name: str
    enforced: bool
    how: str
    """What enforces it, or what is missing."""
    fix: str = ""
    """What an operator can do about it; empty when enforced."""


class BaseKind(enum.StrEnum):
    """Where a base comes from."""

    HOST = "host"
    """The host's own system."""
    DIRECTORY = "directory"
    """A folder that the settings name."""
    IMAGE = "image"
    """An imported OCI image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFacts:
    """One base that sandboxes can be made from."""

    name: str
    kind: BaseKind
    digest: str | None = None
    """Of an image's manifest: `sha256:` and 64 digits."""
    created_at: datetime | None = None
    """When an image was imported."""
    size_bytes: int | None = None
    """Bytes that an image's layers unpacked to."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that an image asks for."""
    workdir: str = ""
    """Folder in which an image's program starts."""
    user: str = ""
    """User as whom it runs."""
    entrypoint: tuple[str, ...] = ()
    """The image's program."""
    command: tuple[str, ...] = ()
    """Its arguments, or the program itself where there is no entrypoint."""


class Engine(Protocol):
    """Makes sandboxes of one kind."""

    @property
    def name(self) -> str:
        """`namespaces` or `process`."""
        ...

    def capabilities(self) -> Sequence[Capability]:
        """List what is enforced on this host and what is not; valid after `start`."""
        ...

    async def start(self) -> None:
        """Prepare the host: remove what a killed server left, start the launcher, fill the warm pool."""
        ...

    async def stop(self) -> None:
        """End every sandbox (layers stay) and everything that `start` made."""
        ...

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox, or bring one back from its kept layer. Raises CannotEnforce, NotFound (base), Unavailable."""
        ...

    async def make_network(self, name: str) -> PrivateNetwork:
        """Make a private network. Raises CannotEnforce, LimitExceeded, Unavailable."""
        ...

    def layers(self, prefix: str) -> Sequence[str]:
        """List the sandboxes, living or not, whose files are kept and whose id begins with a text."""
        ...

    async def delete_layer(self, sandbox_id: str) -> None:
        """Delete the kept files of a sandbox that is not living; idempotent."""
        ...

    async def capture(self, sandbox_id: str, checkpoint_id: str) -> int:
        """Copy the writable layer into a checkpoint and return its size in bytes. The caller froze the sandbox,
        or it is not living. Raises NotFound, CannotEnforce.
        """
        ...

    async def delete_checkpoint(self, checkpoint_id: str) -> None:
        """Delete a checkpoint's files; idempotent."""
        ...

    def captured(self, prefix: str) -> Sequence[str]:
        """List the ids of checkpoints that begin so."""
        ...

    def bases(self) -> Sequence[BaseFacts]:
        """List the bases that `create` accepts; valid after `start`."""
        ...

    async def import_image(self, path: Path, name: str) -> BaseFacts:
        """Make a base of an OCI image layout on this host, replacing an image of that name; takes seconds to minutes.
        Raises BadImage, TooLarge, InvalidArgument (bad name), Unavailable (no room), Unimplemented.
        """
        ...

    async def remove_image(self, name: str) -> None:
        """Forget an imported image; sandboxes that use it go on. Raises NotFound, Unimplemented."""
        ...
