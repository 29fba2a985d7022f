"""Verbs of plans. Owns how a plan becomes rows: in pieces, so that neither memory nor a lock follows its size."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from runyard.database.engine import Database
from runyard.identity.model import Scope
from runyard.infrastructure.costs.estimate import Estimate, ResourceCost
from runyard.infrastructure.costs.table import Prices
from runyard.infrastructure.plans import store
from runyard.infrastructure.plans.applying import outcomes
from runyard.infrastructure.plans.attributes import attributes_of
from runyard.infrastructure.plans.errors import PlanNotFound
from runyard.infrastructure.plans.model import (
    Action,
    Cost,
    Counts,
    PlannedOutput,
    PlannedResource,
    PlanSummary,
    Subject,
)
from runyard.infrastructure.plans.reading import PlanFile
from runyard.infrastructure.plans.tables import plans
from runyard.kernel.clock import Now, utc_now

BATCH: Final = 500
"""Rows of one transaction, and entries decoded at a time."""
MAX_PAGE: Final = 1000
_STATUS_BATCH: Final = 200
_FORGET_AT_ONCE: Final = 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """How long plans are kept."""

    retention: timedelta | None = timedelta(days=90)
    """After that the resources of a plan are removed; its summary stays. None keeps them for ever."""


class PlanService:
    """The plans of all runs."""

    def __init__(self, database: Database, prices: Prices, options: PlanOptions, now: Now = utc_now) -> None:
        """Keep plans in a database and put prices on their resources."""
        self._database = database
        self._prices = prices
        self._options = options
        self._now = now

    async def ingest(
        self, subject: Subject, show_json: Path, secrets: Sequence[str] = (), estimate: Estimate | None = None
    ) -> PlanSummary:
        """Read what `show -json` wrote for a run and keep it, masked; again for the same run replaces it.
        `secrets` are values to hide wherever they are. Raises PlanUnreadable: nothing is kept then.
        """
        file = await asyncio.to_thread(PlanFile, show_json, secrets)
        summary = PlanSummary(
            run_id=subject.run_id,
            task_id=subject.task_id,
            workspace_id=subject.workspace_id,
            created_at=self._now(),
        )
        async with self._database.transaction() as tx:
            await store.begin(tx, subject, summary, file.variables())
        tally = _Tally(self._prices, estimate)
        changes = tally.counted(file.resources())
        await self._write(subject.run_id, store.CHANGE, changes)
        drift = await self._write(subject.run_id, store.DRIFT, file.drift())
        outputs = await asyncio.to_thread(file.outputs)
        changed_outputs = sum(one.action != Action.NO_OP for one in outputs)
        summary = msgspec.structs.replace(
            summary,
            terraform_version=file.terraform_version[:64],
            counts=tally.counts(),
            drift=drift,
            output_changes=changed_outputs,
            has_changes=bool(tally.counts().changing or changed_outputs),
            errored=file.errored,
            outputs=outputs,
            cost=tally.cost(),
        )
        async with self._database.transaction() as tx:
            await store.finish(tx, summary)
        return summary

    async def _write(self, run_id: str, kind: str, entries: Iterator[PlannedResource]) -> int:
        """Write entries in batches, each decoded in a thread and written in a transaction of its own."""
        rows = (store.resource_values(run_id, kind, one) for one in entries)
        written = 0
        while batch := await asyncio.to_thread(_take, rows):
            async with self._database.transaction() as tx:
                await store.add_resources(tx, batch)
            written += len(batch)
        return written

    async def summary(self, scope: Scope, run_id: str) -> PlanSummary:
        """Return the plan of a run. Raises PlanNotFound."""
        return await self._found(scope, plans.c.run_id == run_id)

    async def of_task(self, scope: Scope, task_id: str) -> PlanSummary:
        """Return the plan that an execution made. Raises PlanNotFound."""
        return await self._found(scope, plans.c.task_id == task_id)

    async def _found(self, scope: Scope, wanted: Any) -> PlanSummary:  # noqa: ANN401  a condition on `plans`
        async with self._database.read() as tx:
            found = await store.find(tx, scope, wanted)
        if found is None:
            raise PlanNotFound
        return found

    async def resources(
        self, scope: Scope, run_id: str, *, search: str = "", offset: int = 0, limit: int = 25
    ) -> Sequence[PlannedResource]:
        """List planned changes in the order of the plan, at most 1,000. `search` is a part of address, type, provider or
        region, in any case. Raises PlanNotFound.
        """
        return await self._page(scope, run_id, store.matching(run_id, store.CHANGE, search), offset, limit)

    async def drift(
        self, scope: Scope, run_id: str, *, offset: int = 0, limit: int = 25
    ) -> Sequence[PlannedResource]:
        """List what is not any more as the state has it. Raises PlanNotFound."""
        return await self._page(scope, run_id, store.matching(run_id, store.DRIFT), offset, limit)

    async def _page(
        self, scope: Scope, run_id: str, conditions: Sequence[Any], offset: int, limit: int
    ) -> Sequence[PlannedResource]:
        async with self._database.read() as tx:
            if await store.find(tx, scope, plans.c.run_id == run_id) is None:
                raise PlanNotFound
            return await store.page(tx, conditions, offset, min(limit, MAX_PAGE))

    def walk(self, run_id: str, kind: str = store.CHANGE) -> "ResourceWalk":
        """Return all resources of a plan with their documents, batch by batch; for the judge."""
        return ResourceWalk(self._database, run_id, kind)

    async def document(self, scope: Scope, run_id: str) -> AsyncIterator[bytes]:
        """Yield the plan as JSON in the form of `show -json`, masked, without what repeats the changes. Raises
        PlanNotFound before the first piece.
        """
        summary = await self.summary(scope, run_id)
        async with self._database.read() as tx:
            variables = await store.variables_of(tx, run_id)
        head = {
            "format_version": "1.2",
            "terraform_version": summary.terraform_version,
            "errored": summary.errored,
            "variables": {name: {"value": value} for name, value in variables.items()},
            "output_changes": {one.name: _output(one) for one in summary.outputs},
        }
        yield msgspec.json.encode(head)[:-1]
        for member, kind in (("resource_changes", store.CHANGE), ("resource_drift", store.DRIFT)):
            yield b',"%s":[' % member.encode()
            between = b""
            async for batch in self.walk(run_id, kind):
                yield between + b",".join(msgspec.json.encode(one.change) for one in batch)
                between = b","
            yield b"]"
        yield b"}"

    async def mark_applied(self, run_id: str, lines: Iterable[bytes]) -> Mapping[str, int]:
        """Set a status on each resource from the lines of `apply -json`; return how many got each."""
        told = outcomes(lines)
        totals: dict[str, int] = {}
        for status in sorted(set(told.values())):
            addresses = [address for address, one in told.items() if one == status]
            totals[status] = len(addresses)
            for part in _parts(addresses, _STATUS_BATCH):
                async with self._database.transaction() as tx:
                    await store.set_status(tx, run_id, part, status)
        return totals

    async def forget_old(self) -> int:
        """Remove the resources of plans beyond their retention, a few plans at a time; return how many plans."""
        if self._options.retention is None:
            return 0
        async with self._database.transaction() as tx:
            return await store.forget_before(tx, self._now() - self._options.retention, _FORGET_AT_ONCE)


class ResourceWalk:
    """The resources of one plan with their documents, in batches, each read by itself."""

    def __init__(self, database: Database, run_id: str, kind: str = store.CHANGE) -> None:
        """Begin before the first."""
        self._database = database
        self._run_id = run_id
        self._kind = kind
        self._position = -1

    def __aiter__(self) -> "ResourceWalk":
        """Iterate over batches."""
        return self

    async def __anext__(self) -> Sequence[PlannedResource]:
        """Read the next batch."""
        async with self._database.read() as tx:
            batch = await store.after(tx, self._run_id, self._kind, self._position, BATCH)
        if not batch:
            raise StopAsyncIteration
        self._position = batch[-1].position
        return batch


class _Tally:
    """Counts actions and adds up costs while resources pass by."""

    def __init__(self, prices: Prices, estimate: Estimate | None) -> None:
        self._prices = prices
        self._estimate = estimate
        self._counts: dict[str, int] = {}
        self._before = self._after = 0.0
        self._unpriced = 0

    def counted(self, entries: Iterator[PlannedResource]) -> Iterator[PlannedResource]:
        for entry in entries:
            name = entry.action.value.replace("-", "_")
            self._counts[name] = self._counts.get(name, 0) + 1
            cost = self._costs(entry)
            if cost is None:
                self._unpriced += entry.mode == "managed"
                yield entry
                continue
            self._before += cost.before or 0.0
            self._after += cost.after or 0.0
            yield msgspec.structs.replace(entry, cost_before=cost.before, cost_after=cost.after)

    def _costs(self, entry: PlannedResource) -> ResourceCost | None:
        if self._estimate is not None:
            return self._estimate.resources.get(entry.address)
        if entry.mode != "managed" or entry.type not in self._prices.types:
            return None
        change = entry.change["change"]
        before, after = (
            None
            if change[when] is None
            else self._prices.month(entry.type, attributes_of(entry.type, change[when]))
            for when in ("before", "after")
        )
        return None if before is None and after is None else ResourceCost(before, after)

    def counts(self) -> Counts:
        return Counts(**self._counts)

    def cost(self) -> Cost:
        note = f"{self._unpriced} resources have no known price" if self._unpriced else ""
        if self._estimate is not None:
            known = self._estimate
            return Cost(before=known.before, after=known.after, source=known.source, note=note)
        return Cost(before=round(self._before, 4), after=round(self._after, 4), note=note)


def _output(one: PlannedOutput) -> dict[str, Any]:
    return {
        "actions": [one.action],
        "after": one.value,
        "after_unknown": one.unknown,
        "after_sensitive": one.sensitive,
    }


def _take(rows: Iterator[T]) -> list[T]:
    return list(itertools.islice(rows, BATCH))


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
