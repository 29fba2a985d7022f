"""Configuration of packs. Owns how values, defaults and keys of the datastore become what actions see."""

from collections.abc import Mapping

from runyard.actions.errors import InvalidParameters
from runyard.actions.model import ConfigSchema
from runyard.actions.parameters.render import render_value
from runyard.actions.parameters.texts import holds_template
from runyard.actions.parameters.validate import check_value
from runyard.actions.templating.datastore import Datastore, Keys, StoredKey
from runyard.actions.templating.filters.data import DATASTORE
from runyard.actions.values import Json, JsonObject


def check_config(schema: ConfigSchema | None, values: JsonObject) -> None:
    """Check the values that somebody sets; templates are taken on trust. Raises InvalidParameters."""
    if schema is None:
        return
    rule = {"type": "object", "properties": schema.attributes, "additionalProperties": False}
    plain = {name: value for name, value in values.items() if not holds_template(value)}
    optional = {**rule, "properties": {n: _lenient(s, n in values) for n, s in schema.attributes.items()}}
    wrong = check_value(optional if len(plain) < len(values) else rule, plain)
    if wrong is not None:
        raise InvalidParameters(f'Failed validating attribute of config for pack "{schema.pack}": {wrong}')


def resolve_config(schema: ConfigSchema | None, values: JsonObject, datastore: Datastore) -> dict[str, Json]:
    """Return the configuration that actions see: defaults, then values, with templates rendered.

    A value under a secret attribute that comes from the datastore is opened by itself. Raises ParameterUnresolved.
    """
    attributes = schema.attributes if schema is not None else {}
    return _object(values, attributes, datastore)


def _lenient(schema: Json, given: bool) -> Json:
    """Leave out `required` for an attribute whose value is a template and so cannot be checked yet."""
    if given and isinstance(schema, Mapping):
        return {name: value for name, value in schema.items() if name != "required"}
    return schema


def _object(values: JsonObject, attributes: JsonObject, datastore: Datastore) -> dict[str, Json]:
    resolved: dict[str, Json] = {}
    for name in dict.fromkeys([*attributes, *values]):
        schema = attributes.get(name)
        schema = schema if isinstance(schema, Mapping) else {}
        value = values.get(name)
        if value is None and "default" in schema:
            value = schema["default"]
        if name not in values and value is None and not schema.get("properties"):
            continue
        resolved[name] = _value(name, value, schema, datastore)
    return resolved


def _value(name: str, value: Json, schema: JsonObject, datastore: Datastore) -> Json:
    properties, items = schema.get("properties"), schema.get("items")
    if isinstance(properties, Mapping) and (value is None or isinstance(value, Mapping)):
        return _object(value or {}, properties, datastore)
    if isinstance(value, Mapping):
        other = schema.get("additionalProperties")
        inner = other if isinstance(other, Mapping) else {}
        return {key: _value(key, item, inner, datastore) for key, item in value.items()}
    if isinstance(value, list):
        inner = items if isinstance(items, Mapping) else {}
        return [_value(name, item, inner, datastore) for item in value]
    if not isinstance(value, str) or not holds_template(value):
        return value
    secret = schema.get("secret") is True
    store = _Opening(datastore) if secret else datastore
    return render_value(name, value, {"st2kv": Keys(store), DATASTORE: store})


class _Opening:
    """A datastore whose texts come opened, for secret attributes; `decrypt_kv` then changes nothing."""

    def __init__(self, inner: Datastore) -> None:
        self._inner = inner

    def read(self, scope: str, name: str) -> StoredKey | None:
        """Return a key in clear text."""
        key = self._inner.read(scope, name)
        return StoredKey(self._inner.decrypt(key.text)) if key is not None and key.secret else key

    def decrypt(self, text: str) -> str:
        """Return the text: it is open already."""
        return text
