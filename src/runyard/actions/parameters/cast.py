"""Text to values. Owns how a parameter's type turns what a caller or a template wrote into a value.

Only what was written as text is converted; whether the value fits is for validation to say. Texts of errors are published.
"""

import ast
import json
import math
from collections.abc import Callable, Mapping
from typing import Final

from runyard.actions.errors import InvalidParameters
from runyard.actions.templating.filters.data import NONE_TEXT
from runyard.actions.values import Json, JsonObject

_LITERAL: Final = 64 << 10
"""Characters of a Python literal: its parser is slow and hungry."""
_DEEPEST: Final = 200


def cast(value: Json, schema: JsonObject) -> Json:
    """Return the value with the type that its schema names. Raises InvalidParameters.

    null and the text of `use_none` become null; a schema without a single type leaves the value as it is.
    """
    value = without_none_text(value)
    kind = schema.get("type")
    if value is None or not isinstance(kind, str) or kind not in _CASTS:
        return value
    try:
        return _CASTS[kind](value)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidParameters(str(error)) from None


def without_none_text(value: Json) -> Json:
    """Replace the text that `use_none` writes by null, at any depth."""
    if isinstance(value, str):
        return None if value == NONE_TEXT else value
    if isinstance(value, list | dict) and NONE_TEXT in repr(value):
        return _replaced(value)
    return value


def _replaced(value: Json) -> Json:
    if isinstance(value, list):
        return [_replaced(item) for item in value]
    if isinstance(value, dict):
        return {name: _replaced(item) for name, item in value.items()}
    return None if value == NONE_TEXT else value


def _structure(value: Json) -> Json:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=_no_constant, parse_float=lambda text: _finite(float(text)))
    except (ValueError, RecursionError):
        return _plain(_literal(value), _DEEPEST)


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} has no place in JSON")


def _literal(text: str) -> Json:
    if len(text) > _LITERAL:
        raise ValueError("the text is not JSON and too long to be read otherwise")
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        shown = text if len(text) <= 100 else f"{text[:100]}..."
        raise ValueError(f"malformed node or string: {shown!r}") from None


def _plain(value: Json, depth: int) -> Json:
    """Turn a Python literal into what JSON has. Raises ValueError for bytes, complex numbers and sets of them."""
    if depth == 0:
        raise ValueError("the value is nested too deeply")
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth - 1) for item in value]
    if isinstance(value, float):
        return _finite(value)
    if value is None or isinstance(value, str | int):
        return value
    raise ValueError(f"a {type(value).__name__} has no place in JSON")


def _boolean(value: Json) -> Json:
    return _plain(_literal(value.strip().capitalize()), 2) if isinstance(value, str) else value


def _integer(value: Json) -> Json:
    return int(value)


def _number(value: Json) -> Json:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else _finite(float(value))


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f'Value "{value}" is not a finite number.')
    return value


def _text(value: Json) -> Json:
    if not isinstance(value, str):
        raise ValueError(f'Value "{value}" must either be a string or None. Got "{type(value).__name__}".')
    return value


_CASTS: Final[Mapping[str, Callable[[Json], Json]]] = {
    "array": _structure,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "object": _structure,
    "string": _text,
}
