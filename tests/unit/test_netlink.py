"""Netlink messages: what is sent and how answers are read, against a socket that stands for the kernel."""

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface

import pytest

from runyard.runtimes.isolation.netlink import Netlink

HEADER = struct.Struct("=IHHII")


class Kernel:
    """Answers every request with what `reply` returns for it."""

    def __init__(self, reply: Callable[[int, int, bytes], bytes]) -> None:
        self._near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.client = Netlink(far.fileno())
        far.close()
        self.requests: list[tuple[int, int, bytes]] = []
        self._reply = reply
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while data := self._near.recv(1 << 16):
            length, kind, flags, sequence, _ = HEADER.unpack_from(data)
            assert length == len(data)
            self.requests.append((kind, flags, data[HEADER.size :]))
            self._near.send(self._reply(kind, sequence, data[HEADER.size :]))

    def close(self) -> None:
        self.client.close()
        self._thread.join()
        self._near.close()


def message(kind: int, sequence: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, 0, sequence, 0) + body


def ack(_: int, sequence: int, __: bytes) -> bytes:
    return message(2, sequence, struct.pack("=i", 0) + bytes(16))


def test_veth_request_names_both_ends_and_the_namespace() -> None:
    kernel = Kernel(ack)
    kernel.client.add_veth("host0", "eth0", 4242, "box")
    kernel.close()
    kind, flags, body = kernel.requests[0]
    assert kind == 16
    assert flags == 0x1 | 0x4 | 0x200 | 0x400
    for part in (b"host0\0", b"eth0\0", b"veth\0", b"box\0", struct.pack("=HHI", 8, 19, 4242)):
        assert part in body
    assert len(body) % 4 == 0


def test_address_and_route_carry_packed_addresses() -> None:
    kernel = Kernel(ack)
    kernel.client.add_address(7, IPv4Interface("192.0.2.2/30"))
    kernel.client.add_default_route(7, IPv4Address("192.0.2.1"))
    kernel.close()
    (_, _, address), (_, _, route) = kernel.requests
    assert address[:8] == struct.pack("=BBBBI", socket.AF_INET, 30, 0, 0, 7)
    assert address.count(bytes([192, 0, 2, 2])) == 2
    assert bytes([192, 0, 2, 1]) in route


def test_refusal_becomes_an_error_with_its_number() -> None:
    kernel = Kernel(
        lambda _, sequence, __: message(2, sequence, struct.pack("=i", -errno.EEXIST) + bytes(16))
    )
    with pytest.raises(FileExistsError) as caught:
        kernel.client.add_veth("host0", "eth0", 1)
    kernel.close()
    assert caught.value.errno == errno.EEXIST


def test_deleting_a_link_that_is_gone_is_no_error() -> None:
    kernel = Kernel(
        lambda _, sequence, __: message(2, sequence, struct.pack("=i", -errno.ENODEV) + bytes(16))
    )
    kernel.client.delete_link("host0")
    kernel.close()


def test_late_answers_to_earlier_requests_are_skipped() -> None:
    kernel = Kernel(
        lambda kind, sequence, body: message(2, sequence - 1, bytes(20)) + ack(kind, sequence, body)
    )
    kernel.client.add_address(1, IPv4Interface("192.0.2.2/30"))
    kernel.close()


def test_addresses_are_read_from_a_dump() -> None:
    attribute = struct.pack("=HH", 8, 2) + bytes([192, 0, 2, 9])
    label = struct.pack("=HH", 7, 3) + b"lo\0" + b"\0"
    entry = struct.pack("=BBBBI", socket.AF_INET, 24, 0, 0, 3) + label + attribute
    done = struct.pack("=i", 0)
    kernel = Kernel(lambda _, sequence, __: message(20, sequence, entry) + message(3, sequence, done))
    assert kernel.client.addresses() == [(3, IPv4Interface("192.0.2.9/24"))]
    kernel.close()


def test_own_namespace_answers_for_real() -> None:
    with Netlink() as own:
        assert own.link_index("lo") == 1
        with pytest.raises(OSError, match=os.strerror(errno.ENODEV)):
            own.link_index("rny-none")
