"""How a process ended, told once to any number of waiters. Owns nothing but that."""

import asyncio
from collections.abc import Callable

from runyard.runtimes.isolation.engine import Exit, SandboxGone

Ended = Exit | SandboxGone


class Outcome:
    """Settled once."""

    __slots__ = ("_waiters", "listener", "value")

    def __init__(self) -> None:
        """Start unsettled."""
        self.value: Ended | None = None
        self.listener: Callable[[Ended], None] | None = None
        """Called at once when it is settled, before any waiter goes on."""
        self._waiters: list[asyncio.Future[None]] = []

    async def get(self) -> Exit:
        """Return the exit; any number of callers may wait. Raises SandboxGone."""
        while self.value is None:
            # A future each, so that one cancelled waiter leaves the others alone.
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if isinstance(self.value, SandboxGone):
            raise SandboxGone(self.value.message)
        return self.value

    async def get_within(self, seconds: float) -> Exit | None:
        """Return the exit when it comes within a time, else None. Raises SandboxGone."""
        if self.value is None and seconds > 0:
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()
            self._waiters.append(waiter)
            timer = loop.call_later(seconds, _let_go, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
        return None if self.value is None else await self.get()

    def settle(self, value: Ended) -> None:
        """Settle it; later calls change nothing."""
        if self.value is not None:
            return
        self.value = value
        if self.listener is not None:
            self.listener(value)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()


def _let_go(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
