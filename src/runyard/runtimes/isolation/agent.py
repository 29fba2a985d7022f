"""The server's side of one sandbox's init. Owns requests in flight and the processes started; translates the agent's
failures into the port's errors. Knows nothing of how the sandbox was made.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import signal
import socket
import stat
from collections.abc import Callable, Sequence

from runyard.kernel.errors import InvalidArgument, NotFound, Unavailable
from runyard.runtimes.isolation import protocol
from runyard.runtimes.isolation.engine import (
    Command,
    Exit,
    OpenFile,
    OpenMode,
    SandboxGone,
    SpawnError,
    SpawnFailure,
)
from runyard.runtimes.isolation.failures import file_error, spawn_error
from runyard.runtimes.isolation.outcome import Outcome
from runyard.runtimes.isolation.protocol import Channel, Failed, Gone, Op, Re, Reply, Stage

_ENTERED_MAX = 256


class AgentProcess:
    """A process inside a sandbox."""

    __slots__ = ("_agent", "_oom_before", "_pid", "cpu_seconds", "outcome", "peak_bytes")

    def __init__(self, agent: "Agent", pid: int, oom_before: int) -> None:
        """Use Agent.spawn."""
        self._agent = agent
        self._pid = pid
        self._oom_before = oom_before
        self.outcome = Outcome()
        self.cpu_seconds = 0.0
        self.peak_bytes = 0

    @property
    def pid(self) -> int:
        """The process id inside the sandbox."""
        return self._pid

    @property
    def running(self) -> bool:
        """Tell whether no end of it is known yet."""
        return self.outcome.value is None

    async def wait(self) -> Exit:
        """Return how the process ended; any number of callers may wait. Raises SandboxGone."""
        return await self.outcome.get()

    async def ended_within(self, seconds: float) -> Exit | None:
        """Return how the process ended when it does so within a short time, else None. Raises SandboxGone."""
        return await self.outcome.get_within(seconds)

    def signal_group(self, signum: int) -> None:
        """Send a signal to the whole process group; silently nothing when it is gone."""
        self._agent.signal_group(self._pid, signum)

    def finish_from(self, reply: Reply, oom_kills: Callable[[], int]) -> None:
        """Settle the outcome from an exit notice; the agent's connection alone calls this."""
        self.cpu_seconds = (reply.c + reply.d) / 1e6
        self.peak_bytes = reply.e * 1024
        if os.WIFSIGNALED(reply.b):
            number = os.WTERMSIG(reply.b)
            killed = number == signal.SIGKILL and oom_kills() > self._oom_before
            self.outcome.settle(Exit(signal=number, oom_killed=killed))
            return
        code = os.WEXITSTATUS(reply.b)
        # A shell reports its killed child so.
        killed = code == 128 + signal.SIGKILL and oom_kills() > self._oom_before
        self.outcome.settle(Exit(code=code, oom_killed=killed))


class GatedSpawn:
    """A command on its way: it has its place, descriptors and folder, and waits for `go` to become the program."""

    __slots__ = ("_agent", "_command", "_gate", "_id", "_waiter")

    def __init__(
        self, agent: "Agent", command: Command, request_id: int, waiter: asyncio.Future[Reply], gate: int
    ) -> None:
        """Use Agent.prepare."""
        self._agent = agent
        self._command = command
        self._id = request_id
        self._waiter = waiter
        self._gate = gate

    async def go(self) -> AgentProcess:
        """Let it become the program, once. Returns when it has ended or runs for some milliseconds.
        Raises SpawnError, SandboxGone.
        """
        gate, self._gate = self._gate, -1
        with contextlib.suppress(BrokenPipeError):  # it has failed already; the answer says how
            os.write(gate, b"g")
        os.close(gate)
        try:
            reply = await self._agent.answer_to(self._id, self._waiter)
        except Failed as failure:
            raise spawn_error(failure, self._command) from None
        return self._agent.take_started(reply, self._command)

    def drop(self) -> None:
        """Give it up: it will never run. Nothing after `go`."""
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1
            self._agent.forget(self._id)

    def __del__(self) -> None:
        """Let go of one that nobody used."""
        self.drop()


