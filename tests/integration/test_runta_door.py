"""The Runta door over a fake engine: what is hard to provoke over a socket. Waiting answers, lost clients, frames."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from runyard.database.engine import Database
from runyard.dialects.door import Door
from runyard.dialects.runta.routes import register
from runyard.executions.model import ExecutionFilter, Status
from runyard.runtimes.options import ExecOptions
from tests.fakes.engine import FakeProcess
from tests.integration.test_runtimes_service import OPTIONS
from tests.support.asgi import Exchange, begin
from tests.support.runtimes import Yard, until

HASTY = replace(
    OPTIONS, exec=ExecOptions(keep_alive_after_secs=0.05, heartbeat_secs=0.05, kill_grace_secs=0.05)
)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One kind of database is enough here."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
async def yard(database: Database, tmp_path: Path) -> AsyncIterator[Yard]:
    """The domain with short times."""
    made = await Yard(database, tmp_path, HASTY).start()
    yield made
    await made.stop()


@pytest.fixture
def door(yard: Yard) -> Door:
    """The door over it."""
    return register(yard)


@pytest.fixture
async def runtime(yard: Yard) -> str:
    """The id of a running runtime."""
    return str((await yard.create()).runtime.id)


def execute(yard: Yard, door: Door, runtime: str, command: str, **fields: object) -> Exchange:
    body = json.dumps({"command": command, "args": [], **fields}).encode()
    return begin(door, yard.me, "POST", f"/v1/runtimes/{runtime}/exec", body)


def stream(yard: Yard, door: Door, runtime: str) -> Exchange:
    return begin(door, yard.me, "WEBSOCKET", f"/v2/runtimes/{runtime}/exec/stream")


async def last(yard: Yard) -> Status:
    return (await yard.executions.list(yard.me.scope, ExecutionFilter())).items[0].status


async def test_waiting_answer_begins_with_blanks_and_ends_with_the_result(
    yard: Yard, door: Door, runtime: str
) -> None:
    go = asyncio.Event()

    async def wait(process: FakeProcess) -> int:
        await go.wait()
        process.say("done\n")
        return 0

    yard.engine.programs["wait"] = wait
    exchange = execute(yard, door, runtime, "wait")
    await until(lambda: len(exchange.sent) > 3)
    assert exchange.body.strip() == b""
    go.set()
    await exchange.finished()
    assert exchange.status == 200
    assert exchange.json()["data"]["stdout"] == "done\n"
    assert [message.get("more_body", False) for message in exchange.sent[1:]] == [True] * (
        len(exchange.sent) - 2
    ) + [False]


async def test_runtime_that_ends_under_a_waiting_answer_is_told_in_the_body(
    yard: Yard, door: Door, runtime: str
) -> None:
    exchange = execute(yard, door, runtime, "forever")
    await until(lambda: len(exchange.sent) > 1)
    yard.engine.living[runtime].crash("gone")
    document = (await exchange.finished()).json()
    assert (document["data"]["exit_code"], document["error"]["code"]) == (137, "unavailable")
    assert "ended while the command ran" in document["data"]["stderr"]


async def test_runtime_that_ends_under_a_quick_answer_is_an_error(
    yard: Yard, door: Door, runtime: str
) -> None:
    exchange = execute(yard, door, runtime, "forever")
    await until(lambda: bool(yard.engine.living[runtime].processes))
    yard.engine.living[runtime].crash("gone")
    await exchange.finished()
    assert (exchange.status, exchange.json()["error"]["code"]) == (503, "unavailable")


async def test_lost_client_ends_its_command(yard: Yard, door: Door, runtime: str) -> None:
    exchange = execute(yard, door, runtime, "forever")
    await until(lambda: bool(yard.engine.living[runtime].processes))
    exchange.incoming.put_nowait({"type": "http.disconnect"})
    await exchange.finished()
    assert await last(yard) is Status.CANCELED
    assert yard.commands.running == 0


async def test_client_lost_within_its_body_is_no_error(yard: Yard, door: Door, runtime: str) -> None:
    exchange = begin(door, yard.me, "POST", f"/v1/runtimes/{runtime}/exec")
    exchange.incoming.get_nowait()
    exchange.incoming.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
    exchange.incoming.put_nowait({"type": "http.disconnect"})
    await exchange.finished()
    assert exchange.sent == []


async def test_stream_refusal_comes_before_the_upgrade(yard: Yard, door: Door, runtime: str) -> None:
    refused = await begin(door, yard.me, "WEBSOCKET", "/v2/runtimes/name/exec/stream").finished()
    assert (refused.sent[0]["type"], refused.status) == ("websocket.http.response.start", 422)
    await begin(door, yard.me, "POST", f"/v1/runtimes/{runtime}/pause").finished()
    paused = await stream(yard, door, runtime).finished()
    assert paused.status == 409
    assert "is not running (status: paused)" in paused.json()["error"]["message"]


async def test_stream_says_heartbeats_until_the_exit_and_then_closes(
    yard: Yard, door: Door, runtime: str
) -> None:
    async def read(process: FakeProcess) -> int:
        process.say("ready\n")
        await until(lambda: bool(exchange.frames()))
        await asyncio.sleep(0.12)
        return 5

    yard.engine.programs["read"] = read
    exchange = stream(yard, door, runtime)
    exchange.frame(type="start", command="read")
    exchange.frame(type="heartbeat")
    exchange.frame(type="close_stdin")
    await exchange.finished()
    kinds = [frame["type"] for frame in exchange.frames()]
    assert base64.b64decode(exchange.frames()[0]["data_base64"]) == b"ready\n"
    assert "heartbeat" in kinds
    assert exchange.frames()[-1] == {"type": "exit", "code": 5}
    assert exchange.sent[-1] == {"type": "websocket.close", "code": 1000}


async def test_stream_waits_for_late_input_before_it_closes(yard: Yard, door: Door, runtime: str) -> None:
    exchange = stream(yard, door, runtime)
    exchange.frame(type="start", command="true")
    await until(lambda: {"type": "exit", "code": 0} in exchange.frames())
    assert exchange.sent[-1]["type"] == "websocket.send"
    exchange.frame(type="stdin", data_base64="eHh4")
    exchange.frame(type="close_stdin")
    await exchange.finished()
    assert exchange.sent[-1] == {"type": "websocket.close", "code": 1000}


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([{"type": "close_stdin"}], "first websocket frame must be start"),
        ([{"type": "start"}], "malformed frame"),
        ([{"type": "start", "command": ""}], "command must not be empty"),
        (
            [{"type": "start", "command": "forever"}, {"type": "signal", "signal": "HUP"}],
            "unsupported signal 'HUP'",
        ),
        ([{"type": "start", "command": "forever"}, {"type": "stdin", "data_base64": "*"}], "Base64"),
    ],
)
async def test_stream_fault_ends_in_an_error_frame_and_kills(
    yard: Yard, door: Door, runtime: str, frames: list[dict[str, object]], message: str
) -> None:
    exchange = stream(yard, door, runtime)
    for frame in frames:
        exchange.frame(**frame)
    await exchange.finished()
    assert exchange.frames()[-1]["type"] == "error"
    assert message in exchange.frames()[-1]["message"]
    assert exchange.sent[-1] == {"type": "websocket.close", "code": 1008}
    assert yard.commands.running == 0


@pytest.mark.parametrize("how", ["disconnect", "broken"])
async def test_stream_lost_client_ends_the_command(yard: Yard, door: Door, runtime: str, how: str) -> None:
    exchange = stream(yard, door, runtime)
    exchange.frame(type="start", command="forever")
    await until(lambda: bool(exchange.frames()))
    if how == "broken":
        exchange.broken = True  # the next heartbeat finds out
    else:
        exchange.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
    await exchange.finished()
    assert await last(yard) is Status.CANCELED
    assert yard.commands.running == 0
