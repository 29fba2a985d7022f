"""`python -m benchmarks`: measures everything in one run, prints a Markdown table and writes it to a file."""

import argparse
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    actions,
    bulk,
    environments,
    guardrails,
    harness,
    latency,
    ledger,
    lifecycle,
    runs,
    workspaces,
)
from benchmarks.plan import QUICK, Plan
from benchmarks.report import Section

GROUPS: dict[str, Callable[[Plan], list[Section]]] = {
    "exec": latency.measure,
    "runtimes": lifecycle.measure,
    "bulk": bulk.measure,
    "ledger": ledger.measure,
    "workspaces": workspaces.measure,
    "runs": runs.measure,
    "actions": actions.measure,
    "guardrails": guardrails.measure,
    "harness": harness.measure,
    "environments": environments.measure,
}
RESULT = Path(__file__).parent.parent / ".cache" / "bench.md"


def machine() -> str:
    """Describe the machine in one line."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({names[0] if names else platform.machine()}), "
        f"{memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"
    )


def run(group: str, plan: Plan) -> list[Section]:
    """Measure one group; what goes wrong becomes a line of the report, so that the others are still measured."""
    try:
        return GROUPS[group](plan)
    except Exception as error:  # noqa: BLE001 - the report names whatever happened
        traceback.print_exc()
        failed = Section(f"{group}: not measured")
        failed.skip(group, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        return [failed]


def main() -> int:
    """Measure, print, write. 0 even when targets are missed: the table says so."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a minute instead of a quarter of an hour; small samples"
    )
    parser.add_argument(
        "--only", action="append", choices=sorted(GROUPS), help="measure this group only; may be repeated"
    )
    parser.add_argument(
        "--out", type=Path, default=RESULT, help="where the Markdown goes (default: %(default)s)"
    )
    words = parser.parse_args()
    plan = QUICK if words.quick else Plan()
    began = time.monotonic()
    text = [
        f"# Benchmarks\n\n{machine()}{', quick mode: small samples' if words.quick else ''}. Trust the ratios.\n"
    ]
    for group in words.only or GROUPS:
        for section in run(group, plan):
            text.append(section.markdown())
            print(section.markdown(), flush=True)
    words.out.parent.mkdir(parents=True, exist_ok=True)
    words.out.write_text("\n".join(text))
    print(f"written to {words.out} after {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
