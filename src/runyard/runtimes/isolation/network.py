"""The way out for sandboxes with `Network.OPEN`. Owns the host halves of their links and one nftables table.

Each sandbox has a link of its own to the host with an own pair of addresses; the host translates addresses outward and
answers nothing itself: no service of the host, no other sandbox and no link-local address (where clouds keep
credentials) can be reached. IPv4 only. A link goes away with the sandbox's network namespace.
"""

import contextlib
import errno
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from runyard.kernel.errors import LimitExceeded, Unavailable
from runyard.runtimes.isolation.addresses import bridge_count, bridge_name, outward_half
from runyard.runtimes.isolation.engine import CannotEnforce, Capability
from runyard.runtimes.isolation.netlink import Netlink
from runyard.runtimes.isolation.options import IsolationOptions
from runyard.runtimes.isolation.workers import Workers

_FAMILY_PREFIX = "rny"
_TABLE_PREFIX = "runyard_"
_PAIR = 4
"""Addresses per sandbox: network, gateway, sandbox, broadcast."""
_INSIDE_NAME = "eth0"
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")
_ATTEMPTS = 32


@dataclass(frozen=True, slots=True)
class Attachment:
    """A sandbox's link."""

    interface: str
    """Name of the host's half."""
    address: IPv4Interface
    """Of the sandbox."""
    gateway: IPv4Address
    """Of the host's half."""


