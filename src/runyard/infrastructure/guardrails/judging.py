"""Judging of resources and costs. Owns what each kind of criteria means; pure. Policies are judged elsewhere."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from runyard.infrastructure.guardrails.model import (
    CostCriteria,
    Guardrail,
    ResourceCriteria,
    TagCriteria,
    TagMode,
)
from runyard.infrastructure.guardrails.wildcards import matches
from runyard.infrastructure.plans.attributes import Tags, attributes_of, tags_of
from runyard.infrastructure.plans.model import Action, Cost, PlannedResource

GONE: Final = frozenset({Action.DELETE, Action.FORGET})
"""Actions after which there is nothing left that could have tags or break a policy."""
_CENT: Final = 0.005


def cost_message(criteria: CostCriteria, cost: Cost) -> str | None:
    """Say how a plan costs too much; None when it does not. Becoming cheaper never does."""
    change = cost.change
    if change < _CENT:
        return None
    amount, percentage = criteria.threshold_amount, criteria.threshold_percentage
    if amount is not None and change > amount:
        return f"the plan adds ${change:,.2f} a month, more than ${amount:,.2f}"
    if percentage is None:
        return None
    if cost.before < _CENT:
        return f"the plan adds ${change:,.2f} a month to nothing, more than {percentage:g} %"
    grown = 100 * change / cost.before
    if grown <= percentage:
        return None
    return f"the plan makes a month {grown:,.1f} % dearer (${change:,.2f}), more than {percentage:g} %"


def looks_at(rule: Guardrail, resource: PlannedResource) -> bool:
    """Tell whether a rule looks at a resource at all."""
    return resource.action is not Action.NO_OP or rule.enforce_on_no_op


def resource_message(criteria: ResourceCriteria, resource: PlannedResource) -> str | None:
    """Say how a planned action is forbidden; None when it is not."""
    if criteria.actions and resource.action.means.isdisjoint(criteria.actions):
        return None
    if criteria.specific_resources and not _is_specific(criteria.specific_resources, resource):
        return None
    if not criteria.regions.has(resource.region) or not criteria.asset_types.has(resource.type):
        return None
    where = f" in {resource.region}" if resource.region else ""
    return f"{resource.action.value} of {resource.address}{where} is not allowed"


def _is_specific(patterns: Sequence[str], resource: PlannedResource) -> bool:
    """Tell whether a pattern fits the address, with or without the modules before it, or the type."""
    inside = resource.address.removeprefix(f"{resource.module}.") if resource.module else resource.address
    names = (resource.address, inside, resource.type)
    return any(matches(pattern, name) for pattern in patterns for name in names)


def tag_message(criteria: TagCriteria, resource: PlannedResource) -> str | None:
    """Say which tags are missing; None when none is, or when the resource can have no tags."""
    if resource.mode != "managed" or resource.action in GONE:
        return None
    change = resource.change["change"]
    after = attributes_of(resource.type, change["after"])
    tags = tags_of(resource.type, after, change["after_unknown"])
    if tags is None or tags.open:
        return None
    return _TAG_CHECKS[criteria.tag_enforcement_mode](criteria, tags, resource.address)


def _any_tags(criteria: TagCriteria, tags: Tags, address: str) -> str | None:
    del criteria
    return None if tags.names else f"{address} has no tags"


def _required_tags(criteria: TagCriteria, tags: Tags, address: str) -> str | None:
    missing = [
        wanted for wanted in criteria.required_tags if not any(matches(wanted, name) for name in tags.names)
    ]
    return f"{address} lacks the tags {', '.join(missing)}" if missing else None


def _required_values(criteria: TagCriteria, tags: Tags, address: str) -> str | None:
    wrong = [
        name
        for name, allowed in criteria.required_values.items()
        if name not in tags.pending and not _is_allowed(tags.values.get(name), allowed)
    ]
    if wrong:
        return f"{address} lacks an allowed value of the tags {', '.join(wrong)}"
    return _required_tags(criteria, tags, address)


def _is_allowed(value: str | None, allowed: Sequence[str]) -> bool:
    return value is not None and (not allowed or any(matches(one, value) for one in allowed))


_TAG_CHECKS: Final[Mapping[TagMode, Callable[[TagCriteria, Tags, str], str | None]]] = {
    TagMode.ANY_TAGS: _any_tags,
    TagMode.REQUIRED_TAGS: _required_tags,
    TagMode.REQUIRED_VALUES: _required_values,
}


def messages(rule: Guardrail, resources: Sequence[PlannedResource]) -> Iterator[tuple[PlannedResource, str]]:
    """Yield each resource that a rule of the types resource and tag forbids, with a message."""
    criteria = rule.criteria
    for resource in resources:
        if not looks_at(rule, resource):
            continue
        message = None
        if criteria.resource is not None:
            message = resource_message(criteria.resource, resource)
        elif criteria.tag is not None:
            message = tag_message(criteria.tag, resource)
        if message is not None:
            yield resource, message


def policy_input(resource: PlannedResource) -> Mapping[str, Any] | None:
    """Return what a policy sees of a resource, masked as it is kept; None when it looks at none such. Published policies
    find its attributes below `configuration` or, as those of the console do, beside what else there is.
    """
    if resource.mode != "managed" or resource.action in GONE:
        return None
    attributes = resource.change["change"]["after"] or {}
    return {
        **attributes,
        "resource_type": resource.type,
        "configuration": attributes,
        "action": "create" if resource.action is Action.REPLACE else resource.action.value,
        "actions": resource.change["change"]["actions"],
        "address": resource.address,
    }
