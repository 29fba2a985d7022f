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
from runyard.infrastructure.costs.estimate import Estimate
from runyard.infrastructure.costs.table import Prices
from runyard.infrastructure.plans import store
from runyard.infrastructure.plans.applying import outcomes
from runyard.infrastructure.plans.attributes import attributes_of
from runyard.infrastructure.plans.drawing import Schemas
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
from runyard.kernel.jsons import encode_json

BATCH: Final = 500
"""Rows of one transaction, and entries decoded at a time."""
WALKED: Final = 200
"""Resources that are read with their documents at a time: other requests wait meanwhile."""
MAX_PAGE: Final = 1000
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

    async def ingest(self, subject: Subject, show_json: Path, secrets: Sequence[str] = ()) -> PlanSummary:
        """Read what `show -json` wrote for a run and keep it, masked; again for the same run replaces it.
        `secrets` are values to hide wherever they are. Raises PlanUnreadable: nothing is kept then.
        """
        file = await asyncio.to_thread(PlanFile, show_json, secrets)
        outputs = await asyncio.to_thread(file.outputs)
        summary = PlanSummary(
            run_id=str(subject.run_id),
            task_id=str(subject.task_id),
            workspace_id=str(subject.workspace_id),
            terraform_version=file.terraform_version[:64],
            outputs=outputs,
            output_changes=sum(one.action != Action.NO_OP for one in outputs),
            errored=file.errored,
            created_at=self._now(),
        )
        async with self._database.transaction() as tx:
            await store.begin(tx, subject, summary, file.variables())
        tally = _Tally(self._prices)
        await self._write(subject.run_id, store.CHANGE, tally.counted(file.resources()))
        drift = await self._write(subject.run_id, store.DRIFT, file.drift())
        summary = msgspec.structs.replace(
            summary,
            counts=tally.counts(),
            drift=drift,
            imported=tally.imported,
            moved=tally.moved,
            has_changes=_has_changes(file, tally, summary.output_changes),
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

    async def put_estimate(self, summary: PlanSummary, estimate: Estimate) -> PlanSummary:
        """Put the prices of an estimate in the place of those of the table."""
        places = await self._places(summary.run_id)
        costs = [(at, cost) for address, cost in estimate.resources.items() for at in places.get(address, ())]
        for part in _parts(costs, BATCH):
            async with self._database.transaction() as tx:
                await store.set_costs(tx, summary.run_id, part)
        cost = Cost(before=estimate.before, after=estimate.after, source=estimate.source[:64])
        return await self._put_cost(summary, cost)

    async def note_cost(self, summary: PlanSummary, note: str) -> PlanSummary:
        """Say why the costs are no better."""
        return await self._put_cost(summary, msgspec.structs.replace(summary.cost, note=note[:512]))

    async def _put_cost(self, summary: PlanSummary, cost: Cost) -> PlanSummary:
        changed = msgspec.structs.replace(summary, cost=cost)
        async with self._database.transaction() as tx:
            await store.finish(tx, changed)
        return changed

    async def summary(self, scope: Scope, run_id: str) -> PlanSummary:
        """Return the plan of a run. Raises PlanNotFound."""
        return await self._found(scope, plans.c.run_id == run_id)

    async def of_run(self, run_id: str) -> PlanSummary:
        """Return the plan of a run for the server itself. Raises PlanNotFound."""
        return await self._found(None, plans.c.run_id == run_id)

    async def exists(self, scope: Scope, run_id: str) -> bool:
        """Tell whether there is a plan of a run: one that failed, or is still being made, has none."""
        async with self._database.read() as tx:
            return await store.find(tx, scope, plans.c.run_id == run_id) is not None

    async def of_task(self, scope: Scope, task_id: str) -> PlanSummary:
        """Return the plan that an execution made. Raises PlanNotFound."""
        return await self._found(scope, plans.c.task_id == task_id)

    async def _found(self, scope: Scope | None, wanted: Any) -> PlanSummary:  # noqa: ANN401  a condition on `plans`
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
        """Return the plan in pieces as JSON in the form of `show -json`, masked, without what repeats the changes.
        Raises PlanNotFound.
        """
        return self.pieces(await self.summary(scope, run_id))

    async def drawable(self, scope: Scope, run_id: str) -> AsyncIterator[bytes]:
        """Return the same in the form from which Terraform draws a plan for people. Raises PlanNotFound."""
        return self._drawable(await self.summary(scope, run_id))

    async def _drawable(self, summary: PlanSummary) -> AsyncIterator[bytes]:
        schemas = Schemas()
        for kind in (store.CHANGE, store.DRIFT):
            async for batch in self.walk(summary.run_id, kind):
                for one in batch:
                    schemas.note(one.change)
        yield encode_json(schemas.document())[:-1]
        opening = b","
        async for piece in self.pieces(summary):
            yield opening + piece[1:] if opening else piece
            opening = b""

    async def pieces(self, summary: PlanSummary) -> AsyncIterator[bytes]:
        """Yield the pieces of that document."""
        run_id = summary.run_id
        async with self._database.read() as tx:
            variables = await store.variables_of(tx, run_id)
        head = {
            "format_version": "1.2",
            "terraform_version": summary.terraform_version,
            "errored": summary.errored,
            "variables": {name: {"value": value} for name, value in variables.items()},
            "output_changes": {one.name: _output(one) for one in summary.outputs},
        }
        yield encode_json(head)[:-1]
        for member, kind in (("resource_changes", store.CHANGE), ("resource_drift", store.DRIFT)):
            yield b',"%s":[' % member.encode()
            between = b""
            async for batch in self.walk(run_id, kind):
                yield between + b",".join(encode_json(one.change) for one in batch)
                between = b","
            yield b"]"
        yield b"}"

    async def mark_applied(self, run_id: str, lines: Iterable[bytes]) -> Mapping[str, int]:
        """Set a status on each resource from the lines of `apply -json`; return how many got each."""
        told = outcomes(lines)
        places = await self._places(run_id)
        totals: dict[str, int] = {}
        for status in sorted(set(told.values())):
            positions = [
                at for address, one in told.items() if one == status for at in places.get(address, ())
            ]
            totals[status] = len(positions)
            for part in _parts(positions, BATCH):
                async with self._database.transaction() as tx:
                    await store.set_status(tx, run_id, part, status)
        return totals

    async def _places(self, run_id: str) -> Mapping[str, Sequence[int]]:
        async with self._database.scan() as tx:
            return await store.places(tx, run_id)

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
            batch = await store.after(tx, self._run_id, self._kind, self._position, WALKED)
        if not batch:
            raise StopAsyncIteration
        self._position = batch[-1].position
        return batch


class _Tally:
    """Counts actions and adds up costs while resources pass by."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._counts: dict[str, int] = {}
        self._before = self._after = 0.0
        self._unpriced = 0
        self.imported = self.moved = 0

    def counted(self, entries: Iterator[PlannedResource]) -> Iterator[PlannedResource]:
        for entry in entries:
            name = entry.action.value.replace("-", "_")
            self._counts[name] = self._counts.get(name, 0) + 1
            self.imported += "importing" in entry.change["change"]
            self.moved += "previous_address" in entry.change
            before, after = self._month(entry, "before"), self._month(entry, "after")
            if before is None and after is None:
                self._unpriced += entry.mode == "managed"
                yield entry
                continue
            self._before += before or 0.0
            self._after += after or 0.0
            yield msgspec.structs.replace(entry, cost_before=before, cost_after=after)

    def _month(self, entry: PlannedResource, when: str) -> float | None:
        value = entry.change["change"][when]
        if value is None or entry.mode != "managed" or entry.type not in self._prices.types:
            return None
        return self._prices.month(entry.type, attributes_of(entry.type, value))

    def counts(self) -> Counts:
        return Counts(**self._counts)

    def cost(self) -> Cost:
        note = f"{self._unpriced} resources have no known price" if self._unpriced else ""
        return Cost(before=round(self._before, 4), after=round(self._after, 4), note=note)


def _has_changes(file: PlanFile, tally: _Tally, outputs: int) -> bool:
    """Tell whether an apply would do anything. A resource that is only moved or imported is a no-op to be applied."""
    if file.applyable is not None:
        return file.applyable
    return bool(tally.counts().changing or outputs or tally.imported or tally.moved)


def _output(one: PlannedOutput) -> dict[str, Any]:
    return {
        "actions": [one.action],
        "before": one.before,
        "after": one.value,
        "after_unknown": one.unknown,
        "before_sensitive": one.sensitive,
        "after_sensitive": one.sensitive,
    }


def _take(rows: Iterator[T]) -> list[T]:
    return list(itertools.islice(rows, BATCH))


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
