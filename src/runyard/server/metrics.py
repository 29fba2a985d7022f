"""Prometheus metrics. Owns their names and labels; `docs/metrics.md` lists each one (a test holds it).

Labels come from the routing table and from fixed sets only, never from a request, so that their number is bounded.
"""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        """Register everything."""
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "runyard_http_requests", "Requests by door, operation and status class.", ["door", "operation", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._latency = Histogram(
            "runyard_http_request_seconds", "Time to the end of the answer.", ["door"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._executions = Counter(
            "runyard_executions_ended", "Executions that ended, by kind and status.", ["kind", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._execution_seconds = Histogram(
            "runyard_execution_seconds",
            "Run time of executions.",
            ["kind"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._output_bytes = Counter(
            "runyard_output_bytes", "Bytes written by executions.", registry=self.registry
        )

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Register a value that is read when it is scraped."""
        Gauge(name, help_text, registry=self.registry).set_function(read)

    def observe_request(self, door: str, operation: str, status: int, seconds: float) -> None:
        """Count one request; status 0 means that the client went away."""
        self._requests.labels(door, operation, f"{status // 100}xx" if status else "gone").inc()
        self._latency.labels(door).observe(seconds)

    def observe_execution(self, kind: str, status: str, seconds: float, output_bytes: int) -> None:
        """Count one ended execution."""
        self._executions.labels(kind, status).inc()
        self._execution_seconds.labels(kind).observe(seconds)
        self._output_bytes.inc(output_bytes)

    def render(self) -> bytes:
        """Return the page for Prometheus."""
        return generate_latest(self.registry)
