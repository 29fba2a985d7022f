"""Control groups on the unified hierarchy, against an in-memory kernel."""

import errno
import os
from pathlib import Path

import pytest

from runyard.kernel.errors import DeadlineExceeded
from runyard.runtimes.isolation import cgroups
from runyard.runtimes.isolation.cgroupfs import CgroupFs, Standing
from runyard.runtimes.isolation.cgroups import CgroupHost, Kind
from runyard.runtimes.isolation.engine import CannotEnforce, Limits

ROOT = Path("/sys/fs/cgroup")
SERVICE = ROOT / "system.slice/runyard.service"
KNOBS = {
    "memory": ("memory.max", "memory.swap.max", "memory.oom.group", "memory.current", "memory.events"),
    "pids": ("pids.max", "pids.current"),
    "cpu": ("cpu.max",),
}


class Unified(CgroupFs):
    """Behaves like cgroup2 where it matters here: delegation, members, busy groups."""

    def __init__(
        self, available: str = "cpu memory pids", *, slow_freeze: int = 0, read_only: bool = False
    ) -> None:
        self.groups: dict[Path, dict[str, str]] = {}
        self.members: dict[Path, set[int]] = {}
        self.slow_freeze = slow_freeze
        self.read_only = read_only
        self._make(SERVICE, available)

    def _make(self, path: Path, controllers: str) -> None:
        knobs = {"cgroup.type": "domain", "cgroup.controllers": controllers, "cgroup.subtree_control": ""}
        knobs |= {"cgroup.freeze": "0", "cgroup.kill": "", "cgroup.events": "populated 0\nfrozen 0\n"}
        for name in controllers.split():
            knobs |= dict.fromkeys(KNOBS[name], "max")
        self.groups[path] = knobs
        self.members[path] = set()

    def join(self, pid: int, path: Path) -> None:
        for members in self.members.values():
            members.discard(pid)
        self.members[path].add(pid)

    def exists(self, path: Path) -> bool:
        return path in self.groups or path.name in self.groups.get(path.parent, {})

    def writable(self, path: Path) -> bool:
        return not self.read_only

    def read(self, path: Path) -> str:
        if path.parts[1] == "proc":
            pid = int(path.parts[2])
            for group, members in self.members.items():
                if pid in members:
                    return f"0::/{group.relative_to(ROOT)}\n"
            raise FileNotFoundError(path)
        if path.parent not in self.groups:
            raise FileNotFoundError(errno.ENOENT, "gone")
        if path.name == "cgroup.procs":
            return "".join(f"{pid}\n" for pid in self.members[path.parent])
        if path.name == "cgroup.events" and self.groups[path.parent]["cgroup.freeze"] == "1":
            self.slow_freeze -= 1
            return f"populated 1\nfrozen {int(self.slow_freeze < 0)}\n"
        return self.groups[path.parent][path.name]

    def write(self, path: Path, value: str) -> None:
        group = path.parent
        if group not in self.groups:
            raise FileNotFoundError(errno.ENOENT, "gone")
        if path.name == "cgroup.procs":
            self.join(int(value), group)
        elif path.name == "cgroup.subtree_control":
            if self.members[group]:
                raise OSError(errno.EBUSY, "Device or resource busy")
            enabled = {*self.groups[group]["cgroup.subtree_control"].split(), value.lstrip("+")}
            self.groups[group]["cgroup.subtree_control"] = " ".join(sorted(enabled))
        elif path.name == "cgroup.kill":
            self.members[group].clear()
        elif path.name not in self.groups[group]:
            raise FileNotFoundError(errno.ENOENT, path.name)
        else:
            self.groups[group][path.name] = value

    def mkdir(self, path: Path) -> None:
        if path not in self.groups:
            self._make(path, self.groups[path.parent]["cgroup.subtree_control"])

    def rmdir(self, path: Path) -> None:
        if self.members.get(path) or self.children(path):
            raise OSError(errno.EBUSY, "busy")
        self.groups.pop(path, None)
        self.members.pop(path, None)

    def children(self, path: Path) -> list[Path]:
        return [group for group in self.groups if group.parent == path]

    def open(self, path: Path) -> int | None:
        return None

    def lock(self, path: Path) -> int | None:
        return None

    def kill(self, pid: int, signum: int) -> None:
        for members in self.members.values():
            members.discard(pid)


def started(fs: Unified) -> CgroupHost:
    fs.join(os.getpid(), SERVICE)
    host = CgroupHost(Standing(unified=SERVICE), "abc", fs)
    host.start()
    return host


def test_start_moves_the_server_into_a_leaf_and_enables_controllers() -> None:
    fs = Unified()
    host = started(fs)
    assert host.kind is Kind.V2
    assert host.controllers == {"memory", "pids", "cpu"}
    assert fs.members[SERVICE / "server"] == {os.getpid()}
    assert fs.groups[SERVICE / "runyard-abc"]["cgroup.subtree_control"] == "cpu memory pids"


def test_start_in_the_leaf_already_uses_the_group_above() -> None:
    fs = Unified()
    started(fs)
    again = CgroupHost(Standing(unified=SERVICE / "server"), "abc", fs)
    again.start()
    assert again.controllers == {"memory", "pids", "cpu"}
    assert SERVICE / "server/runyard-abc" not in fs.groups