class Uplink:
    """Connects sandboxes to the outside."""

    def __init__(self, options: IsolationOptions, nameservers: Sequence[str] = ()) -> None:
        """Take the settings, and the resolvers that stay reachable whatever their range."""
        self._all = IPv4Network(options.network_cidr)
        self._network = outward_half(self._all)
        self._block_private = options.block_private
        self._nameservers = [str(IPv4Address(server)) for server in nameservers]
        self._instance = options.instance[:4]
        self._prefix = f"{_FAMILY_PREFIX}{self._instance}-"
        self._workers = Workers("network", 2)
        self._taken: set[int] = set()
        self._next = 0
        self._problem = "not started"
        self._switched_forwarding = False
        self._claim: socket.socket | None = None

    @property
    def prefix(self) -> str:
        """What the names of all links of this installation begin with."""
        return self._prefix

    @property
    def available(self) -> bool:
        """Whether sandboxes can be connected; valid after `start`."""
        return not self._problem

    async def start(self) -> None:
        """Switch forwarding on, write the table and remove links that a killed server left. What fails is told by
        `capability`, and `attach` then refuses.
        """
        try:
            await self._workers.run(self._open)
            self._problem = ""
        except (OSError, Unavailable) as error:
            self._problem = str(error)

    async def stop(self) -> None:
        """Remove the table. Forwarding stays on: others may have come to rely on it."""
        if self.available:
            self._problem = "stopped"
            await self._workers.run(load_rules, f"delete table inet {self._table}\n", check=False)
        if self._claim is not None:
            self._claim.close()
            self._claim = None
        self._workers.close()

    def capability(self) -> Capability:
        """Tell whether and how sandboxes get out."""
        if self.available:
            switched = "; switched on net.ipv4.ip_forward" if self._switched_forwarding else ""
            how = f"veth pairs in {self._network}, nftables table {self._table}{switched}"
            return Capability(name="network", enforced=True, how=how)
        fix = "run as root with CAP_NET_ADMIN and install nftables"
        return Capability(name="network", enforced=False, how=self._problem, fix=fix)

    async def attach(self, name: str, netns_pid: int, inside_netlink_fd: int) -> Attachment:
        """Connect the network namespace of a process, given a NETLINK_ROUTE socket that was opened inside it with
        CAP_NET_ADMIN. `name` is shown beside the link. Takes some milliseconds in a thread. Raises CannotEnforce,
        LimitExceeded (no address left), Unavailable.
        """
        if not self.available:
            raise CannotEnforce(f"This host cannot connect sandboxes to the network: {self._problem}.")
        return await self._workers.run(self._attach, name, netns_pid, inside_netlink_fd)

    async def detach(self, attachment: Attachment) -> None:
        """Cut a living sandbox off. Takes tens of milliseconds in a thread (the kernel waits for readers)."""
        await self._workers.run(self._detach, attachment)
        self.release(attachment)

    def release(self, attachment: Attachment) -> None:
        """Give the addresses back once the sandbox is dead; they come round again last."""
        offset = int(attachment.gateway) - int(self._network.network_address)
        self._taken.discard(offset // _PAIR)

    @property
    def _table(self) -> str:
        return f"{_TABLE_PREFIX}{self._instance}"

    def _open(self) -> None:
        if shutil.which("nft") is None:
            raise Unavailable("nftables is not installed")
        with Netlink() as host:
            names = dict(socket.if_nameindex())
            for name in names.values():
                if name.startswith(self._prefix):
                    host.delete_link(name)
            for index, address in host.addresses():
                name = names.get(index, "")
                if address.ip in self._all and not name.startswith(_FAMILY_PREFIX):
                    raise Unavailable(f"network_cidr {self._all} holds {address.ip} of {name}")
        self._claim = _claim(self._instance)
        self._remove_strangers()
        load_rules(self.rules())
        if _FORWARD.read_text().strip() != "1":
            _FORWARD.write_text("1")
            self._switched_forwarding = True

    def _remove_strangers(self) -> None:
        """Remove the tables of other installations whose server was killed: nobody holds their claim."""
        done = subprocess.run(["nft", "list", "tables", "inet"], capture_output=True, text=True, check=False)
        for name in re.findall(rf"table inet {_TABLE_PREFIX}([0-9a-f]+)\b", done.stdout):
            claim = _claim(name) if name != self._instance else None
            if claim is not None:
                load_rules(f"delete table inet {_TABLE_PREFIX}{name}\n", check=False)
                claim.close()

    def _attach(self, name: str, netns_pid: int, inside_fd: int) -> Attachment:
        with Netlink() as host, Netlink(inside_fd) as inside:
            for _ in range(_ATTEMPTS):
                pair = self._take()
                link = f"{self._prefix}{pair:x}"
                try:
                    host.add_veth(link, _INSIDE_NAME, netns_pid, name)
                except OSError as error:
                    self._taken.discard(pair)
                    if error.errno == errno.EEXIST:
                        continue  # the last owner's namespace is not quite dead
                    raise Unavailable(f"The sandbox cannot be connected: {error.strerror}.") from error
                try:
                    return self._configure(host, inside, link, pair)
                except OSError as error:
                    self._taken.discard(pair)
                    host.delete_link(link)
                    raise Unavailable(f"The sandbox cannot be connected: {error.strerror}.") from error
        raise LimitExceeded("No network addresses are free.")

    def _detach(self, attachment: Attachment) -> None:
        with Netlink() as host, contextlib.suppress(OSError):  # gone already with its namespace
            host.delete_link(attachment.interface)

    def _configure(self, host: Netlink, inside: Netlink, link: str, pair: int) -> Attachment:
        base = int(self._network.network_address) + pair * _PAIR
        gateway, address = IPv4Interface((base + 1, 30)), IPv4Interface((base + 2, 30))
        outer = socket.if_nametoindex(link)
        # Strict: a sandbox may not send under its neighbour's address.
        Path(f"/proc/sys/net/ipv4/conf/{link}/rp_filter").write_text("1")
        host.add_address(outer, gateway)
        host.bring_up(outer)
        inner = inside.link_index(_INSIDE_NAME)
        inside.add_address(inner, address)
        inside.bring_up(inner)
        inside.add_default_route(inner, gateway.ip)
        return Attachment(link, address, gateway.ip)

    def _take(self) -> int:
        count = self._network.num_addresses // _PAIR
        for step in range(count):
            pair = (self._next + step) % count
            if pair not in self._taken:
                self._taken.add(pair)
                self._next = pair + 1
                return pair
        raise LimitExceeded("No network addresses are free.")

    def rules(self) -> str:
        """Return the nftables script, which replaces a table of an earlier start."""
        ours = f'"{self._prefix}*"'
        resolvers = ", ".join(self._nameservers)
        allow_resolvers = ""
        if resolvers:
            allow_resolvers = (
                f"ip daddr {{ {resolvers} }} udp dport 53 accept\n"
                f"ip daddr {{ {resolvers} }} tcp dport 53 accept"
            )
        block_private = (
            f"ip daddr {{ {', '.join(_PRIVATE)} }} reject with icmpx admin-prohibited"
            if self._block_private
            else ""
        )
        bridges = [bridge_name(self._prefix, number) for number in range(bridge_count(self._all))]
        twins = ", ".join(f'"{name}" . "{name}"' for name in bridges)
        # Hosts with br_netfilter send what stays within one bridge through here too.
        bridged = "iifname . oifname @bridged accept" if twins else ""
        known = f"set bridged {{ type ifname . ifname; elements = {{ {twins} }} }}" if twins else ""
        # Before other tables' filters (priority 0): a refusal here is final, an accept is not.
        return f"""table inet {self._table}
delete table inet {self._table}
table inet {self._table} {{
  {known}
  chain input {{
    type filter hook input priority -10; policy accept;
    iifname != {ours} accept
    ct state established,related accept
    reject with icmpx admin-prohibited
  }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
    {bridged}
    iifname {ours} jump leaving
    oifname {ours} ct state established,related accept
    oifname {ours} drop
  }}
  chain leaving {{
    meta nfproto != ipv4 drop
    oifname "{_FAMILY_PREFIX}*" reject with icmpx admin-prohibited
    ip saddr != {self._network} drop
    ct status dnat reject with icmpx admin-prohibited comment "a published port of the host's containers"
    tcp flags syn tcp option maxseg size set rt mtu
    ct state established,related accept
    {allow_resolvers}
    ip daddr {{ 127.0.0.0/8, 169.254.0.0/16, 100.100.100.200, 224.0.0.0/4 }} reject with icmpx admin-prohibited
    {block_private}
    accept
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {self._network} oifname != "{_FAMILY_PREFIX}*" masquerade
  }}
}}
"""


def load_rules(script: str, *, check: bool = True) -> None:
    """Hand a script to nft. Raises Unavailable with what it answered, unless `check` is off."""
    command = ["nft", "-f", "-"]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    done = subprocess.run(command, input=script.encode(), capture_output=True, check=False, env=environment)
    if check and done.returncode != 0:
        raise Unavailable(f"nft refused: {done.stderr.decode(errors='replace').strip()[-300:]}")


def _claim(instance: str) -> socket.socket | None:
    """Take a name in this network namespace that the kernel gives free when the process dies; None when another
    process has it.
    """
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        holder.bind(f"\0runyard-uplink-{instance}")
    except OSError:
        holder.close()
        return None
    return holder
