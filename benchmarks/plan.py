"""How much a run measures, and the servers that it measures. Owns sizes and settings; nothing is timed here."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes of one run."""

    rounds: int = 300
    """Interleaved rounds of the latency tables."""
    load_seconds: float = 4.0
    load_slices: int = 3
    creates: int = 60
    idle: int = 1000
    bulk_bytes: int = 1 << 30
    ledger_rows: int = 1_000_000
    action_seconds: float = 60.0
    readers: int = 100
    reader_bytes: int = 32 << 20


QUICK = Plan(
    rounds=40,
    load_seconds=1.0,
    load_slices=1,
    creates=12,
    idle=50,
    bulk_bytes=128 << 20,
    ledger_rows=20_000,
    action_seconds=5.0,
    readers=20,
    reader_bytes=4 << 20,
)
ROOMY = {"RUNYARD_LOGGING__LEVEL": "warning"}
"""Settings of every measured server: all else is the default."""


@contextlib.contextmanager
def serving(**settings: object) -> Iterator[Server]:
    """Serve from an empty data folder for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="runyard-bench-") as folder:
        environment = {**ROOMY, **{f"RUNYARD_{name.upper()}": str(value) for name, value in settings.items()}}
        server = Server(Path(folder), environment)
        server.start()
        try:
            yield server
        finally:
            if server.process is not None:
                server.stop()


def resident_bytes(pid: int, field: str = "VmRSS") -> int:
    """Return the resident memory of a process, or its peak with `VmHWM`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


class Growth:
    """How far the peak memory of a process rose above where it stood."""

    def __init__(self, pid: int) -> None:
        """Reset the peak and note where it stands."""
        self._pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._before = resident_bytes(pid)

    @property
    def mebibytes(self) -> float:
        """Return the growth so far."""
        return (resident_bytes(self._pid, "VmHWM") - self._before) / (1 << 20)
