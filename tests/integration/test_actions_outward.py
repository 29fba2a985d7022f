"""Requests of actions on their way out: what they reach, by name, by redirect and by proxy."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import httpx2
import pytest

from runyard.actions.errors import InvalidParameters
from runyard.actions.parameters.split import Dispatched
from runyard.actions.runners.http import HttpRunner
from runyard.actions.runners.job import Job
from runyard.actions.runners.outward import Outward, judged
from runyard.executions.model import Outcome, Status
from runyard.executions.worker import RunContext

METADATA = "http://169.254.169.254/latest/meta-data/"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Serve: `/` answers with the name that it was asked by, `/away` leads to the link of the host."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        name = next(line[6:] for line in head.split("\r\n") if line.lower().startswith("host: "))
        status = f"302 Found\r\nLocation: {METADATA}" if " /away" in head else "200 OK"
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: {len(name)}\r\nConnection: close\r\n\r\n{name}".encode()
        )
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("host", "block_private", "reached"),
    [
        ("169.254.169.254", False, False), ("::ffff:169.254.169.254", False, False), ("fe80::1", False, False),
        ("100.100.100.200", False, False), ("fd00:ec2::254", False, False), ("100.100.100.201", False, True),
        ("2852039166", False, False), ("127.0.0.1", False, True), ("10.0.0.1", False, True),
        ("127.0.0.1", True, False), ("10.0.0.1", True, False), ("localhost", True, False),
        ("93.184.216.34", True, True),
    ],
)  # fmt: skip
async def test_address_behind_a_host_is_judged(host: str, block_private: bool, reached: bool) -> None:
    if reached:
        assert await judged(host, 80, block_private=block_private) == host
        return
    with pytest.raises(httpx2.ConnectError, match="do not reach"):
        await judged(host, 80, block_private=block_private)


async def test_request_goes_to_the_judged_address_under_its_own_name(port: int) -> None:
    async with httpx2.AsyncClient(transport=Outward(block_private=False), follow_redirects=True) as client:
        answer = await client.get(f"http://localhost:{port}/")
        assert (answer.text, str(answer.url)) == (f"localhost:{port}", f"http://localhost:{port}/")
        with pytest.raises(httpx2.ConnectError, match=r"169\.254\.169\.254"):
            await client.get(f"http://localhost:{port}/away")


@pytest.mark.parametrize(
    "given",
    [
        {"url": METADATA},
        {"url": "http://127.0.0.1:{port}/away", "allow_redirects": True},
        {"url": "http://example.invalid/", "http_proxy": "http://169.254.169.254:80"},
    ],
)
async def test_action_does_not_reach_the_link_of_the_host(port: int, given: dict[str, object]) -> None:
    given["url"] = str(given["url"]).format(port=port)
    ended = await sent(given)
    assert ended.status is Status.FAILED
    assert "do not reach" in str(ended.reason)


@pytest.mark.parametrize(
    "lists", [{"url_hosts_whitelist": ["127.0.0.1"]}, {"url_hosts_blacklist": ["169.254.169.254"]}]
)
async def test_lists_of_hosts_count_for_redirects_too(port: int, lists: dict[str, object]) -> None:
    with pytest.raises(InvalidParameters, match="listed"):
        await sent({"url": f"http://127.0.0.1:{port}/away", "allow_redirects": True, **lists})


class _Action:
    ref = "core.http"


class _Asked:
    """As much of a job as the runner looks at."""

    action = _Action()

    def __init__(self, given: dict[str, object]) -> None:
        self.given = Dispatched(runner=given, action={})


async def sent(given: dict[str, object]) -> Outcome:
    """Send a request that comes to no answer."""
    return await HttpRunner()(cast("Job", _Asked(given)), cast("RunContext", None))
