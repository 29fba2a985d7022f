"""What is being read by whom. Owns the end of reading that goes on for longer than the right to it: a stream of events or
output has no end of its own, and a token that was revoked must not go on hearing.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from runyard.identity.model import Principal
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import Unauthenticated


@dataclass(eq=False, slots=True)
class _Lease:
    principal: Principal
    task: "asyncio.Task[object]"
    over: bool = False

    def end(self) -> None:
        # Once: what its reader does to clean up must not be cut off by the next reason.
        if not self.over:
            self.over = True
            self.task.cancel()


class Leases:
    """The reads that are going on."""

    def __init__(self, now: Now = utc_now) -> None:
        """Begin with none."""
        self._now = now
        self._held: set[_Lease] = set()

    @contextmanager
    def hold(self, principal: Principal) -> Iterator[None]:
        """Let the running task read as somebody, until that ends or the right to it does. Raises Unauthenticated then."""
        task = asyncio.current_task()
        assert task is not None
        lease, timer = _Lease(principal, task), None
        if principal.expires_at is not None:
            left = (principal.expires_at - self._now()).total_seconds()
            timer = asyncio.get_running_loop().call_later(max(0.0, left), lease.end)
        self._held.add(lease)
        try:
            yield
        except asyncio.CancelledError:
            if not lease.over or task.uncancel() > 0:
                raise  # somebody else ends the task
            raise Unauthenticated(
                "the token has expired, was revoked or may do other things than when this began"
            ) from None
        finally:
            self._held.discard(lease)
            if timer is not None:
                timer.cancel()

    def end(self, concerned: Callable[[Principal], bool]) -> None:
        """End the reads of those whose rights have changed."""
        for lease in tuple(self._held):
            if concerned(lease.principal):
                lease.end()
