"""Estimates of external estimators. Owns the two forms that are understood; asks nobody.

Ours: `{"before": 10, "after": 12.5, "source": "name", "resources": {"ADDRESS": {"before": 0, "after": 2.5}}}`.
The other is the report of Infracost: totals as texts, and resources by name below `projects`.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from runyard.infrastructure.costs.errors import BadEstimate

_SOURCE: Final = "estimator"


class ResourceCost(msgspec.Struct, frozen=True):
    """What one resource costs in a month, before and after; None when it does not exist then."""

    before: float | None = None
    after: float | None = None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What an estimator says of a plan, in dollars a month."""

    before: float
    after: float
    source: str = _SOURCE
    resources: Mapping[str, ResourceCost] = {}
    """By address."""


def parse(content: bytes) -> Estimate:
    """Read an estimate in either form. Raises BadEstimate."""
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadEstimate(f"the estimate is not valid JSON: {error}") from None
    if not isinstance(document, Mapping):
        raise BadEstimate("the estimate must be a JSON object")
    found = _infracost(document) if "totalMonthlyCost" in document else _own(document)
    numbers = [found.before, found.after]
    numbers += [
        cost for one in found.resources.values() for cost in (one.before, one.after) if cost is not None
    ]
    if any(not math.isfinite(number) or number < 0 for number in numbers):
        raise BadEstimate("a cost must be a number that is not negative")
    return found


def _own(document: Mapping[str, Any]) -> Estimate:
    try:
        return msgspec.convert(document, Estimate)
    except msgspec.ValidationError as error:
        raise BadEstimate(f"the estimate is not valid: {error}") from None


def _infracost(document: Mapping[str, Any]) -> Estimate:
    resources: dict[str, ResourceCost] = {}
    projects = document.get("projects")
    for project in projects if isinstance(projects, list) else []:
        if not isinstance(project, Mapping):
            continue
        past, now = _breakdown(project.get("pastBreakdown")), _breakdown(project.get("breakdown"))
        for name in past.keys() | now.keys():
            resources[name] = ResourceCost(past.get(name), now.get(name))
    after = _money(document.get("totalMonthlyCost"))
    past_total = document.get("pastTotalMonthlyCost")
    return Estimate(before=_money(past_total), after=after, source="infracost", resources=resources)


def _breakdown(value: Any) -> dict[str, float]:  # noqa: ANN401  any JSON
    entries = value.get("resources") if isinstance(value, Mapping) else None
    found: dict[str, float] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            found[entry["name"]] = _money(entry.get("monthlyCost"))
    return found


def _money(value: Any) -> float:  # noqa: ANN401  any JSON
    if value is None:
        return 0.0
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BadEstimate(f"{str(value)[:64]!r} is not an amount") from None
