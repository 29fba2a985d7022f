"""The OpenAPI document. Owns how routes declared as data become OpenAPI 3.1; nothing is written by hand twice.

Schemas come from the msgspec types that the handlers decode and encode, examples from their fields.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from runyard import __version__
from runyard.dialects.door import WEBSOCKET, Door, Route
from runyard.server.describing import field_descriptions

_PARAMETER = re.compile(r"\{([^}]+)\}")
_REFS: Final = "#/components/schemas/{name}"
_TEXTS: Final = {
    400: "The request could not be parsed.",
    401: "The credential is missing or not valid.",
    403: "The credential does not allow this.",
    404: "There is no such resource.",
    405: "The path does not know this method.",
    408: "It did not finish in time.",
    409: "The resource is not in a state that allows this.",
    413: "The request is larger than this server accepts.",
    423: "Somebody holds the lock.",
    422: "A value in the request is not valid.",
    429: "A limit is reached; try again later.",
    500: "The server made a mistake.",
    499: "The caller went away.",
    501: "Not implemented by this server.",
    502: "What this server needs for this failed.",
    503: "Something that this needs is not available now.",
    504: "It did not finish in time.",
}


_METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


def document(doors: Sequence[Door]) -> dict[str, Any]:
    """Return the OpenAPI document of all doors. WebSocket routes appear as GET with the answer 101."""
    routes = [(door, route) for door in doors for route in door.routes]
    bodies = [door.error_body for door in doors]
    schemas = _Schemas([*bodies, *(kind for _, route in routes for kind in (route.request, route.response))])
    paths: dict[str, dict[str, Any]] = {}
    for door, route in routes:
        method = "get" if route.method == WEBSOCKET else route.method.lower()
        if method not in _METHODS:
            continue  # the document has no word for it; such a route has a plain sister
        operations = paths.setdefault(route.path, {})
        if route.method == WEBSOCKET or method not in operations:
            operations[method] = _operation(door, route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Runyard",
            "version": __version__,
            "description": "One server, one ledger of executions, several published APIs on one port.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "tags": [{"name": door.name, "description": door.title} for door in doors],
    }


class _Schemas:
    """The schemas of all types that routes name, each once."""

    def __init__(self, named: Iterable[Any]) -> None:
        kinds: dict[str, Any] = {str(kind): kind for kind in named if kind is not None and kind is not bytes}
        schemas, self.components = msgspec.json.schema_components(list(kinds.values()), ref_template=_REFS)
        self._describe()
        self._by_kind: Mapping[str, dict[str, Any]] = dict(zip(kinds, schemas, strict=True))

    def _describe(self) -> None:
        """Add what stands below the fields of the types; a generic type's component is called `Name_Argument_`."""
        known = field_descriptions()
        for name, component in self.components.items():
            texts = known.get(name) or known.get(name.partition("_")[0], {})
            for field, schema in component.get("properties", {}).items():
                if field in texts:
                    schema["description"] = texts[field]

    def of(self, kind: object) -> dict[str, Any]:
        return self._by_kind[str(kind)]

    def example(self, kind: object) -> object:
        return _example(self.of(kind), self.components, 0)


def _operation(door: Door, route: Route, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{door.name}_{route.name}",
        "summary": route.summary,
        "tags": [door.name, *route.tags],
        "parameters": [*_path_parameters(route), *_declared_parameters(route)],
        "responses": _responses(door, route, schemas),
    }
    if route.permission is not None:
        operation["description"] = f"Needs the permission `{route.permission.value}`."
    if route.open:
        operation["security"] = []
    if route.request is bytes:
        operation["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    elif route.request is not None:
        content = {"schema": schemas.of(route.request), "example": schemas.example(route.request)}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(route.path)
    ]


def _declared_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": item.name,
            "in": item.where,
            "required": item.required,
            "description": item.summary,
            "schema": dict(item.schema),
        }
        for item in route.parameters
    ]


def _responses(door: Door, route: Route, schemas: _Schemas) -> dict[str, Any]:
    errors = {str(status): _refusal(door, status, schemas) for status in sorted(route.errors)}
    if route.status >= 400:
        return {str(route.status): _refusal(door, route.status, schemas), **errors}
    success: dict[str, Any] = {"description": "Done."}
    if route.response is bytes:
        success["content"] = {"application/octet-stream": {}}
    elif route.response is not None:
        content = {"schema": schemas.of(route.response), "example": schemas.example(route.response)}
        success["content"] = {"application/json": content}
    return {str(route.status): success, **errors}


def _refusal(door: Door, status: int, schemas: _Schemas) -> dict[str, Any]:
    refusal: dict[str, Any] = {"description": _TEXTS[status]}
    if door.error_body is not None:
        refusal["content"] = {door.error_type: {"schema": schemas.of(door.error_body)}}
    return refusal


_EXAMPLES: Final[Mapping[str, object]] = {
    "id": "01a20a59-6522-7173-a681-2535d337bb4f",
    "runtime_id": "01a20a59-6522-7173-a681-2535d337bb4f",
    "execution_id": "6b04b288d5823fcab06ba127",
    "root_id": "6b04b288d5823fcab06ba127",
    "request_id": "01a20a59-6531-7e15-8174-a379b3fbca43",
    "name": "web",
    "command": "echo hello",
    "text": "error",
    "stdout": "hello\n",
    "stderr": "",
    "status": "running",
    "stream": "stdout",
    "data_base64": "aGVsbG8K",
    "actor": "admin",
    "door": "native",
    "base": "host",
    "egress": "open",
    "hostname": "web",
    "version": __version__,
}
"""Values of fields by name, where a made-up one would tell nothing."""
_ALWAYS: Final = frozenset({"name", "command"})
"""Fields that are shown even where they may be left out."""


def _example(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> object:
    """Make up a small value that fits a schema."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return _example(components[name], components, depth + 1) if depth < 8 else {}
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            chosen = [one for one in schema[keyword] if one.get("type") != "null"]
            return _example(chosen[0], components, depth) if chosen else None
    if "default" in schema and schema["default"] not in (None, {}, []):
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    return _plain_example(schema, components, depth)


def _named_example(name: str, schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> object:
    kinds = [one.get("type") for one in schema.get("anyOf", (schema,))]
    known = _EXAMPLES.get(name)
    if known is not None and "string" in kinds and "const" not in schema:
        return known
    return _example(schema, components, depth)


def _plain_example(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> object:
    match schema.get("type"):
        case "object":
            required = set(schema.get("required", ()))
            fields = schema.get("properties", {})
            return {
                name: _named_example(name, one, components, depth + 1)
                for name, one in fields.items()
                if name in required | _ALWAYS
            }
        case "array":
            return []
        case "string":
            return {"date-time": "2026-01-31T09:30:00.000000Z"}.get(schema.get("format", ""), "example")
        case "integer":
            return max(1, int(schema.get("minimum", 1)))
        case "number":
            return 1.5
        case "boolean":
            return False
    return None
