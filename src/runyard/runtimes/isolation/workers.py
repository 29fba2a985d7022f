"""Threads for blocking kernel work. Owns a small named pool per user, so that a slow file system never takes the
threads that somebody else waits for.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Workers:
    """A bounded pool of threads whose results are awaited."""

    def __init__(self, name: str, count: int) -> None:
        """Name the threads and bound their number; none exists before the first `run`."""
        self._name = name
        self._count = count
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a blocking function in a thread. A cancelled caller does not stop the function."""
        return await asyncio.wrap_future(self._threads().submit(function, *args, **kwargs))

    def later(self, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a blocking function in a thread without waiting; what it raises is logged. Callable in any thread."""
        self._threads().submit(function, *args, **kwargs).add_done_callback(self._log_failure)

    def close(self) -> None:
        """Wait for running functions and end the threads; a later `run` starts new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count, f"runyard-{self._name}")
        return self._pool

    def _log_failure(self, work: "Future[object]") -> None:
        error = work.exception()
        if error is not None:
            _log.warning("background work of %s failed", self._name, exc_info=error)
