"""A living sandbox of the namespaces engine. Owns its init's connection, its control group and its end; how it is
made is namespaces.py's, how its layer is kept layers.py's.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO

from runyard.runtimes.isolation import syscalls
from runyard.runtimes.isolation.agent import Agent, AgentProcess, GatedSpawn
from runyard.runtimes.isolation.cgroups import Group
from runyard.runtimes.isolation.engine import (
    Command,
    Limits,
    Network,
    OpenFile,
    OpenMode,
    SandboxGone,
    SandboxSpec,
    Usage,
)
from runyard.runtimes.isolation.launcher import Launcher
from runyard.runtimes.isolation.layers import LayerStore
from runyard.runtimes.isolation.network import Attachment, Uplink
from runyard.runtimes.isolation.packing import pack
from runyard.runtimes.isolation.protocol import Failed, close_fds
from runyard.runtimes.isolation.shells import PreparedShell, ShellPool

_DEATH_SECONDS = 5.0
_SWEEP_SECONDS = 1.0
_SHM_BYTES = 256 << 20
HOSTNAME_MAX = 63
"""What the kernel and a DNS label take."""


@dataclass(slots=True)
class Parts:
    """What a sandbox is made of; filled in as it is built."""

    launcher: Launcher
    layers: LayerStore
    uplink: Uplink
    group: Group
    agent: Agent
    shells: ShellPool
    layer_id: str = ""
    limits: Limits = field(default_factory=Limits)
    handle: int = 0
    init_pid: int = 0
    route_fd: int = -1
    """A route socket inside the sandbox's network namespace."""
    shm_fd: int = -1
    """The sandbox's /dev/shm."""
    attachment: Attachment | None = None
    frozen: bool = False


