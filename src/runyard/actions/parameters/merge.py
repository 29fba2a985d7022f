"""One schema out of two. Owns how an action refines the parameters of its runner; checks no value."""

from collections.abc import Mapping
from typing import Final

from runyard.actions.errors import InvalidMetadata
from runyard.actions.model import Action, RunnerType
from runyard.actions.values import Json, JsonObject

OVERRIDABLE: Final = frozenset({"default", "description", "enum", "immutable", "required"})
"""What an action may say anew about a parameter of its runner; anything else must be the same or left out."""


def merge_parameters(runner: RunnerType, action: Action) -> dict[str, JsonObject]:
    """Return the schema of every parameter: the runner's, refined by the action, and the action's own.

    Raises InvalidMetadata when the action changes what only the runner may say.
    """
    merged: dict[str, JsonObject] = {name: dict(schema) for name, schema in runner.runner_parameters.items()}
    for name, schema in action.parameters.items():
        base = merged.get(name)
        merged[name] = dict(schema) if base is None else _refined(action.ref, name, base, schema)
    return merged


def _refined(ref: str, name: str, base: JsonObject, schema: JsonObject) -> JsonObject:
    for attribute, value in schema.items():
        if attribute not in OVERRIDABLE and not same(base.get(attribute), value):
            raise InvalidMetadata(
                f'The attribute "{attribute}" for the runner parameter "{name}" in action "{ref}" '
                "cannot be overridden."
            )
    return {**base, **schema}


def same(left: Json, right: Json) -> bool:
    """Compare as JSON does: a boolean is no number, and an absent attribute equals null only."""
    if isinstance(left, bool) is not isinstance(right, bool):
        return False
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def default_of(runner: RunnerType, action: Action, name: str) -> Json:
    """Return the default of a parameter: the action's unless it is null, then the runner's."""
    for schemas in (action.parameters, runner.runner_parameters):
        value = schemas.get(name, {}).get("default")
        if value is not None:
            return value
    return None
