"""The embedded carrier. Owns queues in the server's memory; the ledger's rows rebuild it at start.

It is woken by the offer itself and never polls: an idle carrier costs nothing.
"""

import asyncio
import heapq
import itertools
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Sequence

from runyard.executions.dispatch.port import Assignment, Claim, OutputPart, Signal
from runyard.executions.model import Outcome
from runyard.kernel.errors import Unavailable
from runyard.kernel.ids import ExecutionId

_Key = tuple[ExecutionId, int]
_Entry = tuple[int, int, Assignment]
_REMEMBERED = 65_536


class EmbeddedCarrier:
    """In-process queues by pool, ordered by priority and age, with key limits."""

    def __init__(self, take_output: Callable[[OutputPart], None] | None = None) -> None:
        """Start empty; `take_output` receives what workers carry back."""
        self._queues: dict[str, list[_Entry]] = {}
        self._order = itertools.count()
        self._offered: dict[_Key, Assignment] = {}
        self._held: dict[_Key, Claim] = {}
        self._holders: dict[ExecutionId, Claim] = {}
        self._done: deque[_Key] = deque(maxlen=_REMEMBERED)
        self._done_keys: set[_Key] = set()
        self._running_by_key: dict[str, Counter[str]] = defaultdict(Counter)
        """How many of each tenant."""
        self._parked: dict[str, list[_Entry]] = defaultdict(list)
        self._claimants: deque[tuple[frozenset[str], str, asyncio.Future[Claim]]] = deque()
        self._signals: dict[str, asyncio.Queue[Signal]] = {}
        self._take_output = take_output
        self._closed = False

    async def offer(self, assignment: Assignment) -> bool:
        """Queue it and hand it to a waiting worker at once."""
        if self._closed:
            raise Unavailable("the carrier is closed")
        key = (assignment.execution_id, assignment.attempt)
        if key in self._offered or key in self._held or key in self._done_keys:
            return False
        self._offered[key] = assignment
        self._push((-assignment.priority, next(self._order), assignment))
        self._match()
        return True

    async def withdraw(self, execution_id: ExecutionId, attempt: int) -> bool:
        """Forget an offer; its entry is skipped when it comes up."""
        gone = self._offered.pop((execution_id, attempt), None)
        if gone is None:
            return False
        self._remember((execution_id, attempt))
        if gone.key is not None and self._has_room(gone.key, gone.key_limit):
            # It may be the one that was let go when its key became free, and nobody else would be.
            self._unpark(gone.key)
            self._match()
        return True

    async def claim(self, pools: Sequence[str], worker: str) -> Claim:
        """Take the best offer, or wait in line for one."""
        if self._closed:
            raise Unavailable("the carrier is closed")
        future: asyncio.Future[Claim] = asyncio.get_running_loop().create_future()
        self._claimants.append((frozenset(pools), worker, future))
        self._match()
        try:
            return await future
        except asyncio.CancelledError:
            # Handed over and cancelled in the same turn of the loop: put it back, or it would be lost.
            if future.done() and not future.cancelled() and future.exception() is None:
                self._put_back(future.result())
            raise

    async def alive(self, claim: Claim) -> bool:
        """Tell whether the hold stands; in one process it cannot run out."""
        return self._held.get(_key(claim)) is claim

    async def finished(self, claim: Claim, outcome: Outcome) -> bool:  # noqa: ARG002  the ledger writes it here
        """Give the hold back and let the next one with the same key go."""
        if self._held.get(_key(claim)) is not claim:
            return False
        self._release(claim)
        self._remember(_key(claim))
        self._match()
        return True

    async def signal(self, signal: Signal) -> bool:
        """Queue a signal for the holder."""
        holder = self._holders.get(signal.execution_id)
        if holder is None:
            return False
        self._mailbox(holder.worker).put_nowait(signal)
        return True

    async def signals(self, worker: str) -> AsyncIterator[Signal]:
        """Yield signals as they come."""
        mailbox = self._mailbox(worker)
        while True:
            yield await mailbox.get()

    async def output(self, part: OutputPart) -> None:
        """Hand output over in-line."""
        if self._take_output is not None:
            self._take_output(part)

    def waiting(self, pool: str) -> int:
        """Count offers of a pool that nobody claimed."""
        return sum(assignment.pool == pool for assignment in self._offered.values())

    @property
    def idle(self) -> bool:
        """Tell whether no offer waits, so that new work may begin without queueing."""
        return not self._offered

    async def close(self) -> None:
        """Cancel all who wait for work."""
        self._closed = True
        for _, _, future in self._claimants:
            future.cancel()
        self._claimants.clear()

    def _mailbox(self, worker: str) -> asyncio.Queue[Signal]:
        return self._signals.setdefault(worker, asyncio.Queue())

    def _push(self, entry: _Entry) -> None:
        heapq.heappush(self._queues.setdefault(entry[2].pool, []), entry)

    def _match(self) -> None:
        """Give offers to waiting workers, first come first served, until one of both runs out."""
        unmatched: deque[tuple[frozenset[str], str, asyncio.Future[Claim]]] = deque()
        while self._claimants and self._offered:
            pools, worker, future = self._claimants.popleft()
            if future.done():
                continue
            entry = self._best(pools)
            if entry is None:
                unmatched.append((pools, worker, future))
                continue
            future.set_result(self._hold(entry[2], worker))
        self._claimants.extendleft(reversed(unmatched))

    def _best(self, pools: frozenset[str]) -> _Entry | None:
        """Take the best runnable entry of some pools; entries whose key is busy are parked until it is free."""
        while True:
            queues = [queue for pool in pools if (queue := self._queues.get(pool))]
            if not queues:
                return None
            entry = heapq.heappop(min(queues, key=lambda queue: queue[0][:2]))
            assignment = entry[2]
            if not self._is_offered(assignment):
                continue
            key = assignment.key
            if key is not None and not self._has_room(key, assignment.key_limit):
                self._parked[key].append(entry)
                continue
            return entry

    def _is_offered(self, assignment: Assignment) -> bool:
        return self._offered.get((assignment.execution_id, assignment.attempt)) is assignment

    def _has_room(self, key: str, limit: int) -> bool:
        running = self._running_by_key.get(key)
        return running is None or running.total() < limit

    def _hold(self, assignment: Assignment, worker: str) -> Claim:
        claim = Claim(assignment, worker)
        del self._offered[_key(claim)]
        self._held[_key(claim)] = claim
        self._holders[assignment.execution_id] = claim
        if assignment.key is not None:
            self._running_by_key[assignment.key][assignment.tenant] += 1
        return claim

    def _release(self, claim: Claim) -> None:
        assignment = claim.assignment
        del self._held[_key(claim)]
        self._holders.pop(assignment.execution_id, None)
        if assignment.key is None:
            return
        running = self._running_by_key[assignment.key]
        running[assignment.tenant] -= 1
        if not running[assignment.tenant]:
            del running[assignment.tenant]
        if not running:
            del self._running_by_key[assignment.key]
        self._unpark(assignment.key)

    def _unpark(self, key: str) -> None:
        """Let one of those that wait for a key go on."""
        # What was withdrawn meanwhile must not take the place of one that goes on waiting.
        parked = [entry for entry in self._parked.pop(key, []) if self._is_offered(entry[2])]
        if not parked:
            return
        running = self._running_by_key.get(key, Counter())
        following = min(parked, key=lambda entry: (running[entry[2].tenant], *entry[:2]))
        self._push(following)
        if len(parked) > 1:
            self._parked[key] = [entry for entry in parked if entry is not following]

    def _put_back(self, claim: Claim) -> None:
        self._release(claim)
        self._offered[_key(claim)] = claim.assignment
        self._push((-claim.assignment.priority, -1, claim.assignment))
        self._match()

    def _remember(self, key: _Key) -> None:
        if len(self._done) == self._done.maxlen:
            self._done_keys.discard(self._done[0])
        self._done.append(key)
        self._done_keys.add(key)


def _key(claim: Claim) -> _Key:
    return claim.assignment.execution_id, claim.assignment.attempt