def test_start_with_a_stranger_in_the_group_reports_what_is_missing() -> None:
    fs = Unified()
    fs.join(4242, SERVICE)
    host = started(fs)
    assert host.controllers == frozenset()
    with pytest.raises(CannotEnforce):
        host.create("box", Limits(memory_bytes=1 << 20))
    missing = {one.name: one for one in host.capabilities() if not one.enforced}
    assert "busy" in missing["memory limit"].how
    assert missing["memory limit"].fix


def test_start_in_a_container_moves_everyone_into_the_leaf() -> None:
    fs = Unified()
    fs.join(1, SERVICE)
    fs.join(os.getpid(), SERVICE)
    host = CgroupHost(Standing(unified=SERVICE, namespaced=True), "abc", fs)
    host.start()
    assert fs.members[SERVICE / "server"] == {1, os.getpid()}
    assert host.controllers == {"memory", "pids", "cpu"}


def test_start_sweeps_the_groups_of_a_killed_server() -> None:
    fs = Unified()
    host = started(fs)
    left = SERVICE / "runyard-abc/left"
    host.create("left", Limits())
    fs.mkdir(left / "command")
    fs.join(77, left)
    host.sweep()
    assert left not in fs.groups


def test_create_writes_all_limits() -> None:
    fs = Unified()
    started(fs).create("box", Limits(memory_bytes=1 << 20, pids=9, cpus=1.5))
    knobs = fs.groups[SERVICE / "runyard-abc/box"]
    assert knobs["memory.max"] == str(1 << 20)
    assert knobs["memory.swap.max"] == "0"
    assert knobs["memory.oom.group"] == "0"
    assert knobs["pids.max"] == "9"
    assert knobs["cpu.max"] == "150000 100000"


def test_set_limits_with_none_lifts_them() -> None:
    fs = Unified()
    group = started(fs).create("box", Limits(memory_bytes=1 << 20, pids=9, cpus=0.0001))
    assert fs.groups[SERVICE / "runyard-abc/box"]["cpu.max"] == "1000 100000"
    group.set_limits(Limits())
    knobs = fs.groups[SERVICE / "runyard-abc/box"]
    assert (knobs["memory.max"], knobs["memory.swap.max"]) == ("max", "max")
    assert (knobs["pids.max"], knobs["cpu.max"]) == ("max", "max 100000")


def test_create_refused_by_the_kernel_leaves_no_group() -> None:
    class Refusing(Unified):
        def write(self, path: Path, value: str) -> None:
            if path.name == "memory.max":
                raise OSError(errno.EINVAL, "Invalid argument")
            super().write(path, value)

    fs = Refusing()
    with pytest.raises(CannotEnforce):
        started(fs).create("box", Limits(memory_bytes=-5))
    assert SERVICE / "runyard-abc/box" not in fs.groups


def test_usage_reads_memory_pids_and_oom_kills() -> None:
    fs = Unified()
    group = started(fs).create("box", Limits())
    fs.groups[SERVICE / "runyard-abc/box"] |= {
        "memory.current": "4096\n",
        "pids.current": "3\n",
        "memory.events": "low 0\noom 2\noom_kill 1\n",
    }
    usage = group.usage()
    assert (usage.memory_bytes, usage.pids, usage.oom_kills) == (4096, 3, 1)


def test_attach_writes_only_where_the_process_is_not_yet() -> None:
    fs = Unified()
    group = started(fs).create("box", Limits())
    fs.join(500, SERVICE)
    group.attach(500)
    assert fs.members[SERVICE / "runyard-abc/box"] == {500}
    with pytest.raises(ProcessLookupError):
        group.attach(501)


async def test_freeze_waits_until_all_have_stopped() -> None:
    fs = Unified(slow_freeze=3)
    group = started(fs).create("box", Limits())
    await group.freeze()
    assert fs.slow_freeze < 0
    await group.thaw()
    assert fs.groups[SERVICE / "runyard-abc/box"]["cgroup.freeze"] == "0"


async def test_freeze_that_never_settles_thaws_and_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_FREEZE_SECONDS", 0.05)
    fs = Unified(slow_freeze=10_000)
    group = started(fs).create("box", Limits())
    with pytest.raises(DeadlineExceeded):
        await group.freeze()
    assert fs.groups[SERVICE / "runyard-abc/box"]["cgroup.freeze"] == "0"


async def test_kill_and_remove_leave_nothing() -> None:
    fs = Unified()
    host = started(fs)
    group = host.create("box", Limits())
    fs.join(600, SERVICE / "runyard-abc/box")
    group.kill()
    await group.remove()
    group.kill()
    await group.remove()
    host.stop()
    assert SERVICE / "runyard-abc" not in fs.groups


def test_detect_without_a_writable_hierarchy_enforces_nothing() -> None:
    host = CgroupHost(Standing(unified=SERVICE), "abc", Unified(read_only=True))
    assert host.kind is Kind.NONE
    assert not any(one.enforced for one in host.capabilities())
    group = host.create("box", Limits())
    assert group.clone_fd is None
