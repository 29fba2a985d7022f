"""Where a process stands in the control groups, from the texts of its /proc."""

from pathlib import Path

from runyard.runtimes.isolation.cgroupfs import find_standing

HYBRID_GROUPS = """\
8:pids:/
4:memory:/jobs/4bd4
2:cpu,cpuacct:/user.slice
1:name=systemd:/
0::/
"""
HYBRID_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_standing_hybrid_finds_every_own_folder() -> None:
    standing = find_standing(HYBRID_GROUPS, HYBRID_MOUNTS)
    assert standing.unified == Path("/sys/fs/cgroup/unified")
    assert standing.v1["memory"] == Path("/sys/fs/cgroup/memory/jobs/4bd4")
    assert standing.v1["cpu"] == Path("/sys/fs/cgroup/cpu,cpuacct/user.slice")
    assert standing.v1["pids"] == Path("/sys/fs/cgroup/pids")


def test_standing_unified_service_finds_its_folder() -> None:
    mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
    standing = find_standing("0::/system.slice/a\\x2db.service\n", mounts)
    assert standing.unified == Path("/sys/fs/cgroup/system.slice/a\\x2db.service")
    assert not standing.namespaced
    assert standing.v1 == {}


def test_standing_container_with_namespace_is_marked() -> None:
    standing = find_standing("0::/\n", "30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n")
    assert standing.namespaced
    assert standing.unified == Path("/sys/fs/cgroup")


def test_standing_bind_mounted_container_is_taken_relative_to_the_bind() -> None:
    mounts = "30 23 0:26 /docker/77 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    standing = find_standing("4:memory:/docker/77/inner\n", mounts)
    assert standing.v1["memory"] == Path("/sys/fs/cgroup/memory/inner")


def test_standing_outside_of_what_is_mounted_is_unusable() -> None:
    mounts = "30 23 0:26 /docker/77 /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
    assert find_standing("0::/elsewhere\n", mounts).unified is None
    assert find_standing("0::/../up\n", mounts).unified is None


def test_standing_mount_point_with_a_space_is_decoded() -> None:
    standing = find_standing("0::/\n", "30 23 0:26 / /mnt/my\\040groups rw - cgroup2 cgroup2 rw\n")
    assert standing.unified == Path("/mnt/my groups")
