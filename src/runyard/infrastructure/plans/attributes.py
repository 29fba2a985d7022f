"""What rules and prices look at in a resource: its attributes, region and tags. Pure; knows nothing of rows.

`terraform_data` has no attributes of its own: an object in its `input` stands for them.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from runyard.infrastructure.plans.model import UNKNOWN

_CARRIER: Final = "terraform_data"
_TAGS: Final = ("tags", "tags_all", "labels")
Attributes = Mapping[str, Any]
_NONE: Final[Attributes] = {}


def attributes_of(resource_type: str, value: Any) -> Attributes:  # noqa: ANN401  any JSON
    """Return the attributes of a resource before or after a change; empty when it does not exist then."""
    if not isinstance(value, Mapping):
        return _NONE
    if resource_type == _CARRIER and isinstance(value.get("input"), Mapping):
        inner: Attributes = value["input"]
        return inner
    return value


def region_of(after: Attributes, before: Attributes, provider_region: str) -> str:
    """Return the region: of the resource after, before, else of its provider; empty when unknown."""
    for attributes in (after, before):
        for name in ("region", "location"):
            found = attributes.get(name)
            if isinstance(found, str) and found:
                return found
    return provider_region


class Tags(msgspec.Struct, frozen=True):
    """The tags that a resource will have, as far as the plan knows them."""

    values: Mapping[str, str]
    pending: frozenset[str] = frozenset()
    """Names whose value only the apply will tell."""
    open: bool = False
    """Only the apply will tell which names there are."""

    @property
    def names(self) -> frozenset[str]:
        """Return all names that are known to be there."""
        return self.pending | self.values.keys()

    def shown(self) -> dict[str, str]:
        """Return them for people."""
        return {**dict.fromkeys(self.pending, UNKNOWN), **self.values}


def tags_of(resource_type: str, after: Attributes, after_unknown: Any) -> Tags | None:  # noqa: ANN401
    """Return the tags of a resource; None for a type without tags.

    `tags`, `tags_all` and `labels` count; of one name in several, the first of them.
    """
    unknown = attributes_of(resource_type, after_unknown)
    values: dict[str, str] = {}
    pending: set[str] = set()
    has_any = is_open = False
    for attribute in reversed(_TAGS):
        value, later = after.get(attribute), unknown.get(attribute)
        if attribute not in after and not later:
            continue
        has_any = True
        is_open = is_open or later is True
        if isinstance(later, Mapping):
            pending |= {str(name) for name, flag in later.items() if flag is True}
        if isinstance(value, Mapping):
            values |= {str(name): _text(one) for name, one in value.items() if one is not None}
        elif isinstance(value, list):
            values |= {name: "" for name in value if isinstance(name, str)}
            values |= dict(_pair(one) for one in value if isinstance(one, Mapping) and "key" in one)
    return Tags(values, frozenset(pending), is_open) if has_any else None


def _pair(tag: Mapping[str, Any]) -> tuple[str, str]:
    return str(tag["key"]), _text(tag.get("value") or "")


def _text(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
