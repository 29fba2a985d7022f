"""The dispatch contract: what every carrier must do, written once and run on each adapter in `ADAPTERS`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from runyard.executions.dispatch.embedded import EmbeddedCarrier
from runyard.executions.dispatch.port import Assignment, Carrier, Claim, OutputPart, Signal, SignalKind
from runyard.executions.model import Outcome, Status
from runyard.executions.output.model import Stream
from runyard.kernel.ids import ExecutionId

DONE = Outcome(status=Status.SUCCEEDED)
PATIENCE = 5.0


def assignment(name: str = "", **given: object) -> Assignment:
    """Return an assignment of a fresh execution; its document carries a name."""
    fields: dict[str, object] = {
        "execution_id": ExecutionId.new(),
        "runner": "test",
        "document": {"name": name},
    }
    return Assignment(**(fields | given))  # type: ignore[arg-type]


def name_of(claim: Claim) -> str:
    """Return the name in the document of what was claimed."""
    return str(claim.assignment.document["name"])


async def soon(work: Awaitable[Claim]) -> Claim:
    """Wait for a claim that must come."""
    return await asyncio.wait_for(work, PATIENCE)


async def nothing(carrier: Carrier, *pools: str) -> None:
    """Assert that no assignment can be claimed now."""
    task = asyncio.ensure_future(carrier.claim(pools or ("default",), "probe"))
    done, _ = await asyncio.wait([task], timeout=0.05)
    assert not done
    task.cancel()
    await asyncio.wait([task])


ADAPTERS: dict[str, Callable[[Callable[[OutputPart], None]], Carrier]] = {"embedded": EmbeddedCarrier}
"""How each adapter is made, given what takes the output."""


@pytest.fixture
def outputs() -> list[OutputPart]:
    """Collect the output that arrived."""
    return []


@pytest.fixture(params=sorted(ADAPTERS))
async def carrier(request: pytest.FixtureRequest, outputs: list[OutputPart]) -> AsyncIterator[Carrier]:
    """Make an empty carrier of each kind."""
    made = ADAPTERS[request.param](outputs.append)
    yield made
    await made.close()


async def test_claim_gets_the_whole_assignment(carrier: Carrier) -> None:
    made = assignment("x", priority=3, key="k", key_limit=2, document={"name": "x", "deep": {"a": [1, None]}})
    assert await carrier.offer(made)
    claim = await soon(carrier.claim(("default",), "w1"))
    assert (claim.assignment, claim.worker) == (made, "w1")


async def test_claim_before_the_offer_is_woken_by_it(carrier: Carrier) -> None:
    waiting = asyncio.ensure_future(carrier.claim(("default",), "w1"))
    await asyncio.sleep(0)
    await carrier.offer(assignment("late"))
    assert name_of(await soon(waiting)) == "late"


async def test_offer_of_one_attempt_twice_is_carried_once(carrier: Carrier) -> None:
    made = assignment("once")
    assert await carrier.offer(made)
    assert not await carrier.offer(made)
    claim = await soon(carrier.claim(("default",), "w1"))
    assert not await carrier.offer(made)
    await carrier.finished(claim, DONE)
    assert not await carrier.offer(made)
    await nothing(carrier)


async def test_offer_of_another_attempt_is_carried(carrier: Carrier) -> None:
    first = assignment("first")
    await carrier.offer(first)
    await carrier.finished(await soon(carrier.claim(("default",), "w1")), DONE)
    again = Assignment(execution_id=first.execution_id, attempt=2, runner="test", document={"name": "second"})
    assert await carrier.offer(again)
    assert name_of(await soon(carrier.claim(("default",), "w1"))) == "second"


async def test_claims_go_by_priority_then_by_age(carrier: Carrier) -> None:
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)):
        await carrier.offer(assignment(name, priority=priority))
    names = [name_of(await soon(carrier.claim(("default",), "w1"))) for _ in range(5)]
    assert names == ["b", "d", "a", "c", "e"]


async def test_pools_are_kept_apart(carrier: Carrier) -> None:
    await carrier.offer(assignment("blue", pool="blue"))
    await nothing(carrier, "green")
    await carrier.offer(assignment("green", pool="green"))
    assert name_of(await soon(carrier.claim(("green",), "w1"))) == "green"
    assert name_of(await soon(carrier.claim(("red", "blue"), "w1"))) == "blue"


async def test_key_at_its_limit_lets_others_pass_and_goes_on_when_free(carrier: Carrier) -> None:
    for name in ("k1", "k2", "k3"):
        await carrier.offer(assignment(name, key="lock", key_limit=1, priority=9))
    await carrier.offer(assignment("free"))
    first = await soon(carrier.claim(("default",), "w1"))
    assert name_of(first) == "k1"
    assert name_of(await soon(carrier.claim(("default",), "w1"))) == "free"
    await nothing(carrier)
    waiting = asyncio.ensure_future(carrier.claim(("default",), "w2"))
    await carrier.finished(first, DONE)
    second = await soon(waiting)
    assert name_of(second) == "k2"
    await carrier.finished(second, DONE)
    assert name_of(await soon(carrier.claim(("default",), "w2"))) == "k3"


async def test_key_with_a_limit_of_two_runs_two(carrier: Carrier) -> None:
    for name in ("a", "b", "c"):
        await carrier.offer(assignment(name, key="lock", key_limit=2))
    await soon(carrier.claim(("default",), "w1"))
    await soon(carrier.claim(("default",), "w1"))
    await nothing(carrier)


async def test_key_lets_the_tenant_go_first_who_has_the_fewest_at_work(carrier: Carrier) -> None:
    """A long line of one tenant keeps another one waiting for one end, not for all of them."""
    for name in ("a1", "a2", "a3", "a4", "b1", "b2"):
        await carrier.offer(assignment(name, key="lock", key_limit=2, tenant=name[0]))
    claims = [await soon(carrier.claim(("default",), "w")) for _ in range(2)]
    order = [name_of(one) for one in claims]
    while len(order) < 6:
        await nothing(carrier)
        await carrier.finished(claims.pop(0), DONE)
        claims.append(await soon(carrier.claim(("default",), "w")))
        order.append(name_of(claims[-1]))
    assert order == ["a1", "a2", "b1", "a3", "b2", "a4"]


async def test_key_is_not_kept_by_one_that_was_withdrawn_while_it_waited(carrier: Carrier) -> None:
    made = [assignment(name, key="lock") for name in ("first", "gone", "last")]
    for one in made:
        await carrier.offer(one)
    first = await soon(carrier.claim(("default",), "w"))
    await nothing(carrier)
    assert await carrier.withdraw(made[1].execution_id, 1)
    await carrier.finished(first, DONE)
    assert name_of(await soon(carrier.claim(("default",), "w"))) == "last"


async def test_key_goes_on_to_the_next_when_the_one_that_it_was_given_to_is_withdrawn(
    carrier: Carrier,
) -> None:
    """Between the end of one and the claim of the next all workers may be busy, and that one be canceled."""
    made = [assignment(name, key="lock") for name in ("first", "gone", "last")]
    for one in made:
        await carrier.offer(one)
    first = await soon(carrier.claim(("default",), "w"))
    await nothing(carrier)
    await carrier.finished(first, DONE)
    assert await carrier.withdraw(made[1].execution_id, 1)
    assert name_of(await soon(carrier.claim(("default",), "w"))) == "last"


async def test_withdraw_before_the_claim_and_not_after(carrier: Carrier) -> None:
    made, other = assignment("gone"), assignment("stays")
    await carrier.offer(made)
    await carrier.offer(other)
    assert await carrier.withdraw(made.execution_id, 1)
    assert not await carrier.withdraw(made.execution_id, 1)
    claim = await soon(carrier.claim(("default",), "w1"))
    assert name_of(claim) == "stays"
    assert not await carrier.withdraw(other.execution_id, 1)
    assert not await carrier.offer(made)


async def test_claim_given_up_loses_nothing(carrier: Carrier) -> None:
    given_up = asyncio.ensure_future(carrier.claim(("default",), "w1"))
    await asyncio.sleep(0)
    offered = asyncio.ensure_future(carrier.offer(assignment("kept")))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up, offered])
    if given_up.cancelled():
        assert name_of(await soon(carrier.claim(("default",), "w2"))) == "kept"


async def test_hold_is_alive_until_finished_and_ends_once(carrier: Carrier) -> None:
    await carrier.offer(assignment())
    claim = await soon(carrier.claim(("default",), "w1"))
    assert await carrier.alive(claim)
    assert await carrier.finished(claim, DONE)
    assert not await carrier.alive(claim)
    assert not await carrier.finished(claim, DONE)


async def test_signal_reaches_the_holder_only_while_it_holds(carrier: Carrier) -> None:
    made = assignment()
    await carrier.offer(made)
    cancel = Signal(made.execution_id, SignalKind.CANCEL, "enough")
    assert not await carrier.signal(cancel)
    claim = await soon(carrier.claim(("default",), "w1"))
    heard: AsyncIterator[Signal] = carrier.signals("w1")
    assert await carrier.signal(cancel)
    assert await asyncio.wait_for(anext(heard), PATIENCE) == cancel
    await carrier.finished(claim, DONE)
    assert not await carrier.signal(cancel)


async def test_output_arrives_in_order(carrier: Carrier, outputs: list[OutputPart]) -> None:
    execution_id = ExecutionId.new()
    parts = [OutputPart(execution_id, 1, Stream.STDOUT, offset, bytes([offset])) for offset in range(20)]
    for part in parts:
        await carrier.output(part)
    assert outputs == parts


async def test_ten_thousand_offers_are_each_claimed_once(carrier: Carrier) -> None:
    for number in range(10_000):
        await carrier.offer(assignment(str(number), priority=number % 3))
    assert carrier.waiting("default") == 10_000
    seen: set[str] = set()

    async def worker(name: str) -> None:
        while len(seen) < 10_000:
            claim = await soon(carrier.claim(("default",), name))
            assert claim.assignment.execution_id not in seen
            seen.add(claim.assignment.execution_id)
            await carrier.finished(claim, DONE)
            await asyncio.sleep(0)

    tasks = [asyncio.ensure_future(worker(f"w{number}")) for number in range(4)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(seen) == 10_000
    assert carrier.waiting("default") == 0


async def test_close_cancels_those_who_wait_and_refuses_offers(carrier: Carrier) -> None:
    waiting = asyncio.ensure_future(carrier.claim(("default",), "w1"))
    await asyncio.sleep(0)
    await carrier.close()
    await asyncio.wait([waiting], timeout=PATIENCE)
    assert waiting.cancelled()
    with pytest.raises(Exception, match="closed"):
        await carrier.offer(assignment())
