"""What is not shown. Owns the masking of secrets in parameters, results, responses, configurations and API keys.

Pure: a value and its schema in, a masked copy out; the value itself is never changed. When a schema and a value do not
agree, more is masked rather than less.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import regex

from runyard.actions.model import RunnerType
from runyard.actions.values import Json, JsonObject

MASK: Final = "********"
RESPOND_ACTION: Final = "st2.inquiry.respond"
_ALTERNATIVES: Final = ("allOf", "anyOf", "oneOf")
_DEEPEST: Final = 100
_REGEX_SECONDS: Final = 0.05
_SHORTEST_REDACTED: Final = 3
"""Texts that are shorter occur everywhere; replacing them would hide the rest and reveal them by that."""


def mask_value(value: Json, schema: Json, depth: int = _DEEPEST) -> Json:
    """Return the value with every part masked that its schema calls secret, a secret list or object as a whole."""
    if not isinstance(schema, Mapping) or value is None:
        return value
    if schema.get("secret") is True or depth == 0:
        return MASK
    for subschema in _alternatives(schema):
        value = mask_value(value, subschema, depth - 1)
    if isinstance(value, Mapping):
        return {name: _masked_member(name, item, schema, depth) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return _masked_items(value, schema, depth)
    if not isinstance(value, bool) and _inner(schema) and holds_secret(schema):
        return MASK  # an object or list that is still text, as of an execution that failed before its cast
    return value


def mask_properties(values: JsonObject, schemas: JsonObject, *more: JsonObject) -> dict[str, Json]:
    """Mask an object whose members have a schema each; members without one are shown."""
    masked = dict(values)
    for properties in (schemas, *more):
        masked = {name: mask_value(value, properties.get(name)) for name, value in masked.items()}
    return masked


def mask_parameters(
    values: JsonObject, action_parameters: JsonObject, runner_parameters: JsonObject
) -> JsonObject:
    """Mask the parameters of an execution: secret by the action or by the runner is secret."""
    return mask_properties(values, action_parameters, runner_parameters)


def mask_respond_parameters(values: JsonObject) -> dict[str, Json]:
    """Mask the parameters of an execution that answers an inquiry: the whole response."""
    return {name: MASK if name == "response" else value for name, value in values.items()}


def mask_result(result: Json, runner: RunnerType, output_schema: JsonObject) -> Json:
    """Mask the member of a result that the action's output schema describes.

    The schema is a whole one, or the old form that lists properties only.
    """
    key = runner.output_key
    if key is None or not output_schema or not isinstance(result, Mapping) or key not in result:
        return result
    return {**result, key: mask_output(result[key], output_schema)}


def mask_output(output: Json, schema: JsonObject) -> Json:
    """Mask what an action returned, by a schema in either form."""
    if is_whole_schema(schema):
        return mask_value(output, schema)
    return mask_value(output, {"type": "object", "properties": schema})


def is_whole_schema(schema: JsonObject) -> bool:
    """Tell a whole JSON schema from a list of properties: its `type` is a word and not a schema."""
    kind = schema.get("type")
    if isinstance(kind, str | list):
        return True
    return any(isinstance(schema.get(word), list) for word in _ALTERNATIVES)


def mask_inquiry_result(result: Json) -> Json:
    """Mask the secret members of an answer in the result of an inquiry, by the schema in that result."""
    if not isinstance(result, Mapping) or "response" not in result:
        return result
    return {**result, "response": mask_value(result["response"], result.get("schema"))}


def mask_config(values: JsonObject, attributes: JsonObject) -> dict[str, Json]:
    """Mask the configuration of a pack by its schema. Texts that name a key of the datastore are masked as well."""
    return mask_properties(values, attributes)


def mask_api_key(shown: JsonObject) -> dict[str, Json]:
    """Mask the hash of an API key and the name that contains it."""
    return {name: MASK if name in ("key_hash", "uid") else value for name, value in shown.items()}


def holds_secret(schema: Json, depth: int = _DEEPEST) -> bool:
    """Tell whether anything in a schema is secret."""
    if not isinstance(schema, Mapping) or depth == 0:
        return False
    if schema.get("secret") is True:
        return True
    return any(holds_secret(inner, depth - 1) for inner in [*_alternatives(schema), *_inner(schema)])


def secret_texts(values: JsonObject, *schemas: JsonObject) -> set[str]:
    """Return the texts of all secret values, for hiding them in output and messages."""
    texts: set[str] = set()
    for properties in schemas:
        for name, value in values.items():
            _collect(value, properties.get(name), texts, _DEEPEST)
    return {text for text in texts if len(text) >= _SHORTEST_REDACTED}


def redact(value: Json, secrets: Iterable[str]) -> Json:
    """Return the value with the mask in place of every secret text inside any text, keys included."""
    ordered = sorted((text for text in secrets if text), key=len, reverse=True)
    return _redacted(value, ordered) if ordered else value


def _redacted(value: Json, secrets: list[str]) -> Json:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, Mapping):
        return {_redacted(name, secrets): _redacted(item, secrets) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item, secrets) for item in value]
    if value is None or isinstance(value, bool):
        return value
    return MASK if str(value) in secrets else value


def _collect(value: Json, schema: Json, into: set[str], depth: int) -> None:
    if not isinstance(schema, Mapping) or value is None or depth == 0:
        return
    if schema.get("secret") is True:
        into.update(_leaves(value))
        return
    for subschema in _alternatives(schema):
        _collect(value, subschema, into, depth - 1)
    if isinstance(value, Mapping):
        for name, item in value.items():
            for subschema in _schemas_of_member(name, schema):
                _collect(item, subschema, into, depth - 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _collect(item, _schema_of_item(index, schema), into, depth - 1)


def _leaves(value: Json) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _masked_member(name: str, value: Json, schema: JsonObject, depth: int) -> Json:
    for subschema in _schemas_of_member(name, schema):
        value = mask_value(value, subschema, depth - 1)
    return value


def _schemas_of_member(name: str, schema: JsonObject) -> list[Json]:
    """List the schemas of a member: by its name and by patterns, else as an additional one."""
    properties, patterns = schema.get("properties"), schema.get("patternProperties")
    found = [properties[name]] if isinstance(properties, Mapping) and name in properties else []
    if isinstance(patterns, Mapping):
        found += [inner for pattern, inner in patterns.items() if _may_match(pattern, name)]
    if found:
        return found
    items = schema.get("items")
    if isinstance(items, Mapping) and not isinstance(properties, Mapping):
        return [items]  # an object where a list belongs: its members are as secret
    return [schema.get("additionalProperties")]


def _may_match(pattern: str, name: str) -> bool:
    try:
        return regex.search(pattern, name, timeout=_REGEX_SECONDS) is not None
    except (TimeoutError, regex.error):
        return True


def _masked_items(values: Iterable[Json], schema: JsonObject, depth: int) -> list[Json]:
    return [
        mask_value(value, _schema_of_item(index, schema), depth - 1) for index, value in enumerate(values)
    ]


def _schema_of_item(index: int, schema: JsonObject) -> Json:
    items = schema.get("items")
    if isinstance(items, list):
        return items[index] if index < len(items) else schema.get("additionalItems")
    if items is None and isinstance(schema.get("properties"), Mapping):
        return {
            "properties": schema["properties"]
        }  # a list where an object belongs: its members are as secret
    return items


def _alternatives(schema: JsonObject) -> list[Json]:
    found = [schema.get(word) for word in _ALTERNATIVES]
    return [one for several in found if isinstance(several, list) for one in several]


def _inner(schema: JsonObject) -> list[Json]:
    """List the schemas of members and items."""
    found: list[Json] = []
    for word in ("properties", "patternProperties"):
        if isinstance(schema.get(word), Mapping):
            found += schema[word].values()
    items = schema.get("items")
    found += items if isinstance(items, list) else [items]
    found += [schema.get("additionalProperties"), schema.get("additionalItems")]
    return [one for one in found if isinstance(one, Mapping)]
