"""Control groups on the old hierarchies, against folders that stand for the kernel's."""

import errno
from pathlib import Path

import pytest

from runyard.kernel.errors import FailedPrecondition
from runyard.runtimes.isolation.cgroupfs import CgroupFs, Standing
from runyard.runtimes.isolation.cgroups import CgroupHost, Kind
from runyard.runtimes.isolation.engine import CannotEnforce, Limits

ROOT = Path("/sys/fs/cgroup")


class Old(CgroupFs):
    """Records what is written; refuses memory + swap below memory, as the kernel does."""

    def __init__(self, *, used: int = 0) -> None:
        self.knobs: dict[Path, str] = {}
        self.folders: set[Path] = set()
        self.order: list[str] = []
        self.killed: list[int] = []
        self.used = used

    def exists(self, path: Path) -> bool:
        return "memsw" not in path.name or path.parent in self.folders

    def writable(self, path: Path) -> bool:
        return True

    def read(self, path: Path) -> str:
        if path.name == "cgroup.procs":
            pids = self.knobs.get(path, "").split()
            return "\n".join(pid for pid in pids if int(pid) not in self.killed)
        if path not in self.knobs:
            raise FileNotFoundError(errno.ENOENT, path.name)
        return self.knobs[path]

    def write(self, path: Path, value: str) -> None:
        self.order.append(f"{path.name}={value}")
        if path.name == "memory.limit_in_bytes" and 0 <= int(value) < self.used:
            raise OSError(errno.EBUSY, "Device or resource busy")
        self.knobs[path] = value

    def mkdir(self, path: Path) -> None:
        self.folders.add(path)

    def rmdir(self, path: Path) -> None:
        self.folders.discard(path)

    def children(self, path: Path) -> list[Path]:
        return [folder for folder in self.folders if folder.parent == path]

    def lock(self, path: Path) -> int | None:
        return None

    def kill(self, pid: int, signum: int) -> None:
        self.killed.append(pid)


def host_of(fs: Old, *controllers: str) -> CgroupHost:
    host = CgroupHost(Standing(v1={name: ROOT / name for name in controllers}), "abc", fs)
    host.start()
    return host


def test_create_old_hierarchies_writes_all_limits() -> None:
    fs = Old()
    host = host_of(fs, "memory", "pids", "cpu", "freezer", "blkio")
    host.create("box", Limits(memory_bytes=1 << 20, pids=5, cpus=0.5))
    assert host.kind is Kind.V1
    assert fs.order == [
        "memory.memsw.limit_in_bytes=-1",
        f"memory.limit_in_bytes={1 << 20}",
        f"memory.memsw.limit_in_bytes={1 << 20}",
        "pids.max=5",
        "cpu.cfs_period_us=100000",
        "cpu.cfs_quota_us=50000",
    ]


def test_create_without_the_controller_refuses_the_limit() -> None:
    host = host_of(Old(), "pids")
    with pytest.raises(CannotEnforce, match="memory"):
        host.create("box", Limits(memory_bytes=1 << 20))
    host.create("box", Limits(pids=3))


def test_set_limits_below_what_is_used_is_refused() -> None:
    host = host_of(Old(used=2 << 20), "memory")
    with pytest.raises(FailedPrecondition, match="uses more memory"):
        host.create("box", Limits(memory_bytes=1 << 20))


def test_attach_skips_hierarchies_where_the_process_is() -> None:
    fs = Old()
    group = host_of(fs, "memory", "pids").create("box", Limits())
    fs.knobs[Path("/proc/9/cgroup")] = "4:memory:/jobs/runyard-abc/box\n8:pids:/\n"
    fs.order.clear()
    group.attach(9)
    assert fs.order == ["cgroup.procs=9"]


async def test_freeze_repeats_the_request_until_frozen() -> None:
    class Late(Old):
        def write(self, path: Path, value: str) -> None:
            late = (
                path.name == "freezer.state"
                and value == "FROZEN"
                and self.order.count("freezer.state=FROZEN") < 2
            )
            super().write(path, "FREEZING" if late else value)
            if late:
                self.order[-1] = "freezer.state=FROZEN"

    fs = Late()
    group = host_of(fs, "freezer").create("box", Limits())
    await group.freeze()
    assert fs.order.count("freezer.state=FROZEN") == 3
    await group.thaw()
    assert fs.order[-1] == "freezer.state=THAWED"


def test_kill_freezes_signals_and_thaws() -> None:
    fs = Old()
    group = host_of(fs, "freezer").create("box", Limits())
    fs.knobs[ROOT / "freezer/runyard-abc/box/cgroup.procs"] = "11\n12\n"
    group.kill()
    assert fs.killed == [11, 12]
    assert fs.order == ["freezer.state=FROZEN", "freezer.state=THAWED"]


def test_kind_hybrid_freezes_in_the_unified_hierarchy_only() -> None:
    standing = Standing(unified=ROOT / "unified", v1={"freezer": ROOT / "freezer", "memory": ROOT / "memory"})
    host = CgroupHost(standing, "abc", Old())
    assert host.kind is Kind.HYBRID
    assert host.freezer
    group = host.create("box", Limits())
    assert group.usage().pids is None
    assert ROOT / "freezer/runyard-abc/box" not in host.fs.children(ROOT / "freezer/runyard-abc")
