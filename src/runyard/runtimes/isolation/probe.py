"""Probes of what this host can enforce. Owns trying each thing for real, in namespaces of its own, within a time bound.

Leaves nothing behind: mounts and links are made in namespaces that die with the probing thread, files in a temporary
folder. `doctor` shows the answers; the engine itself decides by what happens at its start.
"""

import asyncio
import contextlib
import errno
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runyard.kernel.errors import RunyardError
from runyard.runtimes.isolation import btrfs, cgroups, hostns, network, program, syscalls
from runyard.runtimes.isolation.engine import Capability
from runyard.runtimes.isolation.netlink import Netlink
from runyard.runtimes.isolation.options import IsolationOptions
from runyard.runtimes.isolation.pool import BtrfsPool, PoolUnavailable

_SECONDS = 15.0
_SECCOMP_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing to try."""

    name: str
    run: Callable[[IsolationOptions], str]
    """Return what enforces it; raise when it does not work. Blocks."""
    fix: str
    namespaces: int = 0
    """Namespaces that the probing thread gets for itself."""


async def probe(options: IsolationOptions) -> list[Capability]:
    """Try everything, one after the other, and return the answers; each takes at most 15 seconds, all together
    normally well below one (compiling the agent for the first time: one more).
    """
    found = [await _answer(one, options) for one in PROBES]
    try:
        found += cgroups.detect(options.instance).capabilities()
    except OSError as error:
        fix = "mount /sys/fs/cgroup"
        found.append(Capability(name="control groups", enforced=False, how=str(error), fix=fix))
    return found


async def _answer(one: Probe, options: IsolationOptions) -> Capability:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def settle(result: str | None, error: Exception | None) -> None:
        if answer.done():
            return  # too late: the bound has passed
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result or "")

    def work() -> None:
        result, failure = None, None
        try:
            _leave(one.namespaces)
            result = one.run(options)
        except Exception as error:  # noqa: BLE001  # whatever goes wrong is the probe's answer
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, failure)

    # A thread for each: the namespaces that it enters end with it.
    threading.Thread(target=work, name=f"runyard-probe-{one.name}", daemon=True).start()
    try:
        how = await asyncio.wait_for(answer, _SECONDS)
    except TimeoutError:
        return Capability(name=one.name, enforced=False, how="the host did not answer in time", fix=one.fix)
    except (OSError, RunyardError, PoolUnavailable, ValueError) as error:
        return Capability(name=one.name, enforced=False, how=str(error), fix=one.fix)
    return Capability(name=one.name, enforced=True, how=how)


def _leave(namespaces: int) -> None:
    if not namespaces:
        return
    syscalls.unshare(namespaces)
    if namespaces & syscalls.CLONE_NEWNS:
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)


def _try_root(_: IsolationOptions) -> str:
    if os.geteuid() != 0:
        raise PermissionError("not running as root")
    return "running as root"


def _try_user_namespaces(options: IsolationOptions) -> str:
    os.close(hostns.open_id_map(options.uid_base))
    return f"root inside is user {options.uid_base} outside"


def _try_overlay(options: IsolationOptions) -> str:
    with _folder(options) as name:
        folder = Path(name)
        for part in ("lower", "shown", "upper", "work", "merged"):
            (folder / part).mkdir()
        (folder / "lower/file").touch()
        userns = hostns.open_id_map(options.uid_base)
        try:
            hostns.bind_id_mapped(folder / "lower", folder / "shown", userns)
        finally:
            os.close(userns)
        try:
            data = f"lowerdir={folder}/shown,upperdir={folder}/upper,workdir={folder}/work"
            syscalls.mount("overlay", folder / "merged", "overlay", 0, data)
            try:
                if (folder / "merged/file").stat().st_uid != options.uid_base:
                    raise OSError("overlay does not show mapped ids")
            finally:
                syscalls.umount(folder / "merged", syscalls.MNT_DETACH)
        finally:
            syscalls.umount(folder / "shown", syscalls.MNT_DETACH)
    return "overlay over id-mapped mounts"


def _try_disk_limit(options: IsolationOptions) -> str:
    with _folder(options) as name:
        pool = BtrfsPool(Path(name), 0)
        pool.open()
        try:
            layer = pool.root / "layer"
            btrfs.create_subvolume(layer)
            pool.limit(layer, 1 << 20)
            try:
                (layer / "file").write_bytes(bytes(4 << 20))
            except OSError as error:
                if error.errno not in (errno.EDQUOT, errno.ENOSPC):
                    raise
            else:
                raise OSError("a file grew beyond its limit")
        finally:
            pool.close()
    return "btrfs subvolumes with quota groups"


def _try_network(options: IsolationOptions) -> str:
    uplink = network.Uplink(options)
    with Netlink() as host:
        # Both halves stay in this thread's own namespace.
        host.add_veth("probe0", "probe1", threading.get_native_id())
    network.load_rules(uplink.rules())
    return "veth pairs and nftables"


def _try_seccomp(_: IsolationOptions) -> str:
    actions = _SECCOMP_ACTIONS.read_text().split() if _SECCOMP_ACTIONS.exists() else []
    if not {"errno", "kill_process"} <= set(actions):
        raise OSError("the kernel has no system call filter")
    return "seccomp filter"


def _try_agent(options: IsolationOptions) -> str:
    return f"compiled agent {program.find_agent(options).name}"


def _folder(options: IsolationOptions) -> tempfile.TemporaryDirectory[str]:
    # Where the layers will be, so that the same file system answers.
    where = options.data_dir if options.data_dir.is_dir() else None
    return tempfile.TemporaryDirectory(prefix="runyard-probe-", dir=where, ignore_cleanup_errors=True)


PROBES = (
    Probe(
        "root", _try_root, "run the server as root, or accept the engine `process`, which isolates nothing"
    ),
    Probe(
        "user namespaces",
        _try_user_namespaces,
        "allow them: sysctl user.max_user_namespaces above 0, and in a container the capability CAP_SYS_ADMIN",
    ),
    Probe(
        "overlay file systems",
        _try_overlay,
        "use Linux 5.19 or newer and a data folder on ext4, xfs or btrfs",
        syscalls.CLONE_NEWNS,
    ),
    Probe(
        "disk limit",
        _try_disk_limit,
        "install btrfs-progs, and run on a kernel with btrfs and loop devices (in a container: with /dev/loop-control)",
        syscalls.CLONE_NEWNS,
    ),
    Probe(
        "network",
        _try_network,
        "install nftables, and run with CAP_NET_ADMIN on a kernel with veth and nf_tables",
        syscalls.CLONE_NEWNET,
    ),
    Probe("system call filter", _try_seccomp, "use a kernel with CONFIG_SECCOMP_FILTER"),
    Probe("agent", _try_agent, "install a wheel of this platform, or musl-tools or gcc"),
)
