"""The channel to launcher and agents, against the other end of a socket pair."""

import asyncio
import errno
import os
import re
import socket
import struct

import pytest

from runyard.kernel.errors import InvalidArgument, LimitExceeded, NotFound
from runyard.runtimes.isolation import protocol
from runyard.runtimes.isolation.agent import Agent
from runyard.runtimes.isolation.engine import Command, OpenMode, SandboxGone, SpawnError, SpawnFailure
from runyard.runtimes.isolation.native import build
from runyard.runtimes.isolation.protocol import Channel, Gone, Op, Re, Stage

REQUEST = struct.Struct("=IIiii")
REPLY = struct.Struct("=IIiiQQQ")


class FakeInit:
    """Plays the far end by hand."""

    def __init__(self, sock: socket.socket) -> None:
        """Take the far end."""
        self.sock = sock
        self.fds: list[int] = []

    def receive(self) -> tuple[tuple[int, ...], bytes]:
        """Return head and payload of the next request."""
        data, ancillary, _, _ = self.sock.recvmsg(1 << 17, socket.CMSG_SPACE(32))
        self.fds = [
            fd
            for _, _, raw in ancillary
            for fd in struct.unpack(f"={len(raw) // 4}i", raw[: len(raw) // 4 * 4])
        ]
        return REQUEST.unpack_from(data), data[REQUEST.size :]

    def send(
        self, op: int, request_id: int, *numbers: int, text: bytes = b"", fds: tuple[int, ...] = ()
    ) -> None:
        """Send an answer."""
        head = REPLY.pack(op, request_id, *(*numbers, 0, 0, 0, 0, 0)[:5])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"={len(fds)}i", *fds))] if fds else []
        self.sock.sendmsg([head, text], rights)

    def close(self) -> None:
        """Close the far end and what it received."""
        self.sock.close()
        protocol.close_fds(self.fds)


@pytest.fixture
def pair() -> tuple[socket.socket, FakeInit]:
    """Return the near socket and the fake at the far one."""
    near, far = protocol.seqpacket_pair()
    return near, FakeInit(far)


async def test_numbers_of_the_wire_are_those_of_the_c_header() -> None:
    header = (build.FOLDER / "common.h").read_text()
    numbers = {name: int(value) for name, value in re.findall(r"\b([A-Z_]+) = (\d+)", header)}
    assert {f"OP_{op.name}": op.value for op in Op}.items() <= numbers.items()
    assert {f"RE_{op.name}": op.value for op in Re}.items() <= numbers.items()
    assert {f"STAGE_{stage.name}": stage.value for stage in Stage}.items() <= numbers.items()
    assert numbers["INLINE_MAX"] == protocol.INLINE_MAX
    assert numbers["EXTRA_FD"] == protocol.EXTRA_FD
    assert numbers["FLAG_MEMFD"] == protocol.FLAG_MEMFD
    assert numbers["FLAG_CGROUP"] == protocol.FLAG_CGROUP


async def test_large_payload_travels_in_memory_file(pair: tuple[socket.socket, FakeInit]) -> None:
    near, far = pair
    channel = Channel(near, lambda _: None, lambda: None)
    payload = os.urandom(300_000)
    channel.send(Op.SPAWN, 7, (1, 2, 3), payload)
    head, inline = far.receive()
    assert head == (Op.SPAWN, 7, 1 | protocol.FLAG_MEMFD, 2, 3)
    assert inline == b""
    assert os.pread(far.fds[0], 400_000, 0) == payload
    channel.close()
    far.close()


async def test_messages_to_a_slow_reader_are_kept_in_order_with_their_descriptors(
    pair: tuple[socket.socket, FakeInit],
) -> None:
    near, far = pair
    channel = Channel(near, lambda _: None, lambda: None)
    for number in range(60):
        read, write = os.pipe()
        os.write(write, b"%d" % number)
        channel.send(Op.SPAWN, number, payload=b"x" * 30_000, fds=[read])
        protocol.close_fds((read, write))
    for number in range(60):
        await asyncio.sleep(0)
        head, _ = await asyncio.to_thread(far.receive)
        assert head[1] == number
        assert os.read(far.fds[0], 10) == b"%d" % number
        protocol.close_fds(far.fds)
    far.fds = []
    channel.close()
    far.close()


async def test_far_end_closed_is_told_once_and_sending_raises(pair: tuple[socket.socket, FakeInit]) -> None:
    near, far = pair
    told = asyncio.Event()
    channel = Channel(near, lambda _: None, told.set)
    far.close()
    await told.wait()
    assert channel.closed
    with pytest.raises(Gone):
        channel.send(Op.GO, 1)


def test_fields_refuse_nul() -> None:
    assert protocol.fields("a", b"b", "") == b"a\0b\0\0"
    with pytest.raises(ValueError, match="NUL"):
        protocol.fields("a\0b")


def _agent(near: socket.socket, oom_kills: int = 0) -> Agent:
    return Agent(near, 1000, lambda: oom_kills)


def _command() -> Command:
    return Command(argv=["prog"], stdin=0, stdout=1, stderr=2)


