"""Control groups of sandboxes: limits, usage, freezing and killing, whatever hierarchies this host has.

Owns the groups below `runyard-<instance>`, which itself lies below the server's own group, so that limits on the
server bound its sandboxes too. Knows nothing of processes beyond their ids.
"""

import asyncio
import contextlib
import enum
import errno
import os
from pathlib import Path

from runyard.kernel.errors import DeadlineExceeded
from runyard.runtimes.isolation.cgroupfs import CgroupFs, Standing, find_standing, is_busy
from runyard.runtimes.isolation.cgroups_v1 import V1Group
from runyard.runtimes.isolation.cgroups_v2 import V2Group
from runyard.runtimes.isolation.engine import CannotEnforce, Capability, Limits, Usage

CONTROLLERS = ("memory", "pids", "cpu")
_PREFIX = "runyard-"
_SERVER_LEAF = "server"
_FREEZE_SECONDS = 5.0
_REMOVE_SECONDS = 2.0


class Kind(enum.StrEnum):
    """Which hierarchies a host has."""

    V2 = "v2"
    HYBRID = "hybrid"
    """Controllers in old hierarchies, beside cgroup2 without any."""
    V1 = "v1"
    NONE = "none"


class Group:
    """The control group of one sandbox."""

    def __init__(self, host: "CgroupHost", name: str, v2: V2Group | None, v1: V1Group | None) -> None:
        """Use CgroupHost.create."""
        self._host = host
        self._fs = host.fs
        self._tail = f"/{host.parent_name}/{name}"
        self._v2 = v2
        self._v1 = v1
        self._clone_fd: int | None = None
        self.name = name

    @property
    def clone_fd(self) -> int | None:
        """Directory for CLONE_INTO_CGROUP, open until `remove`; None without cgroup2."""
        if self._clone_fd is None and self._v2 is not None:
            self._clone_fd = self._fs.open(self._v2.path)
        return self._clone_fd

    def attach(self, pid: int) -> None:
        """Move a process into every hierarchy in which it is not here yet. Blocks up to some ms each, so call it in
        a thread. Raises ProcessLookupError when it is gone, OSError.
        """
        there = self._hierarchies_of(pid)
        if self._v2 is not None and "" not in there:
            self._v2.attach(pid)
        if self._v1 is not None:
            for controller in self._v1.paths:
                if controller not in there:
                    self._v1.attach(controller, pid)

    def set_limits(self, limits: Limits) -> None:
        """Set all limits; None lifts one. Raises CannotEnforce, FailedPrecondition (more memory in use than that)."""
        self._host.check(limits)
        try:
            if self._v2 is not None:
                self._v2.set_limits(limits)
            if self._v1 is not None:
                self._v1.set_limits(limits)
        except OSError as error:
            raise CannotEnforce(f"The kernel refused the limits: {error.strerror}.") from error

    def usage(self) -> Usage:
        """Measure; None where this host cannot tell."""
        parts = [part.usage() for part in (self._v2, self._v1) if part is not None]
        return Usage(
            memory_bytes=next((p.memory_bytes for p in parts if p.memory_bytes is not None), None),
            pids=next((p.pids for p in parts if p.pids is not None), None),
            oom_kills=next((p.oom_kills for p in parts if p.oom_kills is not None), None),
        )

    async def freeze(self) -> None:
        """Stop all members where they are. Raises CannotEnforce, and DeadlineExceeded when one does not stop."""
        freezer = self._freezer()
        if freezer is None:
            raise CannotEnforce("This host cannot freeze processes.")
        pause = 0.000_5
        deadline = asyncio.get_running_loop().time() + _FREEZE_SECONDS
        freezer.request_freeze(True)
        while not freezer.is_frozen():
            if asyncio.get_running_loop().time() > deadline:
                freezer.request_freeze(False)
                raise DeadlineExceeded("The processes did not stop in time.")
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.02)
            freezer.request_freeze(True)

    async def thaw(self) -> None:
        """Let frozen members run on; nothing when they run."""
        freezer = self._freezer()
        if freezer is not None:
            freezer.request_freeze(False)

    def kill(self) -> None:
        """Kill every member, frozen or not; they are gone a moment later. Nothing when the group is gone."""
        if self._v2 is not None:
            with contextlib.suppress(FileNotFoundError):
                self._v2.kill()
        if self._v1 is not None:
            with contextlib.suppress(FileNotFoundError):
                if self._v2 is None:
                    self._v1.kill()
                elif self._v1.can_freeze():
                    self._v1.request_freeze(False)

    async def remove(self) -> None:
        """Remove the group once its members are dead, waiting shortly for the kernel to let go of them; what stays
        is swept at the next start.
        """
        self._close()
        paths = self._paths()
        pause = 0.001
        deadline = asyncio.get_running_loop().time() + _REMOVE_SECONDS
        while not self._host.remove_tree(paths):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.1)

    def _paths(self) -> list[Path]:
        v2 = [self._v2.path] if self._v2 is not None else []
        return v2 + (list(self._v1.paths.values()) if self._v1 is not None else [])

    def _close(self) -> None:
        if self._clone_fd is not None:
            os.close(self._clone_fd)
            self._clone_fd = None

    def _freezer(self) -> V2Group | V1Group | None:
        # cgroup2 first: what it froze can still be killed.
        for part in (self._v2, self._v1):
            if part is not None and part.can_freeze():
                return part
        return None

    def _hierarchies_of(self, pid: int) -> set[str]:
        try:
            text = self._fs.read(Path(f"/proc/{pid}/cgroup"))
        except FileNotFoundError:
            raise ProcessLookupError(errno.ESRCH, f"process {pid} is gone") from None
        found: set[str] = set()
        for line in text.splitlines():
            _, controllers, path = line.split(":", 2)
            if path.endswith(self._tail):
                found.update(controllers.split(","))
        return found


