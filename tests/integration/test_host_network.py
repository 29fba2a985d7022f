"""The way out, for real, in network namespaces of its own: one stands for the host, one for the outside, two are
sandboxes. Nothing of the real network is touched.
"""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TypeVar

import pytest

from runyard.runtimes.isolation import syscalls
from runyard.runtimes.isolation.netlink import Netlink
from runyard.runtimes.isolation.network import Attachment, Uplink
from runyard.runtimes.isolation.options import IsolationOptions
from runyard.runtimes.isolation.workers import Workers

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("nft") is None, reason="needs nftables"),
]
T = TypeVar("T")
HOST = "203.0.113.1"
OUTSIDE = "203.0.113.2"
PRIVATE = "192.168.77.2"
METADATA = "169.254.169.254"


class Namespace:
    """A network namespace kept alive by a sleeping process."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 300"], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self.pid = self._holder.pid
        self.run(self._loopback)

    @staticmethod
    def _loopback() -> None:
        with Netlink() as own:
            own.bring_up(1)

    def run(self, function: Callable[[], T]) -> T:
        """Call a function in a thread that stands in this namespace."""
        results: list[T] = []
        errors: list[BaseException] = []

        def work() -> None:
            fd = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
            try:
                syscalls.setns(fd, syscalls.CLONE_NEWNET)
                results.append(function())
            except BaseException as error:  # noqa: BLE001  # raised again below
                errors.append(error)
            finally:
                os.close(fd)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def netlink_fd(self) -> int:
        return self.run(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).detach())

    def listen(self, address: str, port: int) -> socket.socket:
        return self.run(lambda: socket.create_server((address, port)))

    def connect(self, address: str, port: int) -> str:
        """Return `ok`, or what went wrong."""

        def attempt() -> str:
            try:
                with socket.create_connection((address, port), timeout=2):
                    return "ok"
            except OSError as error:
                return type(error).__name__ if error.errno is None else os.strerror(error.errno)

        return self.run(attempt)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


class Inside(Workers):
    """Threads that stand in a namespace, for an Uplink that must believe it is the host there."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__("test-network", 1)
        self._namespace = namespace

    async def run(self, function: Callable[..., T], /, *args: object, **kwargs: object) -> T:
        def work() -> T:
            # /proc/sys/net shows the namespace of the reading thread, so nothing else is needed.
            return self._namespace.run(lambda: function(*args, **kwargs))

        return await super().run(work)


class Town:
    """The host, the outside and what it takes to reach one from the other."""

    def __init__(self, folder: Path) -> None:
        self.host, self.outside = Namespace(), Namespace()
        self.folder = folder
        self._sandboxes: list[Namespace] = []
        self._servers: list[socket.socket] = []
        fd = self.outside.netlink_fd()
        self.host.run(self._lay_cable)
        with Netlink(fd) as far:
            index = far.link_index("eth0")
            for address in (f"{OUTSIDE}/24", f"{PRIVATE}/24", f"{METADATA}/32"):
                far.add_address(index, IPv4Interface(address))
            far.bring_up(index)
        os.close(fd)

    def _lay_cable(self) -> None:
        with Netlink() as near:
            near.add_veth("cable", "eth0", self.outside.pid)
            index = socket.if_nametoindex("cable")
            near.add_address(index, IPv4Interface(f"{HOST}/24"))
            near.add_address(index, IPv4Interface("192.168.77.1/24"))
            near.add_address(index, IPv4Interface("169.254.169.1/24"))
            near.bring_up(index)

    def uplink(self, **settings: object) -> Uplink:
        one = Uplink(IsolationOptions(data_dir=self.folder, **settings))  # type: ignore[arg-type]
        one._workers = Inside(self.host)
        return one

    async def sandbox(self, uplink: Uplink) -> tuple[Namespace, Attachment]:
        one = Namespace()
        self._sandboxes.append(one)
        fd = one.netlink_fd()
        try:
            return one, await uplink.attach("box", one.pid, fd)
        finally:
            os.close(fd)

    def serve(self, where: Namespace, port: int, address: str = "0.0.0.0") -> None:
        self._servers.append(where.listen(address, port))

    def route_to_sandboxes(self) -> None:
        enter = ["nsenter", f"--net=/proc/{self.outside.pid}/ns/net"]
        subprocess.run([*enter, "ip", "route", "add", "10.83.0.0/16", "via", HOST], check=True)

    def links(self) -> list[str]:
        return self.host.run(lambda: [name for _, name in socket.if_nameindex()])

    def tables(self) -> str:
        list_all = ["nft", "list", "tables"]
        return self.host.run(
            lambda: subprocess.run(list_all, capture_output=True, text=True, check=True).stdout
        )

    def close(self) -> None:
        for server in self._servers:
            server.close()
        for namespace in (*self._sandboxes, self.host, self.outside):
            namespace.close()


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    yield town
    town.close()


