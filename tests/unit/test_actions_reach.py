"""The port inside a sandbox, and sandboxes made ahead: how many connections there are, and what waits in the row."""

import asyncio
import socket
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import pytest

from runyard.actions.runners.python import unless_canceled
from runyard.actions.runners.reach import CONNECTIONS, Reach
from runyard.actions.runners.ready import ReadyBoxes
from runyard.executions.worker import RunContext
from runyard.kernel.errors import Unavailable
from runyard.runtimes.isolation.engine import CannotEnforce


class Echo(asyncio.Protocol):
    """Says what it heard."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Say it."""
        self.transport.write(data)


async def connect(port: int) -> socket.socket:
    """Connect without waiting for anybody."""
    made = socket.socket()
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
    except OSError:
        made.close()
        raise
    return made


async def said(connection: socket.socket) -> bytes:
    """Say something and return the answer; nothing when the connection was closed."""
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(connection, b"x")
        return await asyncio.wait_for(loop.sock_recv(connection, 9), 5)
    except OSError:
        return b""


async def test_reach_answers_and_bounds_the_connections_of_one_sandbox() -> None:
    reach = Reach()
    reach.protocol = Echo
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = listener.getsockname()[1]
    opened = reach.open(listener)
    assert opened.url == f"http://127.0.0.1:{port}"
    held = [await connect(port) for _ in range(CONNECTIONS)]
    assert {await said(one) for one in held} == {b"x"}
    more = await connect(port)
    assert await said(more) == b""
    held[0].close()
    await asyncio.sleep(0.05)
    again = await connect(port)
    assert await said(again) == b"x"
    opened.close()
    assert await said(held[1]) == b""
    for one in (*held, more, again):
        one.close()
    with pytest.raises(OSError, match=r"."):
        await connect(port)


async def test_reach_answers_nobody_before_the_server_serves() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    opened = Reach().open(listener)
    with await connect(listener.getsockname()[1]) as connection:
        assert await said(connection) == b""
    opened.close()


async def test_wait_for_a_virtual_environment_ends_with_the_run() -> None:
    cancelled, going_on = asyncio.Event(), asyncio.Event()
    context = cast("RunContext", SimpleNamespace(cancelled=cancelled))

    async def work() -> str:
        await going_on.wait()
        return "made"

    waiting = asyncio.ensure_future(unless_canceled(context, work()))
    await asyncio.sleep(0)
    cancelled.set()
    assert await waiting is None
    cancelled.clear()
    going_on.set()
    assert await unless_canceled(context, work()) == "made"


@dataclass
class Box:
    """A sandbox that only says whether it lives."""

    number: int
    gone: bool = False


class Maker:
    """Makes boxes, or fails."""

    def __init__(self) -> None:
        """Make the first one with the number 1."""
        self.made = 0
        self.another = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> Box:
        """Make one."""
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.made += 1
        self.another.set()
        return Box(self.made)

    async def until(self, count: int) -> None:
        """Wait until so many were made and had the time to get into their row."""
        async with asyncio.timeout(5):
            while self.made < count:
                self.another.clear()
                await self.another.wait()
        await asyncio.sleep(0.01)


async def test_ready_boxes_are_taken_in_order_and_made_again() -> None:
    maker = Maker()
    row = ReadyBoxes[Box](3, maker)
    assert row.take() is None
    row.start()
    await maker.until(3)
    assert maker.made == 3
    first = row.take()
    assert first is not None
    await maker.until(4)
    second = row.take()
    assert second is not None
    assert {first.number, second.number} <= {1, 2, 3}
    await maker.until(5)
    assert len(await row.stop()) == 3
    assert maker.made == 5


async def test_ready_boxes_that_died_are_not_handed_out() -> None:
    maker = Maker()
    row = ReadyBoxes[Box](2, maker)
    row.start()
    await maker.until(2)
    for one in row._waiting:
        one.gone = True
    assert row.take() is None
    await maker.until(4)
    taken = row.take()
    assert taken is not None
    assert not taken.gone
    await row.stop()


@pytest.mark.parametrize("error", [Unavailable("not now"), CannotEnforce("never here"), OSError("no room")])
async def test_ready_boxes_that_cannot_be_made_leave_runs_to_make_their_own(error: Exception) -> None:
    maker = Maker()
    maker.error = error
    row = ReadyBoxes[Box](2, maker)
    row.start()
    await asyncio.sleep(0.02)
    assert row.take() is None
    assert await row.stop() == []
