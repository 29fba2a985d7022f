"""Reading scope and criteria as clients send them. Owns what is refused, in the published words, and what is normalized."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from runyard.infrastructure.guardrails.model import Criteria, RuleScope, RuleType, TagMode
from runyard.infrastructure.policies.model import LEVELS
from runyard.kernel.errors import InvalidArgument

Document = Mapping[str, Any]
DIMENSIONS: Final = ("workspaces", "repositories", "branches", "labels")
ACTIONS: Final = ("create", "update", "delete", "replace", "read", "no-op", "forget")
MAX_PATTERNS: Final = 500
MAX_PATTERN: Final = 1024
_WORD: Final = re.compile(r"[A-Z]?[a-z]+")
_EVERYTHING: Final[Document] = {name: {"include": ["*"]} for name in DIMENSIONS}


def title(field: str) -> str:
    """Write a member's name as the published messages do: `assetTypes` is `Asset Types`."""
    return " ".join(word.capitalize() for word in _WORD.findall(field))


def read_scope(document: Document | None) -> tuple[RuleScope, Document]:
    """Return a scope and what to echo of it. None means everything. Raises InvalidArgument."""
    if document is None:
        document = _EVERYTHING
    kept: dict[str, Any] = {}
    for name in DIMENSIONS:
        kept[name] = _selection(document.get(name), name)
    return msgspec.convert(kept, RuleScope), kept


def read_criteria(kind: RuleType, document: Document | None) -> tuple[Criteria, Document]:
    """Return criteria and what to echo of them; a rule may have none, and then finds nothing. Raises InvalidArgument."""
    given = {name: value for name, value in (document or {}).items() if value is not None}
    if not given:
        return Criteria(), {}
    if list(given) != [kind.value]:
        raise InvalidArgument(f"Criteria is not valid: expected one member that is named {kind.value}")
    inner = given[kind.value]
    if not isinstance(inner, Mapping):
        raise InvalidArgument(f"{title(kind.value)} is not valid: expected an object")
    kept = {name: value for name, value in _READERS[kind](inner).items() if value is not None}
    try:
        return msgspec.convert({kind.value: kept}, Criteria), {kind.value: kept}
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"Criteria is not valid: {error}") from None


def _selection(value: Any, field: str) -> dict[str, Any]:  # noqa: ANN401  any JSON
    if value is None:
        raise InvalidArgument(f"{title(field)} is required")
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{title(field)} is not valid: expected include and exclude")
    kept = {}
    for name in ("include", "exclude"):
        if value.get(name) is not None:
            kept[name] = _texts(value[name], field)
    return kept


def _texts(value: Any, field: str) -> list[str]:  # noqa: ANN401  any JSON
    fits = isinstance(value, list) and all(isinstance(one, str) for one in value)
    if not fits:
        raise InvalidArgument(f"{title(field)} is not valid: expected a list of texts")
    if len(value) > MAX_PATTERNS or any(len(one) > MAX_PATTERN for one in value):
        raise InvalidArgument(
            f"{title(field)} is not valid: at most {MAX_PATTERNS} entries of {MAX_PATTERN} characters"
        )
    if any("\0" in one for one in value):
        raise InvalidArgument(f"{title(field)} is not valid: a NUL character is in it")
    return list(value)


def _cost(given: Document) -> dict[str, Any]:
    kept = {name: _amount(given, name) for name in ("thresholdAmount", "thresholdPercentage")}
    if all(value is None for value in kept.values()):
        raise InvalidArgument("Threshold Amount is required")
    return kept


def _amount(given: Document, field: str) -> float | None:
    value = given.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InvalidArgument(f"{title(field)} is not valid: expected a number that is not negative")
    return value


def _policy(given: Document) -> dict[str, Any]:
    level = given.get("severity")
    if isinstance(level, int) and not isinstance(level, bool) and 1 <= level <= len(LEVELS):
        level = LEVELS[level - 1]
    if level is not None and (not isinstance(level, str) or level.lower() not in LEVELS):
        raise InvalidArgument(f"Severity is not valid: one of {', '.join(LEVELS)}")
    chosen = given.get("policies")
    return {
        "severity": level,
        "policies": None if chosen is None else _selection(chosen, "policies"),
    }


def _resource(given: Document) -> dict[str, Any]:
    actions = _texts(given.get("actions") or [], "actions")
    wrong = [one for one in actions if one not in ACTIONS]
    if wrong:
        raise InvalidArgument(f"Actions is not valid: one of {', '.join(ACTIONS)}")
    specific = given.get("specificResources")
    return {
        "actions": actions if given.get("actions") is not None else None,
        "specificResources": None if specific is None else _texts(specific, "specificResources"),
        "regions": _selection(given.get("regions"), "regions"),
        "assetTypes": _selection(given.get("assetTypes"), "assetTypes"),
    }


def _tag(given: Document) -> dict[str, Any]:
    mode = given.get("tagEnforcementMode")
    if not mode:
        raise InvalidArgument("Tag Enforcement Mode is required")
    if mode not in list(TagMode):
        raise InvalidArgument(f"Tag Enforcement Mode is not valid: one of {', '.join(TagMode)}")
    tags, values = given.get("requiredTags"), given.get("requiredValues")
    if mode == TagMode.REQUIRED_TAGS and not tags:
        raise InvalidArgument("Required Tags is required")
    return {
        "tagEnforcementMode": mode,
        "requiredTags": None if tags is None else _texts(tags, "requiredTags"),
        "requiredValues": None if values is None else _values(values),
    }


def _values(given: Any) -> dict[str, list[str]]:  # noqa: ANN401  any JSON
    if not isinstance(given, Mapping):
        raise InvalidArgument("Required Values is not valid: expected lists of texts by tag")
    return {
        name: _texts([value] if isinstance(value, str) else value, "requiredValues")
        for name, value in given.items()
    }


_READERS: Final = {
    RuleType.COST: _cost,
    RuleType.POLICY: _policy,
    RuleType.RESOURCE: _resource,
    RuleType.TAG: _tag,
}


def intersects(asked: Sequence[str], patterns: Sequence[str]) -> bool:
    """Tell whether a filter of a search names one of the patterns of a rule."""
    return not asked or not set(asked).isdisjoint(patterns)
