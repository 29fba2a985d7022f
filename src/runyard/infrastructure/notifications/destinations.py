"""Where webhooks may go. Owns the judgement of addresses: a webhook is a request that a user makes the server send.

Unless the operator allows it, no private, loopback, link-local or otherwise special address is reached, whatever name
leads there. The address that was judged is the one that is connected to, so that a name cannot change in between.
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from runyard.infrastructure.guardrails.wildcards import matches
from runyard.infrastructure.notifications.errors import DestinationRefused
from runyard.kernel.addresses import is_public

MAX_URL = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationOptions:
    """Which hosts webhooks may reach."""

    allowed_hosts: Sequence[str] = ()
    """Names or addresses, `*` allowed. When there are any, only these are reached, private or not."""
    allow_private: bool = False
    """Without a list of hosts: reach private addresses too."""


@dataclass(frozen=True, slots=True)
class Target:
    """A judged destination: `address` is connected to, `host` and `authority` are what it calls itself."""

    scheme: str
    host: str
    address: str
    port: int
    authority: str
    path: str

    @property
    def url(self) -> str:
        """Return the URL with the address in the place of the name."""
        shown = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme}://{shown}:{self.port}{self.path}"


def check(url: str, options: DestinationOptions) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL, without asking for its address. Raises DestinationRefused."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise DestinationRefused("Destination is not valid: expected a URL") from None
    if parts.scheme not in ("http", "https") or not host or len(url) > MAX_URL or not url.isascii():
        raise DestinationRefused("Destination is not valid: expected an http or https URL")
    if any(ord(one) <= 32 for one in url):
        raise DestinationRefused("Destination is not valid: a URL has no spaces")
    if parts.username is not None or parts.password is not None:
        raise DestinationRefused("Destination is not valid: a URL with a password is not kept")
    if options.allowed_hosts:
        if not any(matches(one.lower(), host) for one in options.allowed_hosts):
            raise DestinationRefused(f"Destination is not allowed: {host} is not one of the allowed hosts")
    else:
        _check_literal(host, options)
    return parts.scheme, host, port or (443 if parts.scheme == "https" else 80)


async def resolve(url: str, options: DestinationOptions) -> Target:
    """Return the address to connect to. Raises DestinationRefused, OSError when the name has none."""
    scheme, host, port = check(url, options)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not options.allowed_hosts and not options.allow_private:
        for address in addresses:
            if not is_public(address):
                raise DestinationRefused(f"Destination is not allowed: {host} leads to a private address")
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme, host, addresses[0], port, parts.netloc, path)


def _check_literal(host: str, options: DestinationOptions) -> None:
    if options.allow_private:
        return
    try:
        public = is_public(host)
    except ValueError:
        return
    if not public:
        raise DestinationRefused(f"Destination is not allowed: {host} is a private address")
