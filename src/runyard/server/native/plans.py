"""Plans and verdicts over the native API: their routes, handlers and shapes."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from runyard.dialects.door import Call, Route
from runyard.dialects.streaming import send_pieces
from runyard.identity.model import Permission
from runyard.infrastructure.guardrails.model import Verdict
from runyard.infrastructure.plans.model import PlanSummary
from runyard.server.house import House
from runyard.server.native.declaring import route
from runyard.server.native.replies import send_json


class CostOut(msgspec.Struct, kw_only=True):
    """Dollars a month."""

    before: float
    after: float
    source: str
    """`table`, or the name that the external estimator gives itself."""
    note: str
    """What kept the estimate from being better."""


class OutputOut(msgspec.Struct, kw_only=True):
    """An output value as the plan would leave it, masked."""

    name: str
    action: str
    value: Any
    sensitive: bool
    unknown: bool


class PlanOut(msgspec.Struct, kw_only=True):
    """What a run planned."""

    run_id: str
    task_id: str
    terraform_version: str
    counts: dict[str, int]
    """Resources by planned action."""
    drift: int
    """Resources that are not any more as the state has them."""
    imported: int
    moved: int
    has_changes: bool
    """An apply would change a resource, an output, or what the state says."""
    cost: CostOut
    outputs: list[OutputOut]
    created_at: datetime


class RuleResultOut(msgspec.Struct, kw_only=True):
    """What one rule found in all."""

    rule_id: str
    rule_name: str
    type: str
    severity: str
    violations: int


class ViolationOut(msgspec.Struct, kw_only=True):
    """Something that a rule forbids; without an address it is about the plan as a whole."""

    rule_id: str
    rule_name: str
    type: str
    severity: str
    address: str
    message: str


class VerdictOut(msgspec.Struct, kw_only=True):
    """What guardrails say of a plan."""

    run_id: str
    blocked: str
    """`none`, `flexible` or `strict`."""
    stops: bool
    """The run may not be applied as things are."""
    rules: list[RuleResultOut]
    """Every rule in scope, those that found nothing too."""
    violations: list[ViolationOut]
    """The first 200."""
    judged_at: datetime
    acknowledged_by: str | None
    acknowledged_at: datetime | None


class PlanHandlers:
    """What was planned and judged, by run."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._guards = house.infrastructure.guards

    async def summary(self, call: Call) -> None:
        """Tell what a run planned, without its resources."""
        found = await self._guards.plans.summary(call.caller.scope, call.params["run"])
        await send_json(call, plan_view(found))

    async def document(self, call: Call) -> None:
        """Send the masked plan in the form of `show -json`, as it is read from the database."""
        pieces = await self._guards.plans.document(call.caller.scope, call.params["run"])
        await send_pieces(call, None, pieces, [(b"content-type", b"application/json")])

    async def verdict(self, call: Call) -> None:
        """Tell what guardrails say of a plan."""
        found = await self._guards.judge.verdict(call.caller.scope, call.params["run"])
        await send_json(call, verdict_view(found))


def plan_view(one: PlanSummary) -> PlanOut:
    """Return a plan as the wire has it."""
    return PlanOut(
        run_id=one.run_id,
        task_id=one.task_id,
        terraform_version=one.terraform_version,
        counts=msgspec.structs.asdict(one.counts),
        drift=one.drift,
        imported=one.imported,
        moved=one.moved,
        has_changes=one.has_changes,
        cost=msgspec.convert(one.cost, CostOut, from_attributes=True),
        outputs=msgspec.convert(one.outputs, list[OutputOut], from_attributes=True),
        created_at=one.created_at,
    )


def verdict_view(one: Verdict) -> VerdictOut:
    """Return a verdict as the wire has it."""
    return VerdictOut(
        run_id=one.run_id,
        blocked=one.blocked.value,
        stops=one.stops,
        rules=[
            RuleResultOut(
                rule_id=rule.rule_id,
                rule_name=rule.rule_name,
                type=rule.type.value,
                severity=rule.severity.name.lower(),
                violations=rule.violations,
            )
            for rule in one.rules
        ],
        violations=[
            ViolationOut(
                rule_id=found.rule_id,
                rule_name=found.rule_name,
                type=found.type.value,
                severity=found.severity.name.lower(),
                address=found.address,
                message=found.message,
            )
            for found in one.violations
        ],
        judged_at=one.judged_at,
        acknowledged_by=one.acknowledged_by,
        acknowledged_at=one.acknowledged_at,
    )


def plan_routes(h: PlanHandlers) -> Iterator[Route]:
    """Yield the operations."""
    read: dict[str, Any] = {"permission": Permission.WORKSPACES_READ, "tags": ["runs"]}
    run = "/runs/{run}"
    yield route(
        "GET", f"{run}/plan", "getPlan", "Tell what a run planned, without its resources.",
        handler=h.summary, response=PlanOut, **read,
    )  # fmt: skip
    yield route(
        "GET", f"{run}/plan/json", "getPlanJson", "Send the masked plan in the form of `show -json`.",
        handler=h.document, response=bytes, **read,
    )  # fmt: skip
    yield route(
        "GET", f"{run}/guardrails", "getVerdict", "Tell what guardrails say of the plan of a run.",
        handler=h.verdict, response=VerdictOut, **read,
    )  # fmt: skip
