"""Sandboxes made before a run needs them. Owns how many wait and when more are made; how one is made is the maker's."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

import structlog

from runyard.kernel.errors import RunyardError
from runyard.runtimes.isolation.engine import CannotEnforce

FILLERS: Final = 2
"""How many are made at one time: making one waits for the kernel more than it computes."""
_PAUSE_SECONDS: Final = 0.005
"""After one was taken: the program that it was taken for goes first."""
_RETRY_SECONDS: Final = 5.0
_log = structlog.get_logger(__name__)


class Held(Protocol):
    """A sandbox with what belongs to it."""

    @property
    def gone(self) -> bool:
        """Tell whether it has ended by itself."""
        ...


Box = TypeVar("Box", bound=Held)


class ReadyBoxes(Generic[Box]):
    """A row of blank sandboxes, all of one kind."""

    def __init__(self, size: int, make: Callable[[], Awaitable[Box]]) -> None:
        """Keep `size` of what `make` makes; nothing is made before `start`."""
        self._size = size
        self._make = make
        self._waiting: deque[Box] = deque()
        self._fillers: set[asyncio.Task[None]] = set()
        self._making = 0
        self._timer: asyncio.TimerHandle | None = None
        self._open = False

    def start(self) -> None:
        """Begin to fill, in the background."""
        self._open = True
        self._fill()

    async def stop(self) -> list[Box]:
        """End filling and hand over what waits."""
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._fillers, return_exceptions=True)
        left = list(self._waiting)
        self._waiting.clear()
        return left

    def take(self) -> Box | None:
        """Return one that lives, or None; another is made in its place."""
        taken = None
        while self._waiting and taken is None:
            candidate = self._waiting.popleft()
            taken = None if candidate.gone else candidate
        self._later(_PAUSE_SECONDS)
        return taken

    def _later(self, seconds: float) -> None:
        if self._open and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._fill)

    def _fill(self) -> None:
        self._timer = None
        while self._open and self._making < FILLERS and len(self._waiting) + self._making < self._size:
            self._making += 1
            task = asyncio.get_running_loop().create_task(self._make_some())
            self._fillers.add(task)
            task.add_done_callback(self._fillers.discard)

    async def _make_some(self) -> None:
        """Make one after the other until the row is full."""
        try:
            while self._open and len(self._waiting) + self._making <= self._size:
                self._waiting.append(await self._make())
        except CannotEnforce as error:
            self._open = False
            _log.warning("actions.no_ready_sandboxes", error=error.message)
        except (RunyardError, OSError) as error:
            _log.warning("actions.no_ready_sandbox", error=str(error))
            self._later(_RETRY_SECONDS)
        finally:
            self._making -= 1
