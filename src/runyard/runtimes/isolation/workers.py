"""Threads for blocking kernel work. Owns a small named pool per user, so that a slow file system never takes the
threads that somebody else waits for.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """A bounded pool of threads whose results are awaited."""

    def __init__(self, name: str, count: int) -> None:
        """Name the threads and bound their number; none exists before the first `run`."""
        self._name = name
        self._count = count
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a blocking function in a thread. A cancelled caller does not stop the function."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count, f"runyard-{self._name}")
        work = self._pool.submit(function, *args, **kwargs)
        return await asyncio.wrap_future(work)

    def close(self) -> None:
        """Wait for running functions and end the threads; a later `run` starts new ones."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
