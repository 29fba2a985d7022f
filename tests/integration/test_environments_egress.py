"""The way out for listed targets, against real sockets: one place is another host, in a network namespace of its own."""

import asyncio
import contextlib
import ipaddress
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from runyard.environments.egress import Allowed, Gateway
from runyard.environments.proxies import Proxy
from runyard.runtimes.isolation import syscalls

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2")
OUTSIDE, OWN = "198.51.100.2", "198.51.100.1"


class Page(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def do_GET(self) -> None:
        """Answer."""
        body = f"{self.path} {self.headers.get('X-Mark', '')} {self.headers.get('Proxy-Connection', '')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def outside() -> Iterator[int]:
    """Serve a page on another host: a namespace that a pair of links leads to. Return the port."""
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo up; exec sleep 300"], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    link, enter = f"rt{os.getpid() % 100_000}", ["nsenter", "-t", str(holder.pid), "-n"]
    try:
        for words in (
            ["ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid)],
            ["ip", "address", "add", f"{OWN}/24", "dev", link],
            ["ip", "link", "set", link, "up"],
            [*enter, "ip", "address", "add", f"{OUTSIDE}/24", "dev", "eth0"],
            [*enter, "ip", "link", "set", "eth0", "up"],
        ):
            subprocess.run(words, check=True, capture_output=True)
        ready: list[HTTPServer] = []
        begun = threading.Event()

        def serve() -> None:
            fd = os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY)
            syscalls.setns(fd, syscalls.CLONE_NEWNET)
            os.close(fd)
            ready.append(HTTPServer((OUTSIDE, 0), Page))
            begun.set()
            ready[0].serve_forever()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert begun.wait(10)
        yield ready[0].server_address[1]
        ready[0].shutdown()
        thread.join()
        ready[0].server_close()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


class Way:
    """A gateway and how to ask it."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        """Remember both."""
        self.gateway, self.port = gateway, port

    async def ask(self, text: str) -> str:
        """Send some bytes and return the whole answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(text.encode())
        async with asyncio.timeout(30):
            answer = await reader.read()
        writer.close()
        return answer.decode()


@pytest.fixture
async def way(outside: int) -> AsyncIterator[Way]:
    """Open a gateway for some targets."""
    targets = [
        f"tcp://{OUTSIDE}:{outside}",
        "127.0.0.1",
        "198.51.100.1",
        "10.99.0.0/16",
        "*.example.org",
        "localhost.test",
    ]
    gateway = Gateway(Allowed.of(targets), (ipaddress.ip_network("10.99.0.0/17"),))
    bound = socket.create_server(("127.0.0.1", 0))
    await gateway.listen(bound)
    yield Way(gateway, bound.getsockname()[1])
    await gateway.close()


async def test_listed_target_is_reached_by_request_and_by_tunnel(way: Way, outside: int) -> None:
    plain = await way.ask(
        f"GET http://{OUTSIDE}:{outside}/a?b=c HTTP/1.1\r\nHost: x\r\nX-Mark: m\r\nProxy-Connection: keep\r\n\r\n"
    )
    assert plain.startswith("HTTP/1.0 200")
    assert plain.endswith("/a?b=c m ")
    tunnel = await way.ask(f"CONNECT {OUTSIDE}:{outside} HTTP/1.1\r\n\r\nGET /deep HTTP/1.0\r\n\r\n")
    assert tunnel.startswith("HTTP/1.1 200 Connection established")
    assert "/deep" in tunnel


@pytest.mark.parametrize(
    "place",
    ["198.51.100.2:1", "198.51.100.3:80", "127.0.0.1:80", "[::1]:80", "198.51.100.1:80", "10.99.1.1:80", "0.0.0.0:80",
     "169.254.169.254:80", "localhost:80", "2130706433:80", "example.org:80", "[::ffff:127.0.0.1]:80"],
)  # fmt: skip
async def test_everything_else_is_refused_even_where_a_task_lists_it(way: Way, place: str) -> None:
    assert (await way.ask(f"CONNECT {place} HTTP/1.1\r\n\r\n")).startswith("HTTP/1.1 403")
    assert way.gateway.refused


@pytest.mark.parametrize(
    "text",
    [
        "GET / HTTP/1.1\r\n\r\n",
        "GET https://x/ HTTP/1.1\r\n\r\n",
        "CONNECT x:y HTTP/1.1\r\n\r\n",
        "x\r\n\r\n",
    ],
)
async def test_what_is_no_request_for_a_proxy_is_answered_400(way: Way, text: str) -> None:
    assert (await way.ask(text)).startswith("HTTP/1.1 400")


async def test_only_listed_names_are_looked_up() -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        asked.append(f"{host}:{port}")
        return [ipaddress.ip_address("127.0.0.1")]

    gateway = Gateway(Allowed.of(["*.example.org", "127.0.0.0/8"]), resolve=resolve)
    bound = socket.create_server(("127.0.0.1", 0))
    await gateway.listen(bound)
    way = Way(gateway, bound.getsockname()[1])
    for host in ("data.attacker.test", "www.example.org", "127.0.0.1"):
        assert (await way.ask(f"CONNECT {host}:80 HTTP/1.1\r\n\r\n")).startswith("HTTP/1.1 403")
    assert asked == ["www.example.org:80"]
    await gateway.close()


async def test_what_can_be_no_name_is_refused() -> None:
    gateway = Gateway(Allowed.of(["*.example.org"]))
    bound = socket.create_server(("127.0.0.1", 0))
    await gateway.listen(bound)
    way = Way(gateway, bound.getsockname()[1])
    answer = await way.ask(f"CONNECT {'a' * 70}.example.org:80 HTTP/1.1\r\n\r\n")
    assert answer.startswith("HTTP/1.1 403")
    await gateway.close()


async def test_client_that_breaks_off_ends_the_silent_far_side() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        began.set()
        with contextlib.suppress(OSError):
            await reader.read()
        ended.set()
        writer.close()

    far = await asyncio.start_server(silent, "127.0.0.1", 0)
    proxy = Proxy(far.sockets[0].getsockname()[:2])
    port = await proxy.listen("127.0.0.1", 0)
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"hello")
    async with asyncio.timeout(10):
        await began.wait()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # as an error, not as an end
        await ended.wait()
    await proxy.close()
    far.close()


def test_list_knows_names_suffixes_networks_and_places() -> None:
    allowed = Allowed.of(
        ["Example.com", "*.sub.example", "10.0.0.0/8", "tcp://db.example:5432", "2001:db8::/32"]
    )
    assert allowed.name("example.com.", 1)
    assert allowed.name("a.sub.example", 1)
    assert allowed.name("db.example", 5432)
    assert not any(
        allowed.name(name, 1) for name in ("x.example.com", "sub.example", "evilsub.example", "db.example")
    )
    assert allowed.address(ipaddress.ip_address("10.1.2.3"), 1)
    assert allowed.address(ipaddress.ip_address("2001:db8::1"), 1)
    assert not allowed.address(ipaddress.ip_address("11.0.0.1"), 1)