class CgroupHost:
    """The control groups of this installation. Only `start` changes anything on the host."""

    def __init__(self, standing: Standing, instance: str, fs: CgroupFs | None = None) -> None:
        """Use `detect`."""
        self.fs = fs or CgroupFs()
        self.parent_name = f"{_PREFIX}{instance}"
        self._standing = standing
        self._unified = self._base(standing.unified)
        self._v1 = self._usable_v1(standing)
        self._v2_controllers = self._usable_v2()
        self._claims: list[int] = []
        self._known_parents: tuple[object, dict[str, Path]] | None = None
        self.problem = ""

    @property
    def kind(self) -> Kind:
        """Which hierarchies are there."""
        if self._v1:
            return Kind.HYBRID if self._unified is not None else Kind.V1
        return Kind.V2 if self._unified is not None else Kind.NONE

    @property
    def controllers(self) -> frozenset[str]:
        """Which of memory, pids and cpu can be limited; final after `start`."""
        return self._v2_controllers | (frozenset(self._v1) & frozenset(CONTROLLERS))

    @property
    def freezer(self) -> bool:
        """Whether processes can be frozen."""
        return "freezer" in self._v1 or self._unified is not None

    def start(self) -> None:
        """Make the parent groups, remove what a killed server of this instance left, and on cgroup2 move this process
        into a leaf and enable the controllers. What cannot be had is left out of `controllers`; see `problem`.
        """
        if self._unified is not None and not self._v1:
            self._v2_controllers = self._delegate(self._unified)
        self._make_parents()
        for path in self._parents().values():
            claim = self.fs.lock(path)
            if claim is not None:
                self._claims.append(claim)
            self._remove_strangers(path)
        self.sweep()

    def stop(self) -> None:
        """Remove the parent groups; what still has members stays."""
        self.sweep()
        self.remove_tree(list(self._parents().values()))
        for claim in self._claims:
            os.close(claim)
        self._claims.clear()

    def create(self, name: str, limits: Limits) -> Group:
        """Make a group with its limits. Raises CannotEnforce."""
        self.check(limits)
        parents = self._parents()
        try:
            for path in parents.values():
                self.fs.mkdir(path / name)
        except FileNotFoundError:  # somebody tidied up while there was no group
            self._make_parents()
            for path in parents.values():
                self.fs.mkdir(path / name)
        v2 = V2Group(self.fs, parents[""] / name, self._v2_controllers) if "" in parents else None
        v1_paths = {controller: path / name for controller, path in parents.items() if controller}
        group = Group(self, name, v2, V1Group(self.fs, v1_paths) if v1_paths else None)
        try:
            if limits != Limits():  # a new group has none
                group.set_limits(limits)
        except BaseException:
            self.remove_tree([path / name for path in parents.values()])
            raise
        return group

    def sweep(self) -> None:
        """Kill and remove every group of this instance. Members need a moment to die, so a group may outlive this."""
        for controller, path in self._parents().items():
            for child in self.fs.children(path):
                if controller == "":
                    V2Group(self.fs, child, frozenset()).kill()
                else:
                    V1Group(self.fs, {controller: child}).kill()
                self.remove_tree([child])

    def check(self, limits: Limits) -> None:
        """Refuse limits that this host cannot enforce. Raises CannotEnforce."""
        wanted = {"memory": limits.memory_bytes, "pids": limits.pids, "cpu": limits.cpus}
        for controller, value in wanted.items():
            if value is not None and controller not in self.controllers:
                raise CannotEnforce(f"This host cannot limit {controller}: no such control group controller.")

    def capabilities(self) -> list[Capability]:
        """Tell which limits hold."""
        found = []
        for name in (*CONTROLLERS, "freezer"):
            enforced = self.freezer if name == "freezer" else name in self.controllers
            old = name in self._v1 and not (name == "freezer" and self._unified is not None)
            how = f"control groups, {'version 1' if old else 'version 2'}"
            missing = self.problem or "no such control group controller"
            fix = "run under systemd with Delegate=yes, or as root in a container with a writable /sys/fs/cgroup"
            title = "freeze" if name == "freezer" else f"{name} limit"
            found.append(
                Capability(
                    name=title,
                    enforced=enforced,
                    how=how if enforced else missing,
                    fix="" if enforced else fix,
                )
            )
        return found

    def remove_tree(self, paths: list[Path]) -> bool:
        """Remove groups with all groups inside; return False when something still has members."""
        done = True
        for path in paths:
            done = self._remove(path) and done
        return done

    def _remove(self, path: Path) -> bool:
        """Remove a group; only one that the kernel keeps is looked into."""
        for last in (False, True):
            try:
                self.fs.rmdir(path)
            except OSError as error:
                if not is_busy(error):
                    raise
                if last or not self.remove_tree(self.fs.children(path)):
                    return False
            else:
                return True
        return False

    def _make_parents(self) -> None:
        for path in list(self._parents().values()):
            try:
                self.fs.mkdir(path)
            except OSError as error:
                self.problem = f"{path.parent} is not writable ({error.strerror})"
                self._drop(path)
        if self._unified is not None and self._v2_controllers:
            self._v2_controllers = self._enable(self._parents()[""], self._v2_controllers)

    def _remove_strangers(self, ours: Path) -> None:
        """Remove empty groups of other installations whose server was killed: nobody holds their claim."""
        for path in self.fs.children(ours.parent):
            if path == ours or not path.name.startswith(_PREFIX):
                continue
            claim = self.fs.lock(path)
            if claim is not None:
                self.remove_tree([path])  # a group with members stays
                os.close(claim)

    def _parents(self) -> dict[str, Path]:
        of = (self._unified, *self._v1)
        if self._known_parents is None or self._known_parents[0] != of:
            folders = {} if self._unified is None else {"": self._unified}
            found = {name: path / self.parent_name for name, path in (folders | self._v1).items()}
            self._known_parents = (of, found)
        return self._known_parents[1]

    def _drop(self, path: Path) -> None:
        for name, parent in list(self._parents().items()):
            if parent == path and name:
                del self._v1[name]
            elif parent == path:
                self._unified = None
                self._v2_controllers = frozenset()

    def _base(self, unified: Path | None) -> Path | None:
        # After `start` this process stands in the leaf; its parent is what was delegated to us.
        if (
            unified is not None
            and unified.name == _SERVER_LEAF
            and self.fs.exists(unified.parent / "cgroup.type")
        ):
            unified = unified.parent
        return unified if unified is not None and self.fs.writable(unified) else None

    def _usable_v1(self, standing: Standing) -> dict[str, Path]:
        usable = {name: path for name, path in standing.v1.items() if name in CONTROLLERS}
        if "freezer" in standing.v1 and standing.unified is None:
            usable["freezer"] = standing.v1["freezer"]
        return {name: path for name, path in usable.items() if self.fs.writable(path)}

    def _usable_v2(self) -> frozenset[str]:
        if self._unified is None or self._v1:
            return frozenset()
        try:
            names = self.fs.read(self._unified / "cgroup.controllers").split()
        except OSError:
            return frozenset()
        return frozenset(names) & frozenset(CONTROLLERS)

    def _delegate(self, base: Path) -> frozenset[str]:
        """Enable controllers for the groups below `base`, which must have no members of its own for that."""
        enabled = frozenset(self.fs.read(base / "cgroup.subtree_control").split())
        if self._v2_controllers <= enabled:
            return self._v2_controllers
        if self.fs.exists(base / "cgroup.type"):  # the real root has none, and may keep its members
            try:
                self._move_to_leaf(base)
            except OSError as error:
                self.problem = f"the server cannot be moved to a group of its own ({error.strerror})"
        return self._enable(base, self._v2_controllers)

    def _move_to_leaf(self, base: Path) -> None:
        leaf = base / _SERVER_LEAF
        self.fs.mkdir(leaf)
        members = [os.getpid()]
        if self._standing.namespaced:
            # In a container everything beside us (its init, a shell) is ours to move.
            members = [int(pid) for pid in self.fs.read(base / "cgroup.procs").split()]
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                self.fs.write(leaf / "cgroup.procs", str(pid))

    def _enable(self, group: Path, wanted: frozenset[str]) -> frozenset[str]:
        enabled = set()
        for name in sorted(wanted):
            try:
                self.fs.write(group / "cgroup.subtree_control", f"+{name}")
                enabled.add(name)
            except OSError as error:
                self.problem = f"the {name} controller cannot be enabled in {group} ({error.strerror})"
        return frozenset(enabled)


def detect(instance: str) -> CgroupHost:
    """Look at the hierarchies of this host and this process's place in them; changes nothing."""
    proc = Path("/proc/self")
    standing = find_standing((proc / "cgroup").read_text(), (proc / "mountinfo").read_text())
    return CgroupHost(standing, instance)
