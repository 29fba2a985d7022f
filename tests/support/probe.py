"""A second client that must be served while something bad goes on. Owns one thread and one runtime."""

import threading
import time
from typing import Self

from tests.support.server import Server

PAUSE_SECONDS = 0.05


class Bystander:
    """Runs a small command again and again, and asserts at the end that each one worked and none took long."""

    def __init__(self, server: Server, *, slowest: float = 10.0) -> None:
        """Name the server and the longest time in seconds that one call may take."""
        self._server, self._slowest = server, slowest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.times: list[float] = []
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        """Make the runtime and start to call."""
        self._api = self._server.api(timeout=60)
        self._runtime = self._api.create(name="bystander")["id"]
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Stop, delete the runtime, and judge unless the test has failed already."""
        self._stop.set()
        self._thread.join(60)
        self._api.delete(f"/v1/runtimes/{self._runtime}")
        self._api.close()
        if kind is None:
            assert not self.failures, self.failures[:3]
            assert self.times, "the bystander was not served even once"
            assert max(self.times) < self._slowest, f"slowest call {max(self.times):.1f} s"

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                health = self._api.get("/healthz").status
                result = self._api.exec(self._runtime, "echo served")
                if health != 200 or result["stdout"] != "served\n":
                    self.failures.append(f"{health} {result}")
            except Exception as error:  # noqa: BLE001 - any failure is the finding
                self.failures.append(repr(error))
                self._api.close()
            self.times.append(time.monotonic() - began)
            self._stop.wait(PAUSE_SECONDS)
