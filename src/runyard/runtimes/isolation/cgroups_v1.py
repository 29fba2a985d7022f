"""One group spread over the hierarchies of the old control groups. Owns the names and formats of their knobs."""

import errno
from collections.abc import Mapping
from pathlib import Path

from runyard.kernel.errors import FailedPrecondition
from runyard.runtimes.isolation.cgroupfs import CgroupFs
from runyard.runtimes.isolation.cgroups_v2 import CPU_MINIMUM_US, CPU_PERIOD_US, kill_members, read_field
from runyard.runtimes.isolation.engine import Limits, Usage


class V1Group:
    """Folders of the same name in several hierarchies."""

    def __init__(self, fs: CgroupFs, paths: Mapping[str, Path]) -> None:
        """Take the folder of each controller: any of memory, pids, cpu, freezer."""
        self._fs = fs
        self.paths = dict(paths)
        self._throttled = False

    def set_limits(self, limits: Limits) -> None:
        """Write the limits. Raises OSError, FailedPrecondition when more memory is in use than the new limit."""
        if "memory" in self.paths:
            self._set_memory(-1 if limits.memory_bytes is None else limits.memory_bytes)
        if "pids" in self.paths:
            self._set("pids", "pids.max", "max" if limits.pids is None else str(limits.pids))
        # A group that was never throttled is spared two knobs, the second of which is dear.
        if "cpu" in self.paths and (limits.cpus is not None or self._throttled):
            self._throttled = True
            quota = -1 if limits.cpus is None else max(int(limits.cpus * CPU_PERIOD_US), CPU_MINIMUM_US)
            self._set("cpu", "cpu.cfs_period_us", str(CPU_PERIOD_US))
            self._set("cpu", "cpu.cfs_quota_us", str(quota))

    def _set_memory(self, limit: int) -> None:
        swap_too = self._fs.exists(self.paths["memory"] / "memory.memsw.limit_in_bytes")
        try:
            # The kernel insists on memory <= memory + swap at every moment, so lift the outer one first.
            if swap_too:
                self._set("memory", "memory.memsw.limit_in_bytes", "-1")
            self._set("memory", "memory.limit_in_bytes", str(limit))
            if swap_too:
                self._set("memory", "memory.memsw.limit_in_bytes", str(limit))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise FailedPrecondition("The sandbox uses more memory than the new limit.") from None

    def usage(self) -> Usage:
        """Measure."""
        memory = oom_kills = pids = None
        if "memory" in self.paths:
            memory = self._number("memory", "memory.usage_in_bytes")
            oom_kills = self._oom_kills()
        if "pids" in self.paths:
            pids = self._number("pids", "pids.current")
        return Usage(memory_bytes=memory, pids=pids, oom_kills=oom_kills)

    def attach(self, controller: str, pid: int) -> None:
        """Move a process with its threads into one hierarchy's folder. Raises OSError."""
        self._set(controller, "cgroup.procs", str(pid))

    def request_freeze(self, frozen: bool) -> None:
        """Ask the kernel to stop or to continue the members; repeat it until `is_frozen`, to catch new ones."""
        self._set("freezer", "freezer.state", "FROZEN" if frozen else "THAWED")

    def is_frozen(self) -> bool:
        """Tell whether every member has stopped."""
        return self._fs.read(self.paths["freezer"] / "freezer.state").strip() == "FROZEN"

    def can_freeze(self) -> bool:
        """Tell whether the freezer is there."""
        return "freezer" in self.paths

    def kill(self) -> None:
        """Kill every member. Frozen ones die once thawed, so they are thawed after the signal."""
        if self.can_freeze():
            self.request_freeze(True)
        for path in self.paths.values():
            kill_members(self._fs, path)
            break
        if self.can_freeze():
            self.request_freeze(False)

    def _set(self, controller: str, knob: str, value: str) -> None:
        self._fs.write(self.paths[controller] / knob, value)

    def _number(self, controller: str, knob: str) -> int | None:
        try:
            return int(self._fs.read(self.paths[controller] / knob))
        except (OSError, ValueError):
            return None

    def _oom_kills(self) -> int | None:
        try:
            return read_field(self._fs.read(self.paths["memory"] / "memory.oom_control"), "oom_kill")
        except OSError:
            return None
