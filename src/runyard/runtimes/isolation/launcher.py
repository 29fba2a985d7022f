"""The launcher process. Owns starting it, asking it for sandboxes, and telling when one has ended; knows neither
commands nor files.

The launcher is a small single-threaded program because cloning this process, with its memory and threads, would cost
more and could deadlock.
"""

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Callable
from pathlib import Path

from runyard.kernel.errors import Unavailable
from runyard.runtimes.isolation import protocol
from runyard.runtimes.isolation.protocol import Channel, Failed, Gone, Op, Re, Reply

_SOCKET_FD = 3
_START_SECONDS = 10.0

OnExit = Callable[[int | None], None]
"""Called with the wait status of a sandbox's init once everything inside is dead, None when the launcher died."""


class Launcher:
    """A launcher, started when first needed and again when it died."""

    def __init__(self, program: Path) -> None:
        """Take the compiled agent; nothing is started."""
        self._program = program
        self._channel: Channel | None = None
        self._pid = 0
        self._ids = itertools.count(1)
        self._creating: dict[int, asyncio.Future[int]] = {}
        self._living: dict[int, OnExit] = {}
        self._ready: asyncio.Future[None] | None = None
        self._starting = asyncio.Lock()
        self._reapers: set[asyncio.Future[object]] = set()

    @property
    def pid(self) -> int:
        """Process id of the running launcher, 0 without one."""
        return self._pid

    async def start(self) -> None:
        """Start it unless it runs. Raises Unavailable."""
        async with self._starting:
            if self._channel is not None:
                return
            ours, theirs = protocol.seqpacket_pair()
            with theirs:
                self._ready = asyncio.get_running_loop().create_future()
                try:
                    self._pid = _spawn(self._program, theirs)
                except OSError as error:
                    ours.close()
                    raise Unavailable(f"The launcher cannot be started: {error}.") from error
                self._channel = Channel(ours, self._on_reply, self._on_gone)
            try:
                async with asyncio.timeout(_START_SECONDS):
                    await self._ready
            except (TimeoutError, Gone):
                raise Unavailable("The launcher did not start.") from None

    async def stop(self) -> None:
        """End it, and with it every sandbox that still lives."""
        if self._channel is not None:
            self._channel.close()
            self._on_gone()
        while self._reapers:
            await asyncio.wait(self._reapers)

    async def create(
        self, agent: socket.socket, uid_base: int, cgroup_fd: int | None, on_exit: OnExit
    ) -> tuple[int, int]:
        """Clone an init that is served through `agent`'s other end. Return its handle and its pid on the host.
        `on_exit` is called once from here on. Raises Unavailable.
        """
        await self.start()
        assert self._channel is not None
        handle = next(self._ids)
        created = asyncio.get_running_loop().create_future()
        self._creating[handle] = created
        self._living[handle] = on_exit
        fds = [agent.fileno()] if cgroup_fd is None else [agent.fileno(), cgroup_fd]
        flags = 0 if cgroup_fd is None else protocol.FLAG_CGROUP
        try:
            self._channel.send(Op.CREATE, handle, (flags, uid_base, 0), fds=fds)
            return handle, await created
        except (Failed, Gone) as error:
            self._living.pop(handle, None)
            raise Unavailable(f"A sandbox cannot be made: {error}.") from error
        except asyncio.CancelledError:
            self.kill(handle)
            raise
        finally:
            self._creating.pop(handle, None)

    def kill(self, handle: int) -> None:
        """Kill the init of a sandbox, and so everything inside; nothing when it is gone."""
        if handle in self._living and self._channel is not None:
            with contextlib.suppress(Gone):
                self._channel.send(Op.KILL, handle)

    def _on_reply(self, reply: Reply) -> None:
        protocol.close_fds(reply.fds)
        if reply.op == Re.EXITED:
            on_exit = self._living.pop(reply.id, None)
            if on_exit is not None:
                on_exit(reply.b)
            return
        if reply.op == Re.READY and self._ready is not None:
            if not self._ready.done():
                self._ready.set_result(None)
            return
        created = self._creating.get(reply.id)
        if created is None or created.done():
            return
        if reply.op == Re.STARTED:
            created.set_result(reply.a)
        else:
            created.set_exception(Failed(reply.a, reply.b, reply.text.decode(errors="replace")))

    def _on_gone(self) -> None:
        self._channel = None
        pid, self._pid = self._pid, 0
        # Its end is near but not over: its memory is still being freed. Not on the loop.
        reaper: asyncio.Future[object] = asyncio.get_running_loop().run_in_executor(None, _reap, pid)
        self._reapers.add(reaper)
        reaper.add_done_callback(self._reapers.discard)
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(Gone("the launcher ended"))
        for created in self._creating.values():
            if not created.done():
                created.set_exception(Gone("the launcher ended"))
        living, self._living = self._living, {}
        for on_exit in living.values():
            on_exit(None)


def _spawn(program: Path, theirs: socket.socket) -> int:
    # Not subprocess: nothing is to be read from it and no thread of the loop may be forked.
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, theirs.fileno(), _SOCKET_FD),
    ]
    path = os.fspath(program)
    return os.posix_spawn(path, [path, "launcher"], {}, file_actions=actions)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
