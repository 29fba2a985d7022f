"""What metadata may say. Owns the schemas of parameters, actions, packs and configurations, as data."""

from typing import Final

from runyard.actions.values import JsonObject

TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
_COUNT: Final = {"type": "integer", "minimum": 0}
_NUMBER: Final = {"type": "number"}
_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "boolean"}

DEEPEST: Final = 12
"""How deep properties and items of a schema are checked; below, anything is refused."""


def _keywords(inner: JsonObject, *, nested: bool) -> dict[str, object]:
    """List draft 4's keywords and the three of actions; `inner` is the schema of schemas within."""
    one_type: dict[str, object] = {"enum": list(TYPES)}
    many: dict[str, object] = {"type": "array", "items": one_type, "minItems": 1, "uniqueItems": True}
    flags: JsonObject = {"anyOf": [_FLAG, {"type": "array", "items": _TEXT}]} if nested else _FLAG
    within: dict[str, object] = {"type": "object", "additionalProperties": inner}
    several: dict[str, object] = {"type": "array", "minItems": 1, "items": inner}
    dependency: dict[str, object] = {"anyOf": [inner, {"type": "array", "items": _TEXT}]}
    return {
        "id": _TEXT,
        "$schema": _TEXT,
        "title": _TEXT,
        "description": _TEXT,
        "default": {},
        "multipleOf": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "maximum": _NUMBER,
        "exclusiveMaximum": _FLAG,
        "minimum": _NUMBER,
        "exclusiveMinimum": _FLAG,
        "maxLength": _COUNT,
        "minLength": _COUNT,
        "pattern": _TEXT,
        "additionalItems": {"anyOf": [_FLAG, inner]},
        "items": {"anyOf": [inner, several]},
        "maxItems": _COUNT,
        "minItems": _COUNT,
        "uniqueItems": _FLAG,
        "maxProperties": _COUNT,
        "minProperties": _COUNT,
        "required": flags,
        "additionalProperties": {"anyOf": [_FLAG, inner]},
        "definitions": within,
        "properties": within,
        "patternProperties": within,
        "dependencies": {"type": "object", "additionalProperties": dependency},
        "enum": {"type": "array", "minItems": 1},
        "type": {
            "anyOf": [one_type, many if nested else one_type]
        },  # two alike: then the error names neither
        "format": _TEXT,
        "allOf": several,
        "anyOf": several,
        "oneOf": several,
        "not": inner,
        "position": {"type": "number", "minimum": 0},
        "immutable": _FLAG,
        "secret": _FLAG,
    }


def _schema_schema() -> tuple[JsonObject, JsonObject]:
    """Build the schema of a parameter and of a schema within one. They share structure and are not copied."""
    inner: dict[str, object] = {"not": {}}
    for _ in range(DEEPEST):
        inner = {"type": "object", "properties": _keywords(inner, nested=True), "additionalProperties": False}
    top = {"type": "object", "properties": _keywords(inner, nested=False), "additionalProperties": False}
    return top, inner


PARAMETER, NESTED = _schema_schema()
"""The schema of one parameter, and that of a schema inside it."""

PARAMETERS: Final[JsonObject] = {
    "type": "object",
    "patternProperties": {r"^\w+$": PARAMETER},
    "additionalProperties": False,
}
"""The schema of an action's `parameters`."""

OUTPUT_SCHEMA: Final[JsonObject] = {
    "anyOf": [
        NESTED,
        {"type": "object", "patternProperties": {r"^\w+$": NESTED}, "additionalProperties": False},
    ]
}
"""A whole JSON schema, or the old form that lists properties only."""

_NOTIFICATION: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "message": _TEXT,
        "data": {"type": "object"},
        "routes": {"type": "array", "items": _TEXT},
        "channels": {"type": "array", "items": _TEXT},
    },
    "additionalProperties": False,
}
NOTIFY: Final[JsonObject] = {
    "type": "object",
    "properties": dict.fromkeys(("on-complete", "on-success", "on-failure"), _NOTIFICATION),
    "additionalProperties": False,
}
_TAG: Final[JsonObject] = {
    "type": "object",
    "properties": {"name": {**_TEXT, "required": True}, "value": {**_TEXT, "required": True}},
}
_DATA_FILE: Final[JsonObject] = {
    "type": "object",
    "properties": {"file_path": {**_TEXT, "required": True}, "content": {**_TEXT, "required": True}},
    "additionalProperties": False,
}

ACTION: Final[JsonObject] = {
    "title": "Action",
    "type": "object",
    "properties": {
        "id": _TEXT,
        "ref": _TEXT,
        "uid": _TEXT,
        "name": {**_TEXT, "required": True, "minLength": 1, "maxLength": 256},
        "description": _TEXT,
        "enabled": {**_FLAG, "default": True},
        "runner_type": {**_TEXT, "required": True},
        "entry_point": {**_TEXT, "default": ""},
        "pack": {**_TEXT, "minLength": 1, "maxLength": 256},
        "parameters": PARAMETERS,
        "output_schema": OUTPUT_SCHEMA,
        "tags": {"type": "array", "items": _TAG},
        "notify": NOTIFY,
        "metadata_file": _TEXT,
        "data_files": {"type": "array", "items": _DATA_FILE},
    },
    "additionalProperties": False,
}

_TEXTS: Final = {"type": "array", "items": _TEXT}
PACK: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "uid": _TEXT,
        "ref": {**_TEXT, "pattern": "^[a-z0-9_]+$"},
        "name": {**_TEXT, "required": True, "minLength": 1},
        "description": _TEXT,
        "keywords": _TEXTS,
        "version": {
            **_TEXT,
            "required": True,
            "pattern": r"^(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)(?:-[\da-zA-Z-]+(?:\.[\da-zA-Z-]+)*)?"
            r"(?:\+[\da-zA-Z-]+(?:\.[\da-zA-Z-]+)*)?$",
        },
        "stackstorm_version": {
            **_TEXT,
            "pattern": r"^((>?>|>=|=|<=|<?<)\s*[0-9]+\.[0-9]+\.[0-9]+(\s*,)?\s*)+$",
        },
        "python_versions": {
            "type": "array",
            "items": {"enum": ["2", "3"]},
            "minItems": 1,
            "uniqueItems": True,
        },
        "author": {**_TEXT, "required": True},
        "email": {**_TEXT, "pattern": r"^[^@\s]+@[^@\s]+$"},
        "contributors": {"type": "array", "items": {**_TEXT, "maxLength": 100}},
        "files": _TEXTS,
        "dependencies": _TEXTS,
        "system": {"type": "object"},
        "path": _TEXT,
    },
}
"""Keys beyond these are kept away: packs carry some of other tools."""

CONFIG_SCHEMA: Final[JsonObject] = {
    "type": "object",
    "patternProperties": {r"^\w+$": NESTED},
    "additionalProperties": False,
}
"""The schema of `config.schema.yaml`: one schema for each attribute."""
