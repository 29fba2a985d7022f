"""Pools of what is made before anybody asks: inits in their groups, and whole blank sandboxes. Owns how many wait and
when more are made, one at a time; how one is made and put to use is the engine's.
"""

import asyncio
from collections.abc import Awaitable, Callable

from runyard.kernel.errors import RunyardError
from runyard.runtimes.isolation.sandbox import NamespaceSandbox

_PAUSE_SECONDS = 0.05
"""After one was taken: its first command goes first."""
_RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)


class WarmPool:
    """Sandboxes made ahead."""

    def __init__(self, size: int, make: Callable[[], Awaitable[NamespaceSandbox]]) -> None:
        """Keep `size` of what `make` makes; nothing is made before `start`."""
        self._size = size
        self._make = make
        self._waiting: list[NamespaceSandbox] = []
        self._wanted = asyncio.Event()
        self._filler: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many wait now."""
        return len(self._waiting)

    async def start(self) -> None:
        """Keep the pool filled from here on, in the background. What cannot be made is tried again later."""
        if self._size:
            self._filler = asyncio.get_running_loop().create_task(self._keep_filled())

    async def stop(self) -> list[NamespaceSandbox]:
        """End filling and hand over what waits."""
        if self._filler is not None:
            self._filler.cancel()
            await asyncio.gather(self._filler, return_exceptions=True)
        left, self._waiting = self._waiting, []
        return left

    def take(self) -> NamespaceSandbox | None:
        """Return one that lives, or None."""
        taken = None
        while self._waiting and taken is None:
            candidate = self._waiting.pop(0)
            taken = None if candidate.gone else candidate
        self._wanted.set()
        return taken

    def drop(self, sandbox: NamespaceSandbox) -> None:
        """Forget one that has ended while it waited."""
        if sandbox in self._waiting:
            self._waiting.remove(sandbox)
            self._wanted.set()

    async def _keep_filled(self) -> None:
        failures = 0
        while True:
            while len(self._waiting) < self._size:
                try:
                    self._waiting.append(await self._make())
                    failures = 0
                except (RunyardError, OSError):
                    await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                    failures += 1
            self._wanted.clear()
            await self._wanted.wait()
            await asyncio.sleep(_PAUSE_SECONDS)
