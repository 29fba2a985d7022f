"""Private networks: a bridge for a handful of sandboxes that reach each other, and that only the server reaches besides.

Owns the bridges and the upper half of the sandboxes' addresses. Nothing is forwarded from or to a bridge: the table of
`network.py` drops what comes from these addresses. IPv4 only. A member's link goes with its network namespace.
"""

import contextlib
import errno
import secrets
import socket
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network

from runyard.kernel.errors import LimitExceeded, Unavailable
from runyard.runtimes.isolation.addresses import PRIVATE_PREFIX, bridge_count, bridge_name, private_half
from runyard.runtimes.isolation.engine import CannotEnforce
from runyard.runtimes.isolation.netlink import Netlink
from runyard.runtimes.isolation.sandbox import NamespaceSandbox
from runyard.runtimes.isolation.workers import Workers


class PrivateNetworks:
    """Makes and removes bridges."""

    def __init__(self, network: IPv4Network, prefix: str) -> None:
        """Take all addresses of sandboxes, and what the names of this installation's links begin with."""
        self._half = private_half(network)
        self._count = bridge_count(network)
        self._prefix = prefix
        self._workers = Workers("private", 2)
        self._taken: set[int] = set()
        # Not from the beginning: two installations that start at once would choose the same.
        self._next = secrets.randbelow(self._count) if self._count else 0

    async def make(self, name: str) -> "Bridge":
        """Make a network; `name` is shown beside the bridge. Raises CannotEnforce, LimitExceeded, Unavailable."""
        if self._half is None:
            raise CannotEnforce("This host has too few addresses for private networks: widen network_cidr.")
        return await self._workers.run(self._make, name)

    def close(self) -> None:
        """Wait for what is under way and remove the bridges that are left: those of environments that come back at the
        next start, which makes new ones. After a kill that start removes them.
        """
        self._workers.close()
        if not self._taken:
            return
        with Netlink() as host:
            for number in self._taken:
                with contextlib.suppress(OSError):
                    host.delete_link(bridge_name(self._prefix, number))
        self._taken.clear()

    async def connect(self, bridge: "Bridge", sandbox: NamespaceSandbox) -> str:
        """Give a sandbox a link into a network and return its address."""
        init_pid, route_fd = sandbox.network_handles()
        return await self._workers.run(self._connect, bridge, init_pid, route_fd)

    async def remove(self, bridge: "Bridge") -> None:
        """Remove a bridge. Links of members that still live lose their other end."""
        await self._workers.run(self._remove, bridge)

    def _make(self, name: str) -> "Bridge":
        with Netlink() as host:
            # Another installation on this host may have the same addresses in its settings.
            used = [address.ip for _, address in host.addresses()]
        for number, subnet in self._free():
            if any(address in subnet for address in used):
                self._taken.discard(number)
                continue
            link = bridge_name(self._prefix, number)
            with Netlink() as host:
                try:
                    host.add_bridge(link, name)
                except OSError as error:
                    self._taken.discard(number)
                    if error.errno == errno.EEXIST:
                        continue
                    raise Unavailable(f"A private network cannot be made: {error.strerror}.") from error
                try:
                    index = socket.if_nametoindex(link)
                    host.add_address(index, IPv4Interface((int(subnet.network_address) + 1, PRIVATE_PREFIX)))
                    host.bring_up(index)
                except OSError as error:
                    with contextlib.suppress(OSError):
                        host.delete_link(link)
                    self._taken.discard(number)
                    raise Unavailable(f"A private network cannot be made: {error.strerror}.") from error
            return Bridge(self, number, link, index, subnet)
        raise LimitExceeded("No private network is free.")

    def _free(self) -> Iterator[tuple[int, IPv4Network]]:
        assert self._half is not None
        for step in range(self._count):
            number = (self._next + step) % self._count
            if number not in self._taken:
                self._taken.add(number)
                self._next = number + 1
                size = 1 << (32 - PRIVATE_PREFIX)
                yield (
                    number,
                    IPv4Network((int(self._half.network_address) + number * size, PRIVATE_PREFIX)),
                )

    def _connect(self, bridge: "Bridge", init_pid: int, route_fd: int) -> str:
        place = bridge.take()
        # A sandbox may be in several networks.
        link, inside_name = f"{bridge.link}.{place:x}", f"net{bridge.number:x}"
        with Netlink() as host, Netlink(route_fd) as inside:
            try:
                host.add_veth(link, inside_name, init_pid, bridge.link)
                outer = socket.if_nametoindex(link)
                host.set_master(outer, bridge.index)
                host.bring_up(outer)
                address = IPv4Interface((int(bridge.subnet.network_address) + place, PRIVATE_PREFIX))
                inner = inside.link_index(inside_name)
                inside.add_address(inner, address)
                inside.bring_up(inner)
            except OSError as error:
                raise Unavailable(
                    f"A sandbox cannot join its private network: {error.strerror or error}."
                ) from error
        return str(address.ip)

    def _remove(self, bridge: "Bridge") -> None:
        with Netlink() as host, contextlib.suppress(OSError):
            host.delete_link(bridge.link)
        self._taken.discard(bridge.number)


class Bridge:
    """One private network."""

    def __init__(
        self, networks: PrivateNetworks, number: int, link: str, index: int, subnet: IPv4Network
    ) -> None:
        """Made by `PrivateNetworks.make`."""
        self._networks = networks
        self.number = number
        self.link = link
        self.index = index
        self.subnet = subnet
        self._last = 1

    def take(self) -> int:
        """Return the place of the next member. Raises LimitExceeded."""
        if self._last + 1 >= self.subnet.num_addresses - 1:
            raise LimitExceeded(f"A private network takes at most {self.subnet.num_addresses - 3} members.")
        self._last += 1
        return self._last

    async def join(self, sandbox: object) -> str:
        """Connect a living sandbox of the same engine and return its address, which holds as long as both live.
        Raises LimitExceeded, Unavailable.
        """
        assert isinstance(sandbox, NamespaceSandbox)
        return await self._networks.connect(self, sandbox)

    async def close(self) -> None:
        """Remove it; idempotent."""
        await self._networks.remove(self)
