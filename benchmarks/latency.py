"""Buffered exec against a bare spawn and the peers: one at a time, interleaved, and many at once."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import bare, peers, wire
from benchmarks.plan import Plan, serving
from benchmarks.report import Section, Times
from tests.support.server import Server

BARE_ARGV = ["/usr/bin/true"]
BARE_SHELL = ["/bin/sh", "-c", "echo hi"]
OURS = "Runyard: HTTP, isolation and ledger included"
BARE = "bare posix_spawn"
WARM_UP = 10
BLOCK = 10
"""Consecutive calls of one variant."""


def interleave(variants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Times]:
    """Time all variants in turns, in short blocks whose order rotates: the machine's moods meet all alike, and
    none is measured in the wake of a heavier one more often than another.
    """
    for call in variants.values():
        for _ in range(WARM_UP):
            call()
    taken: dict[str, list[float]] = {name: [] for name in variants}
    order = list(variants)
    for _ in range(max(1, rounds // BLOCK)):
        for name in order:
            call = variants[name]
            for _ in range(BLOCK):
                began = time.perf_counter()
                call()
                taken[name].append(time.perf_counter() - began)
        order.append(order.pop(0))
    return {name: Times(values) for name, values in taken.items()}


def exec_request(server: Server, runtime: str, body: Mapping[str, object]) -> bytes:
    """Build the bytes of one buffered exec."""
    authorization = {"Authorization": f"Bearer {server.token}"}
    return wire.request("POST", f"/v1/runtimes/{runtime}/exec", body, authorization)


def table(section: Section, times: Mapping[str, Times], limit: float, missing: list[peers.Peer]) -> None:
    """Write the rows of one latency table: ours first, then every other against us."""
    ours, yard = times[OURS], times[BARE]
    ratio = ours.p50 / yard.p50
    section.add(OURS, str(ours), f"{ratio:.2f} x bare", f"at most {limit:.1f} x bare", ratio <= limit)
    section.add(BARE, str(yard), "1.00")
    for name, one in times.items():
        if name not in (OURS, BARE):
            lead = one.p50 / ours.p50
            section.add(name, str(one), f"{lead:.2f} x Runyard", "Runyard at least 1.5 x ahead", lead >= 1.5)
    for peer in missing:
        section.skip(peer.name, peer.missing)


def one_at_a_time(plan: Plan, server: Server, runtime: str, others: list[peers.Peer]) -> list[Section]:
    """Measure `true` as an argv and `echo hi` as a shell string."""
    line = wire.Line(server.port)
    argv = exec_request(server, runtime, {"command": "true", "args": []})
    shell = exec_request(server, runtime, {"command": "echo hi"})
    here = [peer for peer in others if not peer.missing]
    missing = [peer for peer in others if peer.missing]
    plain: dict[str, Callable[[], object]] = {
        BARE: lambda: bare.run(BARE_ARGV),
        OURS: lambda: line.call(argv),
    }
    plain |= {peer.name: peer.argv for peer in here if peer.argv is not None}
    strings: dict[str, Callable[[], object]] = {
        BARE: lambda: bare.run(BARE_SHELL),
        OURS: lambda: line.call(shell),
    }
    strings |= {peer.name: peer.shell for peer in here if peer.shell is not None}
    first = Section("Buffered exec of `true` as an argv, one at a time (p10 / p50 / p99)")
    table(first, interleave(plain, plan.rounds), 1.5, missing)
    second = Section("Buffered exec of the shell string `echo hi`, one at a time (p10 / p50 / p99)")
    table(second, interleave(strings, plan.rounds), 1.0, missing)
    for section in (first, second):
        section.remarks.append(f"All variants in turns, {BLOCK} calls each time, in rotating order.")
    line.close()
    return [first, second]


def best(call: Callable[[], float], slices: int) -> float:
    """Return the best of some slices: the figure that the neighbours spoiled least."""
    return max(call() for _ in range(slices))


def many_at_once(plan: Plan, server: Server, runtime: str, others: list[peers.Peer]) -> Section:
    """Measure commands per second at 1, 8 and 32 at a time."""
    section = Section("Throughput, commands per second")
    sent = exec_request(server, runtime, {"command": "true", "args": []})
    rex = next((peer for peer in others if peer.port and not peer.missing), None)
    for concurrency in (1, 8, 32):

        def ours(c: int = concurrency) -> float:
            return wire.load(server.port, sent, c, plan.load_seconds)

        def yard(c: int = concurrency) -> float:
            return bare.loop(BARE_ARGV, c, plan.load_seconds)

        def peer(c: int = concurrency) -> float:
            return wire.load(rex.port, rex.request, c, plan.load_seconds) if rex else 0.0

        mine, bottom = best(ours, plan.load_slices), best(yard, plan.load_slices)
        last = concurrency == 32
        share = mine / bottom
        target = "at least 0.6 of bare" if last else ""
        section.add(
            f"Runyard, {concurrency} at a time",
            f"{mine:.0f}/s",
            f"{share:.2f} of bare",
            target,
            share >= 0.6 if last else None,
        )
        section.add(f"bare spawn from an event loop, {concurrency}", f"{bottom:.0f}/s", "1.00")
        if rex:
            other = best(peer, plan.load_slices)
            lead = mine / other
            section.add(
                f"SWE-ReX server, {concurrency}",
                f"{other:.0f}/s",
                f"Runyard {lead:.1f} x",
                "Runyard at least 5 x" if last else "",
                lead >= 5 if last else None,
            )
    if rex is None:
        section.skip(
            "SWE-ReX server", next((peer.missing for peer in others if "SWE" in peer.name), "missing")
        )
    return section


def measure(plan: Plan) -> list[Section]:
    """Run a server and the peers, and measure exec one at a time and many at once."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runyard-peers-")))
        others = [
            peers.bubblewrap(),
            stack.enter_context(peers.ssh(folder)),
            stack.enter_context(peers.swe_rex(folder)),
        ]
        server = stack.enter_context(serving())
        api = server.api()
        runtime: dict[str, Any] = api.create(name="bench")
        sections = one_at_a_time(plan, server, runtime["id"], others)
        sections.append(many_at_once(plan, server, runtime["id"], others))
        return sections