async def test_start_and_exit_in_one_burst_give_a_finished_process(
    pair: tuple[socket.socket, FakeInit],
) -> None:
    near, far = pair
    agent = _agent(near)
    spawning = asyncio.create_task(agent.spawn(_command()))
    await asyncio.sleep(0)
    head, payload = far.receive()
    assert payload == b"/root\0prog\0"
    far.send(Re.STARTED, head[1], 77)
    far.send(Re.EXITED, 0, 77, 3 << 8, 1_500_000, 500_000, 2048)
    process = await spawning
    assert (await process.wait()).code == 3
    assert (process.cpu_seconds, process.peak_bytes) == (2.0, 2 << 20)
    agent.close("over")
    far.close()


async def test_cancelled_spawn_kills_what_starts_later(pair: tuple[socket.socket, FakeInit]) -> None:
    near, far = pair
    agent = _agent(near)
    spawning = asyncio.create_task(agent.spawn(_command()))
    await asyncio.sleep(0)
    head, _ = far.receive()
    protocol.close_fds(far.fds)
    spawning.cancel()
    await asyncio.gather(spawning, return_exceptions=True)
    far.send(Re.STARTED, head[1], 78)
    signal_head, _ = await asyncio.to_thread(far.receive)
    assert (signal_head[0], *signal_head[2:4]) == (Op.SIGNAL, 78, 9)
    agent.close("over")
    far.close()


async def test_descriptors_of_an_abandoned_answer_are_closed(pair: tuple[socket.socket, FakeInit]) -> None:
    near, far = pair
    agent = _agent(near)
    opening = asyncio.create_task(agent.open_file("x", OpenMode.READ))
    await asyncio.sleep(0)
    head, _ = far.receive()
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    read, write = os.pipe()
    far.send(Re.FILE, head[1], fds=(write,))
    os.close(write)
    os.set_blocking(read, True)
    assert await asyncio.to_thread(os.read, read, 1) == b""  # the last writer is gone
    os.close(read)
    agent.close("over")
    far.close()


@pytest.mark.parametrize(
    ("stage", "error", "reason"),
    [
        (Stage.CWD, errno.ENOENT, SpawnFailure.BAD_CWD),
        (Stage.EXEC, errno.ENOENT, SpawnFailure.NOT_FOUND),
        (Stage.EXEC, errno.ENOTDIR, SpawnFailure.NOT_FOUND),
        (Stage.EXEC, errno.EACCES, SpawnFailure.NOT_EXECUTABLE),
        (Stage.EXEC, errno.ENOEXEC, SpawnFailure.NOT_EXECUTABLE),
        (Stage.EXEC, errno.E2BIG, SpawnFailure.RESOURCES),
        (Stage.FORK, errno.EAGAIN, SpawnFailure.RESOURCES),
        (Stage.RESOURCES, errno.EMFILE, SpawnFailure.RESOURCES),
    ],
)
async def test_failed_spawn_tells_the_reason(
    pair: tuple[socket.socket, FakeInit], stage: Stage, error: int, reason: SpawnFailure
) -> None:
    near, far = pair
    agent = _agent(near)
    spawning = asyncio.create_task(agent.spawn(_command()))
    await asyncio.sleep(0)
    head, _ = far.receive()
    far.send(Re.FAILED, head[1], stage, error)
    with pytest.raises(SpawnError) as caught:
        await spawning
    assert caught.value.reason is reason
    agent.close("over")
    far.close()


@pytest.mark.parametrize(
    ("stage", "error", "expected"),
    [
        (Stage.PATH, errno.ENOENT, NotFound),
        (Stage.PATH, errno.ELOOP, InvalidArgument),
        (Stage.NOT_FILE, errno.EISDIR, InvalidArgument),
        (Stage.PATH, errno.EDQUOT, LimitExceeded),
    ],
)
async def test_failed_file_request_tells_the_kind(
    pair: tuple[socket.socket, FakeInit], stage: Stage, error: int, expected: type[Exception]
) -> None:
    near, far = pair
    agent = _agent(near)
    opening = asyncio.create_task(agent.open_file("x", OpenMode.READ))
    await asyncio.sleep(0)
    head, _ = far.receive()
    far.send(Re.FAILED, head[1], stage, error, text=b"why")
    with pytest.raises(expected):
        await opening
    agent.close("over")
    far.close()


async def test_agent_gone_settles_requests_and_processes(pair: tuple[socket.socket, FakeInit]) -> None:
    near, far = pair
    agent = _agent(near)
    spawning = asyncio.create_task(agent.spawn(_command()))
    await asyncio.sleep(0)
    head, _ = far.receive()
    far.send(Re.STARTED, head[1], 5)
    process = await spawning
    opening = asyncio.create_task(agent.open_file("x", OpenMode.READ))
    await asyncio.sleep(0)
    far.close()
    for waiting in (opening, process.wait(), agent.spawn(_command())):
        with pytest.raises(SandboxGone):
            await waiting


@pytest.mark.parametrize(("kills", "expected"), [(0, False), (1, True)])
async def test_killed_process_is_out_of_memory_only_when_the_group_counted_it(
    pair: tuple[socket.socket, FakeInit], kills: int, expected: bool
) -> None:
    near, far = pair
    agent = _agent(near, kills)
    spawning = asyncio.create_task(agent.spawn(_command()))
    await asyncio.sleep(0)
    head, _ = far.receive()
    far.send(Re.STARTED, head[1], 5)
    far.send(Re.EXITED, 0, 5, 9)
    ended = await (await spawning).wait()
    assert (ended.signal, ended.oom_killed) == (9, expected)
    agent.close("over")
    far.close()
