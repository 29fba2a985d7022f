"""What an action takes. Owns the checked and prepared schema of its parameters; renders nothing.

Prepared once for an action and its runner, used for every execution.
"""

from collections.abc import Mapping

from runyard.actions.dialect import BROKEN, checker
from runyard.actions.errors import InvalidParameters
from runyard.actions.model import Action, RunnerType
from runyard.actions.parameters.merge import default_of, merge_parameters
from runyard.actions.parameters.texts import holds_template
from runyard.actions.values import Json, JsonObject


class Parameters:
    """The parameters of one action, ready to check, resolve and dispatch executions."""

    def __init__(self, runner: RunnerType, action: Action) -> None:
        """Merge and prepare. Raises InvalidMetadata when the action overrides what it may not."""
        self.runner = runner
        self.action = action
        self.schemas: Mapping[str, JsonObject] = merge_parameters(runner, action)
        """The effective schema of each parameter; shown by the parameter views."""
        names = [
            *action.parameters,
            *(name for name in runner.runner_parameters if name not in action.parameters),
        ]
        self.defaults: Mapping[str, Json] = {name: default_of(runner, action, name) for name in names}
        """The default of each parameter, null when it has none; the action's own parameters first."""
        self.templated = frozenset(n for n, default in self.defaults.items() if holds_template(default))
        """The parameters whose default is to be rendered."""
        self.immutable = frozenset(n for n, schema in self.schemas.items() if schema.get("immutable") is True)
        self._check = checker(self._schema()) if self.schemas else None

    def check(self, values: JsonObject) -> None:
        """Check what a caller gave, templates rendered. Raises InvalidParameters with the published text.

        Defaults count as given. An action without any parameter takes everything.
        """
        if self._check is not None:
            self._validate(_with_defaults(values, self.schemas))
        overridden = [name for name in values if name in self.immutable]
        if overridden:
            raise InvalidParameters(f"Override of immutable parameter(s) {overridden} is unsupported.")

    def _validate(self, values: JsonObject) -> None:
        assert self._check is not None
        try:
            error = self._check(values)
        except ValueError as broken:
            raise InvalidParameters(str(broken)) from None
        if error is not None:
            raise InvalidParameters(error.message)

    def _schema(self) -> JsonObject:
        """Build the schema of the whole: nothing unknown, and null where nothing is required."""
        return {
            "type": "object",
            "title": self.action.name,
            "properties": _nullable(self.schemas),
            "additionalProperties": False,
        }


def check_value(schema: JsonObject, value: Json) -> str | None:
    """Check any value against a whole schema, defaults counted as given; return what is wrong, None when it fits."""
    properties = schema.get("properties")
    prepared = dict(schema)
    try:
        if isinstance(properties, Mapping):
            prepared["properties"] = _nullable(properties)
            value = _with_defaults(value, properties)
        error = checker(prepared)(value)
    except ValueError as broken:
        return str(broken)
    except BROKEN as broken:
        return f"the schema cannot be applied: {broken}"
    return None if error is None else error.message


def _nullable(properties: Mapping[str, Json]) -> dict[str, Json]:
    return {name: _allow_null(schema) for name, schema in properties.items()}


def _allow_null(schema: Json) -> Json:
    """Allow null for a property that is not required and has no default, at any depth."""
    if not isinstance(schema, Mapping):
        return schema
    changed = dict(schema)
    if isinstance(schema.get("properties"), Mapping):
        changed["properties"] = _nullable(schema["properties"])
    items = schema.get("items")
    if isinstance(items, Mapping) and isinstance(items.get("properties"), Mapping):
        changed["items"] = {**items, "properties": _nullable(items["properties"])}
    if schema.get("required") is True or schema.get("default") is not None:
        return changed
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null":
        changed["type"] = [kind, "null"]
    elif isinstance(kind, list) and "null" not in kind:
        changed["type"] = [*kind, "null"]
    if "enum" in schema and None not in schema["enum"]:
        changed["enum"] = [*schema["enum"], None]
    for several in ("anyOf", "oneOf"):
        if isinstance(schema.get(several), list) and {"type": "null"} not in schema[several]:
            changed[several] = [*schema[several], {"type": "null"}]
    return changed


def _with_defaults(value: Json, properties: Mapping[str, Json]) -> Json:
    """Return an object with the defaults of its properties in place of what is absent or null, at any depth."""
    if not isinstance(value, Mapping):
        return value
    filled = dict(value)
    for name, schema in properties.items():
        if not isinstance(schema, Mapping):
            continue
        if schema.get("default") is not None and filled.get(name) is None:
            filled[name] = schema["default"]
        member, items = filled.get(name), schema.get("items")
        if isinstance(member, Mapping) and isinstance(schema.get("properties"), Mapping):
            filled[name] = _with_defaults(member, schema["properties"])
        elif (
            isinstance(member, list)
            and isinstance(items, Mapping)
            and isinstance(items.get("properties"), Mapping)
        ):
            filled[name] = [_with_defaults(item, items["properties"]) for item in member]
    return filled
