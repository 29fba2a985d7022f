"""One group of the unified hierarchy (cgroup2). Owns the names and formats of its knobs.

Controllers that are not delegated are simply left out; freezing and killing need none.
"""

import errno
import signal
from pathlib import Path

from runyard.runtimes.isolation.cgroupfs import CgroupFs
from runyard.runtimes.isolation.engine import Limits, Usage

CPU_PERIOD_US = 100_000
CPU_MINIMUM_US = 1_000
_KILL_ROUNDS = 64


class V2Group:
    """A group in cgroup2."""

    def __init__(self, fs: CgroupFs, path: Path, controllers: frozenset[str]) -> None:
        """Take the folder and the controllers that are enabled in it."""
        self._fs = fs
        self.path = path
        self._controllers = controllers

    def set_limits(self, limits: Limits) -> None:
        """Write the limits of the enabled controllers. Raises OSError."""
        if "memory" in self._controllers:
            self._set("memory.max", _or_max(limits.memory_bytes))
            # Without this a limit on memory only moves the excess to the host's swap.
            if self._fs.exists(self.path / "memory.swap.max"):
                self._set("memory.swap.max", "max" if limits.memory_bytes is None else "0")
            # One process dies of memory, not the agent with it.
            self._set("memory.oom.group", "0")
        if "pids" in self._controllers:
            self._set("pids.max", _or_max(limits.pids))
        if "cpu" in self._controllers:
            quota = (
                "max" if limits.cpus is None else str(max(int(limits.cpus * CPU_PERIOD_US), CPU_MINIMUM_US))
            )
            self._set("cpu.max", f"{quota} {CPU_PERIOD_US}")

    def usage(self) -> Usage:
        """Measure what the enabled controllers know."""
        memory = oom_kills = pids = None
        if "memory" in self._controllers:
            memory = self._number("memory.current")
            oom_kills = self._field("memory.events", "oom_kill")
        if "pids" in self._controllers:
            pids = self._number("pids.current")
        return Usage(memory_bytes=memory, pids=pids, oom_kills=oom_kills)

    def attach(self, pid: int) -> None:
        """Move a process with its threads here. Raises OSError."""
        self._set("cgroup.procs", str(pid))

    def request_freeze(self, frozen: bool) -> None:
        """Ask the kernel to stop or to continue the members."""
        self._set("cgroup.freeze", "1" if frozen else "0")

    def is_frozen(self) -> bool:
        """Tell whether every member has stopped."""
        return self._field("cgroup.events", "frozen") == 1

    def can_freeze(self) -> bool:
        """Tell whether the kernel has a freezer here (5.2)."""
        return self._fs.exists(self.path / "cgroup.freeze")

    def kill(self) -> None:
        """Kill every member and everything they might fork meanwhile; frozen ones too."""
        try:
            self._set("cgroup.kill", "1")
        except FileNotFoundError:
            kill_members(self._fs, self.path)
        except OSError as error:
            if error.errno != errno.ENODEV:  # removed between the lookup and the write
                raise

    def _set(self, knob: str, value: str) -> None:
        self._fs.write(self.path / knob, value)

    def _number(self, knob: str) -> int | None:
        try:
            return int(self._fs.read(self.path / knob))
        except (OSError, ValueError):
            return None

    def _field(self, knob: str, name: str) -> int | None:
        try:
            return read_field(self._fs.read(self.path / knob), name)
        except OSError:
            return None


def read_field(text: str, name: str) -> int | None:
    """Return the number after `name` in a knob of `name value` lines."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def kill_members(fs: CgroupFs, path: Path) -> None:
    """Kill members one by one, for kernels without `cgroup.kill`, until none is listed or a bound is reached."""
    for _ in range(_KILL_ROUNDS):
        try:
            pids = [int(line) for line in fs.read(path / "cgroup.procs").split()]
        except OSError:
            return
        if not pids:
            return
        for pid in pids:
            fs.kill(pid, signal.SIGKILL)


def _or_max(value: int | None) -> str:
    return "max" if value is None else str(value)
