"""The way out of an environment whose task lists where it may connect to. Owns the list's meaning and a small HTTP proxy.

The sandboxes have no network but their own; the proxy listens inside them, and the server connects for them, to listed
targets only. What does not speak to a proxy does not get out. A name counts as listed, but the address behind it must be
a public one or be listed itself: a name must not lead to services of the host or of its network.
"""

import asyncio
import ipaddress
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from runyard.environments.listening import Listener, carry
from runyard.kernel.addresses import gives_credentials

_SECONDS: Final = 20.0
_MOST: Final = 256
"""Connections of one environment at once; more are closed."""
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a list of targets allows: `name.example`, `*.example`, addresses, networks, `tcp://host:port`."""

    names: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    networks: tuple[_Network, ...] = ()
    places: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def of(cls, targets: Sequence[str]) -> "Allowed":
        """Read a list that was checked when its task was pushed."""
        names, suffixes, networks, places = set[str](), list[str](), list[_Network](), set[tuple[str, int]]()
        for target in targets:
            text = target.lower()
            if text.startswith("tcp://"):
                parts = urlsplit(text)
                places.add((parts.hostname or "", parts.port or 0))
            elif text.startswith("*."):
                suffixes.append(text[1:])
            else:
                try:
                    networks.append(ipaddress.ip_network(text))
                except ValueError:
                    names.add(text)
        return cls(frozenset(names), tuple(suffixes), tuple(networks), frozenset(places))

    def name(self, host: str, port: int) -> bool:
        """Tell whether a host is listed by its name."""
        host = host.lower().rstrip(".")
        return host in self.names or host.endswith(self.suffixes) or (host, port) in self.places

    def address(self, address: _Address, port: int) -> bool:
        """Tell whether an address is listed itself."""
        if (str(address), port) in self.places:
            return True
        return any(address in network for network in self.networks if network.version == address.version)


async def _looked_up(host: str, port: int) -> list[_Address]:
    """Return the addresses behind a name, none when there are none or it can be no name."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # a label that is too long is a ValueError
        return []
    return [ipaddress.ip_address(place[0]) for *_, place in found if "%" not in str(place[0])]


@dataclass(slots=True)
class Gateway:
    """The proxy of one environment."""

    allowed: Allowed
    closed: Sequence[_Network] = ()
    """Addresses that nobody can list: those of the sandboxes of this installation."""
    refused: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    """The last places that were not let through."""
    resolve: Callable[[str, int], Awaitable[list[_Address]]] = _looked_up
    _listener: Listener = field(init=False)

    def __post_init__(self) -> None:
        """Make what listens."""
        self._listener = Listener(self._serve, _MOST)

    async def listen(self, bound: socket.socket) -> None:
        """Listen on a socket inside a sandbox, which belongs to the gateway from now on."""
        await self._listener.listen(bound)

    async def close(self) -> None:
        """Stop listening and cut all connections."""
        await self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                far = await self._connect(head, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            far = None
        if far is None:
            writer.close()
            return
        await carry((reader, writer), far)

    async def _connect(
        self, head: bytes, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect to what a request names, and begin it; None after a refusal was sent."""
        line, _, rest = head.partition(b"\r\n")
        words = line.decode("latin-1").split(" ")
        place = _place(words)
        if place is None:
            writer.write(_answer(400, "this is a proxy: CONNECT host:port, or GET http://host/"))
            return None
        host, port = place
        address = await self._resolved(host, port)
        if address is None:
            self.refused.append(f"{host}:{port}")
            writer.write(
                _answer(403, f"{host}:{port} is not among the places to which this task may connect")
            )
            return None
        try:
            far = await asyncio.open_connection(str(address), port)
        except OSError as error:
            writer.write(_answer(502, f"{host}:{port}: {error.strerror or error}"))
            return None
        if words[0] == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            far[1].write(_forwarded(words, rest))
        return far

    async def _resolved(self, host: str, port: int) -> _Address | None:
        """Return the address to connect to, None when the place is not allowed."""
        listed = self.allowed.name(host, port)
        try:
            found = [ipaddress.ip_address(host)]
        except ValueError:
            # Only listed names are looked up: a question to a resolver alone carries data out, in the name itself.
            found = await self.resolve(host, port) if listed else []
        for address in found:
            plain = address.ipv4_mapped or address if address.version == 6 else address
            fits = self.allowed.address(plain, port) or (listed and plain.is_global)
            if fits and not self._never(plain):
                return plain
        return None

    def _never(self, address: _Address) -> bool:
        """Tell whether an address is out of every task's reach: the host itself, its links, other sandboxes."""
        if address.is_loopback or address.is_multicast or address.is_unspecified:
            return True
        if gives_credentials(str(address)):
            return True
        if any(address in network for network in self.closed if network.version == address.version):
            return True
        return _is_own(address)


def _is_own(address: _Address) -> bool:
    """Tell whether an address is one of this host's: only to such a one can a socket be bound."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


def _place(words: Sequence[str]) -> tuple[str, int] | None:
    """Return host and port of a request line; None when it is none for a proxy."""
    if len(words) != 3:
        return None
    try:
        parts = urlsplit(f"//{words[1]}" if words[0] == "CONNECT" else words[1])
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or (words[0] != "CONNECT" and parts.scheme != "http"):
        return None
    return parts.hostname, port or (443 if words[0] == "CONNECT" else 80)


def _forwarded(words: Sequence[str], rest: bytes) -> bytes:
    """Return the head of a request as its server expects it; one request for each connection."""
    parts = urlsplit(words[1])
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        line
        for line in rest.split(b"\r\n")
        if line
        and line.partition(b":")[0].strip().lower()
        not in (b"connection", b"proxy-connection", b"proxy-authorization")
    ]
    first = f"{words[0]} {path} HTTP/1.1".encode("latin-1")
    return b"\r\n".join([first, *lines, b"Connection: close", b"", b""])


def _answer(status: int, text: str) -> bytes:
    body = f"{text}\n".encode()
    head = f"HTTP/1.1 {status} Refused\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def proxy_variables(port: int, names: Sequence[str]) -> dict[str, str]:
    """Return the variables by which programs find the proxy; services are reached without it."""
    url, own = f"http://127.0.0.1:{port}", ",".join(("localhost", "127.0.0.1", *names))
    found = {"HTTP_PROXY": url, "HTTPS_PROXY": url, "NO_PROXY": own}
    return found | {name.lower(): value for name, value in found.items()}