class Agent:
    """A connection to a sandbox's init. Single-threaded, on the running loop."""

    def __init__(self, sock: socket.socket, uid_base: int, count_oom_kills: Callable[[], int]) -> None:
        """Take over the server's end of the pair; `count_oom_kills` reads the group's counter."""
        self._channel = Channel(sock, self._on_reply, self._on_gone)
        self._loop = asyncio.get_running_loop()
        self._uid_base = uid_base
        self._count_oom_kills = count_oom_kills
        self._oom_kills = 0
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._processes: dict[int, AgentProcess] = {}
        self._started: dict[int, AgentProcess] = {}
        self._gone_reason: str | None = None
        self.entered: set[str] = set()
        """Some folders in which commands could be started."""
        self._ready: asyncio.Future[tuple[int, int]] | None = None

    async def build(self, specification: bytes) -> tuple[int, int]:
        """Make a waiting init into a sandbox, once. Return a route socket of its network and its /dev/shm, both the
        caller's. Raises Unavailable, SandboxGone.
        """
        if self._gone_reason is not None:
            raise SandboxGone(self._gone_reason)
        self._ready = asyncio.get_running_loop().create_future()
        try:
            self._channel.send(Op.BUILD, 0, payload=specification)
            return await self._ready
        except Gone:
            raise SandboxGone(self._gone_reason) from None
        except asyncio.CancelledError:
            if self._ready.done() and not self._ready.cancelled() and self._ready.exception() is None:
                protocol.close_fds(self._ready.result())
            raise

    async def go(self, hostname: str) -> None:
        """Lock the sandbox down; commands can be started from here on. Raises Unavailable, SandboxGone."""
        await self._setup(Op.GO, protocol.fields(hostname))

    async def identify(self, hostname: str, contents: Sequence[tuple[str, str]]) -> None:
        """Set the host name and write small files by path and content. Raises Unavailable, SandboxGone."""
        flat = [text for pair in contents for text in pair]
        await self._setup(Op.IDENTITY, protocol.fields(hostname, *flat))

    async def spawn(self, command: Command, extra_fd: int | None = None) -> AgentProcess:
        """Start a command. `extra_fd` becomes descriptor 9 of it. Raises SpawnError, SandboxGone, InvalidArgument
        (empty argv, a NUL somewhere, an impossible variable name).
        """
        request_id, waiter = self._send_spawn(command, 0, extra_fd)
        try:
            reply = await self.answer_to(request_id, waiter)
        except Failed as failure:
            raise spawn_error(failure, command) from None
        return self.take_started(reply, command)

    def prepare(self, command: Command) -> GatedSpawn:
        """Begin to start a command that waits for `go` before it becomes the program. The command's descriptors may
        be closed at once. Raises as `spawn`, and OSError.
        """
        inside, gate = os.pipe2(os.O_CLOEXEC)
        try:
            flags = protocol.SPAWN_GATED | protocol.SPAWN_BRIEF
            request_id, waiter = self._send_spawn(command, flags, inside)
        except BaseException:
            os.close(gate)
            raise
        finally:
            os.close(inside)
        return GatedSpawn(self, command, request_id, waiter, gate)

    def take_started(self, reply: Reply, command: Command) -> AgentProcess:
        """Return the process that an answer tells of."""
        if len(self.entered) < _ENTERED_MAX:
            self.entered.add(command.cwd)
        return self._started.pop(reply.id)

    def forget(self, request_id: int) -> None:
        """Wait for an answer no more; what it brings is undone."""
        self._waiting.pop(request_id, None)

    def _send_spawn(
        self, command: Command, flags: int, fourth: int | None
    ) -> tuple[int, asyncio.Future[Reply]]:
        payload = _spawn_payload(command)
        fds = [command.stdin, command.stdout, command.stderr]
        for fd in fds:
            self._give_pipe(fd)
        if fourth is not None:
            if not flags:
                self._give_pipe(fourth)
            fds.append(fourth)
        if command.tty:
            flags |= protocol.SPAWN_TTY
        try:
            return self._begin(Op.SPAWN, (flags, len(command.argv), len(command.env)), payload, fds)
        except Failed as failure:
            raise spawn_error(failure, command) from None

    def signal_group(self, pid: int, signum: int) -> None:
        """Send a signal to a process group; nothing when it or the sandbox is gone."""
        with contextlib.suppress(Gone, OSError):
            self._channel.send(Op.SIGNAL, 0, (pid, signum, 0))

    def close(self, reason: str) -> None:
        """Close the connection, which makes init exit, and settle everything with SandboxGone."""
        self._channel.close()
        self._settle(reason)

    async def open_file(self, path: str, mode: OpenMode) -> OpenFile:
        """Open a regular file as the port describes. Raises NotFound, InvalidArgument, LimitExceeded, SandboxGone."""
        op = Op.OPEN if mode is OpenMode.READ else Op.CREATE_FILE
        reply = await self._file_request(op, path)
        if mode is OpenMode.READ:
            return OpenFile(reply.fds[0], reply.c)
        temporary, final, _ = reply.text.split(b"\0")
        return OpenFile(reply.fds[0], 0, AgentPublication(self, reply.fds[1], temporary, final))

    async def open_terminal(self) -> tuple[int, int]:
        """Open a pseudo-terminal; return (master, slave). Raises SpawnError, SandboxGone."""
        try:
            reply = await self._request(Op.TERMINAL)
        except Failed as failure:
            message = f"The sandbox has no terminal left: {failure}."
            raise SpawnError(message, SpawnFailure.RESOURCES) from None
        return reply.fds[0], reply.fds[1]

    async def listen(self, port: int = 0) -> socket.socket:
        """Open a port on the loopback inside, 0 for any free one; the socket is the caller's. Raises Unavailable, SandboxGone."""
        try:
            reply = await self._request(Op.LISTEN, (port, 0, 0))
        except Failed as failure:
            raise Unavailable(f"The sandbox has no port: {failure}.") from None
        return socket.socket(fileno=reply.fds[0])

    async def sweep(self) -> None:
        """Kill everything inside but init and return when it is dead. Raises Failed, SandboxGone."""
        await self._request(Op.SWEEP)

    async def rename(self, folder_fd: int, old: bytes, new: bytes) -> None:
        """Rename within one open folder. Raises InvalidArgument, LimitExceeded, SandboxGone."""
        await self._in_folder(Op.RENAME, folder_fd, old, new)

    async def unlink(self, folder_fd: int, name: bytes) -> None:
        """Remove a name of an open folder. Raises NotFound, SandboxGone."""
        await self._in_folder(Op.UNLINK, folder_fd, name)

    async def _in_folder(self, op: Op, folder_fd: int, *names: bytes) -> None:
        try:
            await self._request(op, payload=protocol.fields(*names), fds=[folder_fd])
        except Failed as failure:
            raise file_error(failure, os.fsdecode(names[-1])) from None

    async def _setup(self, op: Op, payload: bytes) -> None:
        try:
            await self._request(op, payload=payload)
        except Failed as failure:
            raise Unavailable(f"The sandbox could not be set up: {failure}.") from None

    async def _file_request(self, op: Op, path: str) -> Reply:
        try:
            payload = protocol.fields(path)
        except ValueError as error:
            raise InvalidArgument(f"This is no path: {error}.") from None
        if len(payload) > 4096:
            raise InvalidArgument("The path is longer than 4095 bytes.")
        try:
            return await self._request(op, payload=payload)
        except Failed as failure:
            raise file_error(failure, path) from None

    async def _request(
        self,
        op: Op,
        numbers: tuple[int, int, int] = (0, 0, 0),
        payload: bytes = b"",
        fds: Sequence[int] = (),
    ) -> Reply:
        return await self.answer_to(*self._begin(op, numbers, payload, fds))

    def _begin(
        self, op: Op, numbers: tuple[int, int, int], payload: bytes, fds: Sequence[int]
    ) -> tuple[int, asyncio.Future[Reply]]:
        """Send a request; `answer_to` waits for its answer."""
        if self._gone_reason is not None:
            raise SandboxGone(self._gone_reason)
        request_id = next(self._ids)
        waiter: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting[request_id] = waiter
        try:
            self._channel.send(op, request_id, numbers, payload, fds)
        except Gone:
            self.forget(request_id)
            raise SandboxGone(self._gone_reason) from None
        except OSError as error:
            self.forget(request_id)
            raise Failed(Stage.RESOURCES, error.errno or errno.EIO, "send the request") from error
        return request_id, waiter

    async def answer_to(self, request_id: int, waiter: asyncio.Future[Reply]) -> Reply:
        """Wait for an answer. Raises Failed, SandboxGone."""
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._abandon(waiter.result())
            raise
        finally:
            self._waiting.pop(request_id, None)

    def _abandon(self, reply: Reply) -> None:
        """Undo an answer that nobody waits for any more."""
        protocol.close_fds(reply.fds)
        self._started.pop(reply.id, None)
        if reply.op == Re.STARTED:
            self.signal_group(reply.a, signal.SIGKILL)

    def _on_reply(self, reply: Reply) -> None:
        if reply.op == Re.EXITED and reply.id == 0:
            process = self._processes.pop(reply.a, None)
            if process is not None:
                process.finish_from(reply, self._read_oom_kills)
            return
        if reply.op == Re.READY or reply.id == 0:
            self._on_setup(reply)
            return
        waiter = self._waiting.get(reply.id)
        wanted = waiter is not None and not waiter.done()
        if reply.op in (Re.STARTED, Re.EXITED):
            # At once, because the exit notice may be the next message of the same burst, or is this very one.
            process = AgentProcess(self, reply.a, self._oom_kills)
            if wanted:
                self._started[reply.id] = process
            if reply.op == Re.STARTED:
                self._processes[reply.a] = process
            else:
                process.finish_from(reply, self._read_oom_kills)
        if waiter is None or not wanted:
            self._abandon(reply)
        elif reply.op == Re.FAILED:
            waiter.set_exception(Failed(reply.a, reply.b, reply.text.decode(errors="replace")))
        else:
            waiter.set_result(reply)

    def _on_setup(self, reply: Reply) -> None:
        if self._ready is None or self._ready.done():
            protocol.close_fds(reply.fds)
        elif reply.op == Re.READY:
            self._ready.set_result((reply.fds[0], reply.fds[1]))
        else:
            what = reply.text.decode(errors="replace")
            self._ready.set_exception(
                Unavailable(f"The sandbox could not be set up: {what}: {os.strerror(reply.b)}.")
            )

    def _on_gone(self) -> None:
        self._settle("The sandbox has ended.")

    def _settle(self, reason: str) -> None:
        if self._gone_reason is not None:
            return
        self._gone_reason = reason
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(SandboxGone(reason))
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(SandboxGone(reason))
        for process in list(self._processes.values()):
            process.outcome.settle(SandboxGone(reason))
        self._processes.clear()

    def _read_oom_kills(self) -> int:
        self._oom_kills = max(self._oom_kills, self._count_oom_kills())
        return self._oom_kills

    def _give_pipe(self, fd: int) -> None:
        # `echo > /dev/stderr` opens the pipe anew by its owner and mode, and our root is nobody inside.
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.fchown(fd, self._uid_base, self._uid_base)
        except OSError:
            return  # the command cannot open it anew by its name then; nothing else is lost


