"""The broker: topics, order, slow subscribers, leaving."""

import asyncio

from runyard.kernel.clock import utc_now
from runyard.kernel.events import Broker, Event


def event(number: int, subject: str = "s") -> Event:
    return Event(
        account_id="acc",
        subject_kind="execution",
        subject_id=subject,
        type=f"t{number}",
        actor="me",
        at=utc_now(),
    )


async def test_broker_every_topic_reaches_its_subscribers_once() -> None:
    broker = Broker()
    with (
        broker.subscribe("execution:s", "acc/execution", "acc") as all_of_them,
        broker.subscribe("execution:other") as other,
    ):
        broker.publish(event(1))
        broker.publish(event(2, "other"))
        got = [await all_of_them.next(), await all_of_them.next()]
        assert [found.type for found in got if found] == ["t1", "t2"]
        alone = await other.next()
        assert alone is not None
        assert alone.type == "t2"
        waiting = asyncio.ensure_future(all_of_them.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        broker.publish(event(3))
        third = await waiting
        assert third is not None
        assert third.type == "t3"


async def test_broker_slow_subscriber_is_told_of_its_loss_and_goes_on() -> None:
    broker = Broker()
    with broker.subscribe("acc", capacity=3) as slow:
        for number in range(10):
            broker.publish(event(number))
        kept = [await slow.next() for _ in range(3)]
        assert [found.type for found in kept if found] == ["t0", "t1", "t2"]
        assert await slow.next() is None
        assert slow.take_lost() == 7
        broker.publish(event(99))
        after = await slow.next()
        assert after is not None
        assert after.type == "t99"


async def test_broker_after_leaving_keeps_nothing() -> None:
    broker = Broker()
    with broker.subscribe("acc") as left:
        pass
    broker.publish(event(1))
    assert broker._by_topic == {}
    assert not left._events