async def test_sandbox_reaches_the_outside_under_the_address_of_the_host(town: Town) -> None:
    uplink = town.uplink()
    await uplink.start()
    assert uplink.capability().enforced, uplink.capability()
    box, attachment = await town.sandbox(uplink)
    server = town.outside.listen(OUTSIDE, 8000)
    assert box.connect(OUTSIDE, 8000) == "ok"
    accepted, peer = server.accept()
    accepted.close()
    server.close()
    assert peer[0] == HOST
    assert attachment.address.ip == attachment.gateway + 1
    await uplink.stop()


async def test_sandbox_reaches_no_service_of_the_host_by_any_address(town: Town) -> None:
    uplink = town.uplink()
    await uplink.start()
    box, first = await town.sandbox(uplink)
    _, second = await town.sandbox(uplink)
    town.serve(town.host, 8001)
    assert town.outside.connect(HOST, 8001) == "ok"
    for address in (HOST, "192.168.77.1", str(first.gateway), str(second.gateway)):
        assert box.connect(address, 8001) != "ok", address
    await uplink.stop()


async def test_sandboxes_do_not_reach_each_other(town: Town) -> None:
    uplink = town.uplink()
    await uplink.start()
    box, _ = await town.sandbox(uplink)
    other, attachment = await town.sandbox(uplink)
    town.serve(other, 8002)
    assert box.connect(str(attachment.address.ip), 8002) != "ok"
    assert town.host.connect(str(attachment.address.ip), 8002) == "ok"
    await uplink.stop()


async def test_outside_cannot_open_connections_to_a_sandbox(town: Town) -> None:
    uplink = town.uplink()
    await uplink.start()
    box, attachment = await town.sandbox(uplink)
    town.serve(box, 8003)
    town.route_to_sandboxes()
    assert town.outside.connect(str(attachment.address.ip), 8003) != "ok"
    await uplink.stop()


async def test_link_local_addresses_are_closed_and_private_ones_on_demand(town: Town) -> None:
    town.serve(town.outside, 8004)
    for block, private in ((False, "ok"), (True, "No route to host")):
        uplink = town.uplink(block_private=block)
        await uplink.start()
        box, _ = await town.sandbox(uplink)
        assert box.connect(METADATA, 8004) != "ok"
        assert box.connect(PRIVATE, 8004) == private
        assert box.connect(OUTSIDE, 8004) == "ok"
        await uplink.stop()
    assert "runyard" not in town.tables()


async def test_sandbox_cannot_send_under_another_address(town: Town) -> None:
    uplink = town.uplink()
    await uplink.start()
    box, _ = await town.sandbox(uplink)
    _, other = await town.sandbox(uplink)
    server = town.outside.listen(OUTSIDE, 8005)

    def forge() -> str:
        with Netlink() as own:
            own.add_address(own.link_index("eth0"), IPv4Interface(f"{other.address.ip}/32"))
        with socket.socket() as client:
            client.settimeout(0.5)
            client.bind((str(other.address.ip), 0))
            try:
                client.connect((OUTSIDE, 8005))
            except TimeoutError:
                return "lost"
            return "ok"

    assert box.run(forge) == "lost"
    server.close()
    await uplink.stop()


async def test_links_vanish_with_the_namespace_and_addresses_come_round(town: Town) -> None:
    uplink = town.uplink(network_cidr="10.83.0.0/29")
    await uplink.start()
    first, one = await town.sandbox(uplink)
    await town.sandbox(uplink)
    first.close()
    deadline = time.monotonic() + 10
    while one.interface in town.links() and time.monotonic() < deadline:
        time.sleep(0.01)  # noqa: ASYNC251  # nothing else runs here
    assert one.interface not in town.links()
    uplink.release(one)
    _, again = await town.sandbox(uplink)
    assert again.address == one.address
    await uplink.stop()


async def test_restart_after_a_kill_replaces_table_and_leftover_links(town: Town) -> None:
    killed = town.uplink()
    await killed.start()
    assert killed._claim is not None
    killed._claim.close()
    _, left = await town.sandbox(killed)
    assert left.interface in town.links()
    again = town.uplink()
    await again.start()
    assert left.interface not in town.links()
    assert town.tables().count("runyard_") == 1
    box, attachment = await town.sandbox(again)
    town.serve(town.outside, 8006)
    assert attachment.interface == left.interface
    assert box.connect(OUTSIDE, 8006) == "ok"
    await again.stop()


async def test_start_removes_tables_of_killed_servers_only(town: Town, tmp_path: Path) -> None:
    killed, living = town.uplink(), town.uplink()
    living._instance = "0abc"
    killed._instance = "0def"
    for one in (killed, living):
        await one.start()
    assert killed._claim is not None
    killed._claim.close()  # what the kernel does when a server dies
    uplink = town.uplink()
    await uplink.start()
    tables = town.tables()
    assert "runyard_0abc" in tables
    assert "runyard_0def" not in tables
    for one in (living, uplink):
        await one.stop()
    assert "runyard" not in town.tables()


async def test_range_that_the_host_uses_itself_is_refused(town: Town) -> None:
    uplink = town.uplink(network_cidr="203.0.113.0/24")
    await uplink.start()
    assert not uplink.available
    assert HOST in uplink.capability().how
    assert "runyard" not in town.tables()