class NamespaceSandbox:
    """A sandbox; made by NamespacesEngine."""

    def __init__(self, sandbox_id: str, parts: Parts, on_end: Callable[["NamespaceSandbox"], None]) -> None:
        """Take the finished parts; `on_end` is called once when it is gone."""
        self._id = sandbox_id
        self._parts = parts
        self._on_end = on_end
        self._reason: str | None = None
        self._dead = asyncio.Event()
        self._killed = asyncio.Event()
        self._gone = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._networking = asyncio.Lock()
        self._host = "runyard"

    @property
    def id(self) -> str:
        """The id of the spec."""
        return self._id

    @property
    def gone(self) -> bool:
        """Tell whether it has ended or is ending."""
        return self._reason is not None

    @property
    def home(self) -> str:
        """The home folder inside."""
        return "/root"

    async def spawn(self, command: Command) -> AgentProcess:
        """Start a command. Raises SpawnError, SandboxGone, InvalidArgument."""
        self._check()
        return await self._parts.agent.spawn(command)

    def prepare(self, command: Command) -> GatedSpawn:
        """Begin to start a command that waits for `go`. Raises SpawnError, SandboxGone, InvalidArgument, OSError."""
        self._check()
        return self._parts.agent.prepare(command)

    async def open_file(self, path: str, mode: OpenMode) -> OpenFile:
        """Open a regular file. Raises NotFound, InvalidArgument, LimitExceeded, SandboxGone."""
        self._check()
        return await self._parts.agent.open_file(path, mode)

    async def open_terminal(self) -> tuple[int, int]:
        """Open a pseudo-terminal; return (master, slave). Raises SandboxGone, SpawnError."""
        self._check()
        return await self._parts.agent.open_terminal()

    async def listen(self, port: int = 0) -> socket.socket:
        """Open a port on the loopback inside, 0 for any free one; the socket is the caller's. Raises Unavailable, SandboxGone."""
        self._check()
        return await self._parts.agent.listen(port)

    async def take_shell(self) -> PreparedShell | None:
        """Hand over a waiting shell or None. Never blocks."""
        self._check()
        return None if self._parts.frozen else self._parts.shells.take()

    async def freeze(self) -> None:
        """Stop all processes, init among them: requests wait until `thaw`. Raises CannotEnforce."""
        self._check()
        await self._parts.group.freeze()
        self._parts.frozen = True

    async def thaw(self) -> None:
        """Let frozen processes run on."""
        self._check()
        await self._parts.group.thaw()
        self._parts.frozen = False

    async def set_limits(self, limits: Limits) -> None:
        """Change the limits. Raises CannotEnforce."""
        self._check()
        # In a thread: to lower a memory limit the kernel may first have to write pages out.
        await asyncio.to_thread(self._parts.group.set_limits, limits)
        self._bound_shared_memory(limits)
        if limits.disk_bytes != self._parts.limits.disk_bytes:
            await self._parts.layers.set_limit(self._parts.layer_id, limits.disk_bytes)
        self._parts.limits = limits

    async def set_network(self, network: Network) -> None:
        """Connect or cut off. Raises CannotEnforce, LimitExceeded, Unavailable."""
        self._check()
        parts = self._parts
        async with self._networking:
            if network is Network.OPEN and parts.attachment is None:
                parts.attachment = await parts.uplink.attach(self._id, parts.init_pid, parts.route_fd)
            elif network is Network.NONE and parts.attachment is not None:
                await parts.uplink.detach(parts.attachment)
                parts.attachment = None

    async def set_hosts(self, addresses: Mapping[str, str]) -> None:
        """Say which addresses stand behind which names. Raises Unavailable, SandboxGone."""
        self._check()
        await self._parts.agent.identify(self._host, identity_files(self._host, addresses))

    async def pack(self, paths: Sequence[str], target: IO[bytes], max_bytes: int) -> Sequence[str]:
        """Write a tar of what is below some paths; return those at which there is nothing. Raises InvalidArgument,
        TooLarge, SandboxGone.
        """
        self._check()
        return await asyncio.to_thread(_pack, self._parts.init_pid, paths, target, max_bytes)

    def network_handles(self) -> tuple[int, int]:
        """Return the pid of its init and a route socket of its network. Raises SandboxGone."""
        self._check()
        return self._parts.init_pid, self._parts.route_fd

    async def usage(self) -> Usage:
        """Measure what it uses now."""
        self._check()
        disk = await self._parts.layers.usage(self._parts.layer_id)
        return replace(self._parts.group.usage(), disk_bytes=disk)

    async def wait_gone(self) -> str:
        """Return the reason when it has ended by itself or was destroyed."""
        await self._gone.wait()
        assert self._reason is not None
        return self._reason

    async def kill(self) -> None:
        """Kill every process inside and return as soon as they are dead; idempotent."""
        if self._reason is None and not self._parts.frozen:
            # Init alone goes on for some milliseconds then: it is ours, and the kernel takes its mounts apart first.
            with contextlib.suppress(SandboxGone, Failed, TimeoutError):
                async with asyncio.timeout(_SWEEP_SECONDS):
                    await self._parts.agent.sweep()
                    self._killed.set()
        self.end("The sandbox was killed.")
        await self._killed.wait()

    async def destroy(self, *, keep_layer: bool) -> None:
        """End it and free everything; idempotent."""
        self.end("The sandbox was destroyed.")
        await self._gone.wait()
        if not keep_layer and self._parts.layer_id:
            await self._parts.layers.delete(self._parts.layer_id)

    async def furnish(self, spec: SandboxSpec, specification: bytes) -> None:
        """Build the sandbox of `spec` from an init that waits in its groups. Raises CannotEnforce, LimitExceeded,
        Unavailable, SandboxGone.
        """
        parts = self._parts
        self._id = parts.layer_id = spec.id
        parts.limits = spec.limits
        if spec.limits != Limits():
            parts.group.set_limits(spec.limits)
        host = self._host = spec.hostname[:HOSTNAME_MAX]
        parts.route_fd, parts.shm_fd = await parts.agent.build(specification)
        self._bound_shared_memory(spec.limits)
        await asyncio.gather(
            self.set_network(spec.network),
            parts.agent.go(host),
            parts.agent.identify(host, identity_files(host)),
        )

    async def adopt(self, spec: SandboxSpec) -> None:
        """Become the sandbox of `spec`; for blank ones only. Raises CannotEnforce, LimitExceeded, Unavailable."""
        parts = self._parts
        if spec.limits != Limits():
            parts.group.set_limits(spec.limits)
            self._bound_shared_memory(spec.limits)
        self._id = spec.id
        host = self._host = spec.hostname[:HOSTNAME_MAX]
        await asyncio.gather(
            self._take_layer(spec),
            parts.agent.identify(host, identity_files(host)),
            self.set_network(spec.network),
        )
        parts.limits = spec.limits

    def _bound_shared_memory(self, limits: Limits) -> None:
        # Files in memory outlive every process that the kernel can kill for them but init.
        size = _SHM_BYTES if limits.memory_bytes is None else min(_SHM_BYTES, limits.memory_bytes // 4)
        with contextlib.suppress(OSError):  # it holds more already: the owner's to clean up
            syscalls.resize_tmpfs(self._parts.shm_fd, size)

    async def _take_layer(self, spec: SandboxSpec) -> None:
        parts = self._parts
        await parts.layers.rename(parts.layer_id, spec.id)
        parts.layer_id = spec.id
        if spec.limits.disk_bytes is not None:
            await parts.layers.set_limit(spec.id, spec.limits.disk_bytes)

    def init_exited(self, status: int | None) -> None:
        """Take the launcher's notice that everything inside is dead."""
        self._dead.set()
        if self._reason is None:
            self.end(_describe(status, self._parts.group))

    def abort(self, reason: str) -> None:
        """End one that is not finished; without an init there is no death to wait for."""
        if not self._parts.handle:
            self._dead.set()
        self.end(reason)

    def end(self, reason: str) -> None:
        """Begin to end it, once; the first reason stays."""
        if self._reason is None:
            self._reason = reason
            self._ending = asyncio.get_running_loop().create_task(self._end(reason))

    async def _end(self, reason: str) -> None:
        parts = self._parts
        try:
            parts.launcher.kill(parts.handle)
            parts.shells.close()
            parts.agent.close(reason)
            close_fds([fd for fd in (parts.route_fd, parts.shm_fd) if fd >= 0])
            parts.route_fd = parts.shm_fd = -1
            if parts.frozen:
                parts.group.kill()
            if not await self._died():
                # Killed init takes all with it; what stays is stuck in the kernel or was frozen by somebody else.
                parts.group.kill()
                await self._died()
            self._killed.set()
            await parts.group.remove()
        finally:
            self._killed.set()
            if parts.attachment is not None:
                parts.uplink.release(parts.attachment)
            self._on_end(self)
            self._gone.set()

    async def _died(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DEATH_SECONDS):
                await self._dead.wait()
        return self._dead.is_set()

    def _check(self) -> None:
        if self._reason is not None:
            raise SandboxGone(self._reason)


def identity_files(hostname: str, addresses: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """Return the small files that tell a sandbox its name and its neighbours', by path and content."""
    hosts = f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n127.0.1.1\t{hostname}\n"
    hosts += "".join(f"{address}\t{name}\n" for name, address in (addresses or {}).items())
    return [("/etc/hostname", f"{hostname}\n"), ("/etc/hosts", hosts)]


def _pack(init_pid: int, paths: Sequence[str], target: IO[bytes], max_bytes: int) -> list[str]:
    root = os.open(f"/proc/{init_pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return pack(root, paths, target, max_bytes)
    finally:
        os.close(root)


def _describe(status: int | None, group: Group) -> str:
    if status is None:
        return "The launcher of sandboxes ended unexpectedly."
    if group.usage().oom_kills:
        return "The sandbox ran out of memory and its init was killed."
    if os.WIFSIGNALED(status):
        return f"The sandbox's init was killed from outside by signal {os.WTERMSIG(status)}."
    return f"The sandbox's init ended with code {os.WEXITSTATUS(status)}."
