"""Route netlink, as far as sandboxes need it: links, addresses, routes. Owns the binary shapes (linux/rtnetlink.h).

A link here is a veth pair or a bridge. Every call blocks for the kernel's answer, mostly well below a millisecond, some for
making a link; callers run them in threads. Raises OSError with what the kernel answered.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from typing import Self

_NLMSG = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")
_ATTR = struct.Struct("=HH")

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _ACK, _DUMP, _EXCL, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _GETADDR, _NEWROUTE = 20, 22, 24
_IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_PID, _IFLA_IFALIAS, _IFLA_AF_SPEC = (
    3,
    10,
    18,
    19,
    20,
    26,
)
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_INET6_ADDR_GEN_MODE, _ADDR_GEN_NONE = 8, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_OIF, _RTA_GATEWAY = 4, 5
_IFF_UP = 1
_NESTED = 0x8000
_TABLE_MAIN, _PROTO_STATIC, _SCOPE_UNIVERSE, _TYPE_UNICAST = 254, 4, 0, 1
_TIMEOUT_SECONDS = 10.0
_BUFFER = 1 << 16


class Netlink:
    """A conversation with the network stack of one namespace: the caller's own, or that in which `fd` was opened."""

    def __init__(self, fd: int | None = None) -> None:
        """Open a socket, or use a copy of an open NETLINK_ROUTE one."""
        if fd is None:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        else:
            self._socket = socket.socket(fileno=os.dup(fd))
        self._socket.settimeout(_TIMEOUT_SECONDS)
        self._sequence = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the socket."""
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def add_veth(self, name: str, peer: str, peer_pid: int, alias: str = "") -> None:
        """Make a pair of links: `name` here, `peer` in the network namespace of a process; both down."""
        peer_info = (
            _ifinfo() + _text(_IFLA_IFNAME, peer) + _attr(_IFLA_NET_NS_PID, struct.pack("=I", peer_pid))
        )
        data = _attr(_INFO_DATA | _NESTED, _attr(_VETH_PEER | _NESTED, peer_info))
        info = _attr(_IFLA_LINKINFO | _NESTED, _text(_INFO_KIND, "veth") + data)
        payload = _ifinfo() + _text(_IFLA_IFNAME, name) + info
        if alias:
            payload += _text(_IFLA_IFALIAS, alias)
        self._request(_NEWLINK, _CREATE | _EXCL, payload)

    def add_bridge(self, name: str, alias: str = "") -> None:
        """Make a bridge, down and without ports."""
        payload = _ifinfo() + _text(_IFLA_IFNAME, name)
        payload += _attr(_IFLA_LINKINFO | _NESTED, _text(_INFO_KIND, "bridge"))
        if alias:
            payload += _text(_IFLA_IFALIAS, alias)
        self._request(_NEWLINK, _CREATE | _EXCL, payload)

    def set_master(self, index: int, master: int) -> None:
        """Make a link a port of a bridge."""
        payload = _ifinfo(index) + _attr(_IFLA_MASTER, struct.pack("=I", master))
        self._request(_NEWLINK, 0, payload)

    def link_index(self, name: str) -> int:
        """Return the index of a link."""
        for _, body in self._request(_GETLINK, 0, _ifinfo() + _text(_IFLA_IFNAME, name)):
            return int(_IFINFO.unpack_from(body)[2])
        raise OSError(errno.ENODEV, f"no link {name}")

    def bring_up(self, index: int) -> None:
        """Switch a link on, without the IPv6 address that the kernel gives it otherwise."""
        mode = _attr(_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_NONE]))
        spec = _attr(_IFLA_AF_SPEC | _NESTED, _attr(socket.AF_INET6 | _NESTED, mode))
        try:
            self._request(_NEWLINK, 0, _ifinfo(index, up=True) + spec)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            self._request(_NEWLINK, 0, _ifinfo(index, up=True))  # a kernel without IPv6

    def delete_link(self, name: str) -> None:
        """Remove a link and its peer (some 20 ms); nothing when it is gone."""
        try:
            self._request(_DELLINK, 0, _ifinfo() + _text(_IFLA_IFNAME, name))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def add_address(self, index: int, address: IPv4Interface) -> None:
        """Give a link an address."""
        payload = _IFADDR.pack(socket.AF_INET, address.network.prefixlen, 0, 0, index)
        payload += _attr(_IFA_LOCAL, address.ip.packed) + _attr(_IFA_ADDRESS, address.ip.packed)
        self._request(_NEWADDR, _CREATE | _EXCL, payload)

    def add_default_route(self, index: int, gateway: IPv4Address) -> None:
        """Send everything that is not local to `gateway`."""
        payload = _RTMSG.pack(
            socket.AF_INET, 0, 0, 0, _TABLE_MAIN, _PROTO_STATIC, _SCOPE_UNIVERSE, _TYPE_UNICAST, 0
        )
        payload += _attr(_RTA_GATEWAY, gateway.packed) + _attr(_RTA_OIF, struct.pack("=I", index))
        self._request(_NEWROUTE, _CREATE | _EXCL, payload)

    def addresses(self) -> list[tuple[int, IPv4Interface]]:
        """Return all IPv4 addresses with the index of their link."""
        found = []
        payload = _IFADDR.pack(socket.AF_INET, 0, 0, 0, 0)
        for kind, body in self._request(_GETADDR, _DUMP, payload):
            if kind != _NEWADDR:
                continue
            _, prefix, _, _, index = _IFADDR.unpack_from(body)
            for attribute, value in _attributes(body[_IFADDR.size :]):
                if attribute == _IFA_LOCAL and len(value) == 4:
                    found.append((index, IPv4Interface((value, prefix))))
        return found

    def _request(self, kind: int, flags: int, payload: bytes) -> list[tuple[int, bytes]]:
        self._sequence += 1
        ack = 0 if flags & _DUMP == _DUMP else _ACK
        header = _NLMSG.pack(
            _NLMSG.size + len(payload), kind, flags | _REQUEST | ack, self._sequence, 0
        )  # fmt: skip
        self._socket.send(header + payload)
        answers: list[tuple[int, bytes]] = []
        while True:
            for answer_kind, sequence, body in _messages(self._socket.recv(_BUFFER)):
                if sequence != self._sequence:
                    continue  # the late answer to a request that timed out
                if answer_kind == _NLMSG_DONE:
                    return answers
                if answer_kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return answers
                answers.append((answer_kind, body))


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    while len(data) >= _NLMSG.size:
        length, kind, _, sequence, _ = _NLMSG.unpack_from(data)
        if length < _NLMSG.size:
            return
        yield kind, sequence, data[_NLMSG.size : length]
        data = data[_aligned(length) :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTR.size:
        length, kind = _ATTR.unpack_from(data)
        if length < _ATTR.size:
            return
        yield kind & ~_NESTED, data[_ATTR.size : length]
        data = data[_aligned(length) :]


def _ifinfo(index: int = 0, *, up: bool = False) -> bytes:
    flags = _IFF_UP if up else 0
    return _IFINFO.pack(socket.AF_UNSPEC, 0, index, flags, flags)


def _attr(kind: int, value: bytes) -> bytes:
    length = _ATTR.size + len(value)
    return _ATTR.pack(length, kind) + value + bytes(_aligned(length) - length)


def _text(kind: int, value: str) -> bytes:
    return _attr(kind, value.encode() + b"\0")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
