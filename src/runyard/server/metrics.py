"""Prometheus metrics. Owns their names and labels; `docs/metrics.md` lists each one (a test holds it).

Labels come from the routing table and from fixed sets only, never from a request, so that their number is bounded.
"""

from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from runyard import __version__
from runyard.executions.model import Execution, Kind, Status

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)

GAUGES: Final = {
    "runyard_http_requests_in_flight": "Requests being answered now, open streams included.",
    "runyard_executions_running": "Executions running now.",
    "runyard_worker_slots_free": "Executions that could begin now.",
    "runyard_sandboxes": "Living sandboxes.",
    "runyard_data_free_bytes": "Bytes free on the disk of the data folder.",
}
"""What is read when it is scraped."""

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        """Register everything."""
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "runyard_http_requests", "Requests by door, operation and status class (`gone`: the client left).",
            ["door", "operation", "status"], registry=registry,
        )  # fmt: skip
        self._latency = Histogram(
            "runyard_http_request_seconds", "Time to the end of the answer.", ["door"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._executions = Counter(
            "runyard_executions_ended", "Executions that ended, by kind and status.", ["kind", "status"],
            registry=registry,
        )  # fmt: skip
        self._execution_seconds = Histogram(
            "runyard_execution_seconds", "Run time of executions.", ["kind"], buckets=_SECONDS, registry=registry
        )  # fmt: skip
        self._output_bytes = Counter(
            "runyard_output_bytes", "Bytes written by executions.", registry=registry
        )
        self._gauges = {name: Gauge(name, text, registry=registry) for name, text in GAUGES.items()}
        Gauge(
            "runyard_info", "Always 1; the label tells the release.", ["version"], registry=registry
        ).labels(__version__).set(1)
        ProcessCollector(namespace="runyard", registry=registry)

        self._execution_children: dict[tuple[Kind, Status], tuple[Counter, Histogram]] = {}
        self._request_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def read(self, name: str, source: Callable[[], float]) -> None:
        """Say where the value of one of the `GAUGES` comes from."""
        self._gauges[name].set_function(source)

    def observe_request(self, door: str, operation: str, status: int, seconds: float) -> None:
        """Count one request; status 0 means that the client went away."""
        key = (door, operation, status // 100)
        found = self._request_children.get(key)
        if found is None:
            # To look a child up by its labels costs more than to count.
            word = f"{status // 100}xx" if status else "gone"
            counter = self._requests.labels(door, operation, word)
            found = self._request_children[key] = (counter, self._latency.labels(door))
        found[0].inc()
        found[1].observe(seconds)

    def observe_execution(self, ended: Execution) -> None:
        """Count one ended execution."""
        key = (ended.kind, ended.status)
        found = self._execution_children.get(key)
        if found is None:
            seconds = self._execution_seconds.labels(ended.kind.value)
            counter = self._executions.labels(ended.kind.value, ended.status.value)
            found = self._execution_children[key] = (counter, seconds)
        found[0].inc()
        self._output_bytes.inc(ended.output_bytes)
        if ended.duration_ms is not None:
            found[1].observe(ended.duration_ms / 1000)

    def render(self) -> bytes:
        """Return the page for Prometheus."""
        return generate_latest(self.registry)


def reference_page() -> str:
    """Write the reference page of all metrics as Markdown."""
    lines = [
        "# Metrics",
        "",
        "`GET /metrics` answers in Prometheus' text form. It needs a token with `executions:read`, unless the setting",
        "`metrics.open` is on. Labels have a bounded number of values: nothing of a request becomes one. `make docs`",
        "writes this page.",
        "",
        "| metric | kind | meaning |",
        "|---|---|---|",
    ]
    for family in Metrics().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        lines.append(f"| `{name}` | {family.type} | {family.documentation} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(reference_page(), end="")
