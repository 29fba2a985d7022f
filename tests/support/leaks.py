"""What a server leaves on the host. Owns the finding of processes, groups, mounts, loops, tables and links; ends nothing."""

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
INSTANCE = re.compile(r"runyard-([0-9a-f]{6,})")
SETTLE_SECONDS = 10.0
TABLE_DIGITS = 4
"""Interface and table names have room for so many digits of an instance."""


@dataclass(frozen=True, slots=True)
class ProcessKey:
    """A process that cannot be mistaken for a later one of the same id."""

    pid: int
    started: int


def process_stat(pid: int) -> tuple[int, int, str] | None:
    """Return parent, start time and state of a process, or None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), int(fields[19]), fields[0]


def processes() -> Iterator[int]:
    """List all process ids."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def descendants(root: int) -> set[ProcessKey]:
    """Return all processes below one, without itself."""
    children: dict[int, list[ProcessKey]] = {}
    for pid in processes():
        stat = process_stat(pid)
        if stat is not None:
            children.setdefault(stat[0], []).append(ProcessKey(pid, stat[1]))
    found: set[ProcessKey] = set()
    queue = [root]
    while queue:
        for child in children.get(queue.pop(), []):
            if child not in found:
                found.add(child)
                queue.append(child.pid)
    return found


def alive(key: ProcessKey) -> bool:
    """Tell whether exactly that process still lives; a zombie counts as gone."""
    stat = process_stat(key.pid)
    return stat is not None and stat[1] == key.started and stat[2] != "Z"


def cgroups(instance: str) -> list[str]:
    """List the groups whose name carries an instance."""
    found: list[str] = []
    for folder, names, _ in os.walk(CGROUPS):
        found += [os.path.join(folder, name) for name in names if f"runyard-{instance}" in name]
    return found


def members(instance: str) -> list[str]:
    """List the processes that sit in a group of an instance, by command."""
    found: list[str] = []
    for pid in processes():
        with contextlib.suppress(OSError):
            if f"runyard-{instance}" in Path(f"/proc/{pid}/cgroup").read_text():
                found.append(f"{pid} {Path(f'/proc/{pid}/cmdline').read_bytes()!r}")
    return found


def mounts(data_dir: Path) -> list[str]:
    """List the mounts, seen from here, that come from or lie in a data folder."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(data_dir) in line]


def loops(data_dir: Path) -> list[str]:
    """List the loop devices over a file of a data folder."""
    found: list[str] = []
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if str(data_dir) in entry.read_text():
                found.append(entry.parts[3])
    return found


def tables(instance: str) -> list[str]:
    """List the nft tables whose name carries an instance."""
    with contextlib.suppress(OSError):
        shown = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
        return [line for line in shown.stdout.splitlines() if f"runyard_{instance[:TABLE_DIGITS]}" in line]
    return []


def links(instance: str) -> list[str]:
    """List the network links whose name carries an instance."""
    return [name for _, name in socket.if_nameindex() if name.startswith(f"rny{instance[:TABLE_DIGITS]}")]


@dataclass
class Traces:
    """What a server was seen to own while it lived."""

    children: set[ProcessKey] = field(default_factory=set)
    instances: set[str] = field(default_factory=set)

    def collect(self, pid: int) -> None:
        """Note the processes below a living server and the names of its groups."""
        family = descendants(pid)
        self.children |= family
        for key in family:
            with contextlib.suppress(OSError):
                self.instances |= set(INSTANCE.findall(Path(f"/proc/{key.pid}/cgroup").read_text()))

    def left(self, data_dir: Path, *, groups: bool = True) -> dict[str, list[str]]:
        """Return what is still there, by kind; empty when all is gone."""
        found = {
            "processes": [str(key) for key in self.children if alive(key)],
            "members": [line for one in self.instances for line in members(one)],
            "mounts": mounts(data_dir),
            "loops": loops(data_dir),
        }
        if groups:
            found["cgroups"] = [path for one in self.instances for path in cgroups(one)]
            found["tables"] = [line for one in self.instances for line in tables(one)]
            found["links"] = [name for one in self.instances for name in links(one)]
        return {kind: lines for kind, lines in found.items() if lines}

    def assert_gone(self, data_dir: Path, *, groups: bool = True) -> None:
        """Assert that nothing is left, allowing the kernel a moment to take things apart."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (left := self.left(data_dir, groups=groups)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left, f"left on the host: {left}"
