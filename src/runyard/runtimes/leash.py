"""Ends a process that must not go on. Owns the steps from asking it to KILL to giving up, and who asked for them."""

import asyncio
import enum
import signal

from runyard.executions.worker import RunContext
from runyard.runtimes.isolation.engine import Exit, Process

GIVE_UP_SECS = 5.0
"""After KILL. A frozen process dies only when it is thawed; its caller does not wait for that."""


class Why(enum.StrEnum):
    """Who ended a command."""

    TIMEOUT = "timeout"
    CANCELED = "canceled"
    CLIENT = "client"


class Leash:
    """Holds one process: on `end` its group gets TERM or another signal, after a grace KILL, and at last nobody waits
    for it.
    """

    def __init__(self, process: Process, grace: float, first: signal.Signals = signal.SIGTERM) -> None:
        """Take the process; nothing happens before `end`."""
        self._process = process
        self._first = first
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []
        self._waiting: asyncio.Task[Exit] | None = None
        self.why: Why | None = None

    def end_after(self, seconds: float) -> None:
        """End it as timed out after some seconds."""
        self._timers.append(self._loop.call_later(seconds, self.end, Why.TIMEOUT))

    def obey(self, context: RunContext) -> None:
        """End it when its execution is canceled."""
        context.on_cancel = lambda: self.end(Why.CANCELED)
        if context.cancelled.is_set():
            self.end(Why.CANCELED)

    def end(self, why: Why) -> None:
        """Begin to end it; the first reason counts."""
        if self.why is not None:
            return
        self.why = why
        self._process.signal_group(self._first)
        self._timers.append(self._loop.call_later(self._grace, self._kill))

    def _kill(self) -> None:
        self._process.signal_group(signal.SIGKILL)
        self._timers.append(self._loop.call_later(GIVE_UP_SECS, self._give_up))

    def _give_up(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def waiting(self) -> asyncio.Task[Exit]:
        """Return the one task that waits for the end."""
        if self._waiting is None:
            self._waiting = asyncio.ensure_future(self._process.wait())
        return self._waiting

    async def result(self) -> Exit:
        """Return how the process ended, or, when it was given up, how it will. Raises SandboxGone."""
        waiting = self.waiting()
        if not waiting.done():
            await asyncio.wait((waiting,))
        return Exit(signal=signal.SIGKILL) if waiting.cancelled() else waiting.result()

    def sweep(self) -> None:
        """Kill what is left of the group after its leader's end."""
        self._process.signal_group(signal.SIGKILL)

    def drop(self) -> None:
        """Stop all timers and waits."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._waiting is not None:
            self._waiting.cancel()
