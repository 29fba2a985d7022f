"""Events. Owns the event record and the in-process broker; knows neither tables nor what the topics mean.

The event rows are history and outbox at once: a row is written in the transaction that it describes, and
published after the commit. A subscriber that is too slow loses events and is told so; it then reads the rows.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to one subject."""

    account_id: str
    subject_kind: str
    """`execution`, `runtime`, `token`, ..."""
    subject_id: str
    type: str
    """A dotted name: `execution.started`."""
    actor: str
    at: datetime
    reason: str | None = None
    body: dict[str, Any] | None = None
    id: int | None = None
    """The position in the event table; None until the row is read back."""

    @property
    def topics(self) -> tuple[str, str, str]:
        """Name what it is published under: the subject, all subjects of its kind in the account, the account."""
        return (
            f"{self.subject_kind}:{self.subject_id}",
            f"{self.account_id}/{self.subject_kind}",
            self.account_id,
        )


class Subscription:
    """A bounded queue of events of some topics. Use as a context manager, then `await next()`."""

    __slots__ = ("_broker", "_capacity", "_events", "_lost", "_topics", "_waiter")

    def __init__(self, broker: "Broker", topics: tuple[str, ...], capacity: int) -> None:
        """Belong to a broker; made by `Broker.subscribe`."""
        self._broker = broker
        self._topics = topics
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._lost = 0
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        """Begin to receive."""
        self._broker.attach(self, self._topics)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop receiving."""
        self._broker.detach(self, self._topics)

    def push(self, event: Event) -> None:
        """Take an event, or count it as lost when the queue is full; never blocks the publisher."""
        if len(self._events) >= self._capacity:
            self._lost += 1
        else:
            self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take_lost(self) -> int:
        """Return how many events were lost since the last call; when not 0, read the rows again."""
        lost, self._lost = self._lost, 0
        return lost

    async def next(self) -> Event | None:
        """Wait for the next event; None means that events were lost (`take_lost` tells how many)."""
        while not self._events and not self._lost:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._events.popleft() if self._events else None


class Broker:
    """Publishes events to subscribers within this process; costs one dictionary look-up when nobody listens."""

    __slots__ = ("_by_topic",)

    def __init__(self) -> None:
        """Start without subscribers."""
        self._by_topic: dict[str, list[Subscription]] = {}

    def subscribe(self, *topics: str, capacity: int = 256) -> Subscription:
        """Prepare a subscription of topics (see `Event.topics`); it receives once entered."""
        return Subscription(self, topics, capacity)

    def attach(self, subscription: Subscription, topics: Iterable[str]) -> None:
        """Deliver these topics to a subscription."""
        for topic in topics:
            self._by_topic.setdefault(topic, []).append(subscription)

    def detach(self, subscription: Subscription, topics: Iterable[str]) -> None:
        """Stop delivering; idempotent."""
        for topic in topics:
            listening = self._by_topic.get(topic, [])
            if subscription in listening:
                listening.remove(subscription)
            if not listening:
                self._by_topic.pop(topic, None)

    def publish(self, event: Event) -> None:
        """Hand an event to everyone who listens to one of its topics, once each."""
        if not self._by_topic:
            return
        reached: list[Subscription] = []
        for topic in event.topics:
            for subscription in self._by_topic.get(topic, ()):
                if subscription not in reached:
                    reached.append(subscription)
                    subscription.push(event)
