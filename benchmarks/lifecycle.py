"""Runtimes come, stand idle by the thousand, and go."""

import statistics
import time
from pathlib import Path

from benchmarks import wire
from benchmarks.plan import Plan, resident_bytes, serving
from benchmarks.report import Section, Times
from tests.support.leaks import Traces, cgroups
from tests.support.server import Server

REFILL_SECONDS = 0.03
"""Pause between creations from the pool: long enough to refill it, which is off the request's path."""


class Caller:
    """The three calls of a short life, as prepared bytes."""

    def __init__(self, server: Server, policy: dict[str, object]) -> None:
        """Prepare the requests for one egress policy."""
        self._headers = {"Authorization": f"Bearer {server.token}"}
        self._line = wire.Line(server.port)
        self._create = wire.request("POST", "/v1/runtimes", {"egress_policy": policy}, self._headers)

    def create(self) -> str:
        """Create a runtime and return its id."""
        document = self._line.json(self._create)
        assert isinstance(document, dict)
        return str(document["data"]["id"])

    def first_command(self, runtime: str) -> None:
        """Run `true` in it."""
        body = {"command": "true", "args": []}
        self._line.call(wire.request("POST", f"/v1/runtimes/{runtime}/exec", body, self._headers))

    def delete(self, runtime: str) -> None:
        """Delete it."""
        self._line.call(wire.request("DELETE", f"/v1/runtimes/{runtime}", None, self._headers))

    def list(self, query: str = "?limit=100") -> bytes:
        """List a page of runtimes."""
        return self._line.call(wire.request("GET", f"/v1/runtimes{query}", None, self._headers))


def lives(caller: Caller, rounds: int, pause: float) -> tuple[Times, Times]:
    """Create, run the first command, delete; return the times of the first two together, and of the last."""
    made, gone = [], []
    for number in range(rounds + 3):
        time.sleep(pause)
        began = time.perf_counter()
        runtime = caller.create()
        caller.first_command(runtime)
        between = time.perf_counter()
        caller.delete(runtime)
        if number >= 3:
            made.append(between - began)
            gone.append(time.perf_counter() - between)
    return Times(made), Times(gone)


def short_lives(plan: Plan) -> Section:
    """Measure creation to the first command done, from the pool and cold, without and with a way out."""
    section = Section("A runtime's life: create to first command done, and delete (p10 / p50 / p99)")
    none: dict[str, object] = {"enabled": True, "allowed_hosts": []}
    opened: dict[str, object] = {"enabled": False, "allowed_hosts": []}
    for pool, kind, limit in ((2, "from the warm pool", 4), (0, "cold", 12)):
        with serving(runtimes__warm_pool_size=pool) as server:
            for words, policy in (("no egress", none), ("open egress", opened)):
                made, gone = lives(Caller(server, policy), plan.creates, REFILL_SECONDS if pool else 0.02)
                target = f"p50 under {limit} ms"
                section.add(f"create {kind}, {words}", str(made), "", target, made.p50 * 1000 < limit)
                section.add(f"delete ({kind}, {words})", str(gone))
    section.remarks.append("Vendors of hosted sandboxes quote 90 to 200 ms for creation.")
    return section


def group_memory(instance: str) -> int:
    """Return the memory charged to all runtimes of a server, or 0 when the host does not count it."""
    for path in cgroups(instance):
        for name in ("memory.current", "memory.usage_in_bytes"):
            file = Path(path) / name
            if file.exists():
                return int(file.read_text())
    return 0


def available() -> int:
    """Return the memory that the machine could still give."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    return 0


def idle(plan: Plan) -> Section:
    """Create many runtimes, run one command in each, and weigh them asleep."""
    section = Section(f"{plan.idle:,} idle runtimes")
    with serving() as server:
        caller = Caller(server, {"enabled": True, "allowed_hosts": []})
        caller.first_command(caller.create())
        time.sleep(1)
        free, resident = available(), resident_bytes(server.pid)
        began = time.perf_counter()
        made = []
        for _ in range(plan.idle):
            made.append(caller.create())
            caller.first_command(made[-1])
        seconds = time.perf_counter() - began
        time.sleep(1)
        each = (free - available()) / plan.idle / (1 << 20)
        own = (resident_bytes(server.pid) - resident) / plan.idle / (1 << 20)
        traces = Traces()
        traces.collect(server.pid)
        charged = max((group_memory(one) for one in traces.instances), default=0) / plan.idle / (1 << 20)
        section.add(
            "create and first command, one after the other", f"{seconds / plan.idle * 1000:.1f} ms each"
        )
        section.add("memory each, all of the machine's", f"{each:.2f} MiB", "", "under 2 MiB", each < 2)
        section.add("of that in the server process", f"{own:.2f} MiB")
        if charged:
            section.add("of that charged to the runtimes' own groups", f"{charged:.2f} MiB")
        pages = []
        for _ in range(30):
            began = time.perf_counter()
            caller.list()
            pages.append(time.perf_counter() - began)
        section.add("list a page of 100", f"{statistics.median(pages) * 1000:.1f} ms")
        began = time.perf_counter()
        for runtime in made:
            caller.delete(runtime)
        section.add(
            "delete, one after the other", f"{(time.perf_counter() - began) / plan.idle * 1000:.1f} ms each"
        )
    return section


def measure(plan: Plan) -> list[Section]:
    """Measure short lives and idle crowds."""
    return [short_lives(plan), idle(plan)]