class AgentPublication:
    """A half-written file inside a sandbox: a hidden sibling of the final path."""

    __slots__ = ("_agent", "_final", "_folder_fd", "_temporary")

    def __init__(self, agent: Agent, folder_fd: int, temporary: bytes, final: bytes) -> None:
        """Take over the folder's descriptor."""
        self._agent = agent
        self._folder_fd = folder_fd
        self._temporary = temporary
        self._final = final

    async def publish(self) -> None:
        """Rename the written file over its final path. Raises InvalidArgument (a folder is there), SandboxGone."""
        if self._folder_fd < 0:
            return
        try:
            await self._agent.rename(self._folder_fd, self._temporary, self._final)
        except InvalidArgument:
            await self.discard()
            raise
        self._close()

    async def discard(self) -> None:
        """Remove the half-written file; nothing when it is published or the sandbox is gone."""
        if self._folder_fd < 0:
            return
        try:
            with contextlib.suppress(NotFound, SandboxGone):
                await self._agent.unlink(self._folder_fd, self._temporary)
        finally:
            self._close()

    def _close(self) -> None:
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
            self._folder_fd = -1

    def __del__(self) -> None:
        """Close the folder when neither half was called."""
        self._close()


def _spawn_payload(command: Command) -> bytes:
    if not command.argv:
        raise InvalidArgument("The command is empty.")
    if any(not name or "=" in name for name in command.env):
        raise InvalidArgument("The name of an environment variable is empty or contains '='.")
    try:
        return protocol.fields(
            command.cwd, *command.argv, *(f"{name}={value}" for name, value in command.env.items())
        )
    except ValueError as error:
        raise InvalidArgument(f"The command, its folder or environment contains {error}.") from None
