"""The dialect of JSON schema that actions speak. Owns the validator and its error texts; knows no action.

Draft 4, with `required` as a boolean of each property (a list is understood too) and the keys `position`, `immutable`
and `secret`, which validate nothing. References are not followed: a schema is data of a stranger, and a reference would
fetch or recurse. Each pattern runs under a time limit, and all that one check does under another: the work is that of the
schema times that of the value, and both are a stranger's.
"""

import json
import time
from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from itertools import islice

import regex
from jsonschema import Draft4Validator
from jsonschema.exceptions import UndefinedTypeCheck, UnknownType, ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry

from runyard.actions.values import Json, JsonObject

_REGEX_SECONDS = 0.1
_CHECK_SECONDS = 0.5
"""Processor time of one check. It is not awaited, so that everybody waits for it."""
_CLOCK_EVERY = 64
_ERRORS_LOOKED_AT = 50
_NO_REFERENCES: Registry[Json] = Registry()
Errors = Generator[ValidationError]
BROKEN = (TypeError, AttributeError, LookupError, ArithmeticError)
"""What a schema that is none makes of the code that applies it."""


def violation(schema: JsonObject, value: Json) -> ValidationError | None:
    """Return the most relevant violation of the schema, None when the value fits.

    Raises ValueError when the schema itself cannot be applied.
    """
    return checker(schema)(value)


class _Work:
    """What one check has done."""

    __slots__ = ("_ends", "_steps")

    def __init__(self) -> None:
        self._ends = time.thread_time() + _CHECK_SECONDS
        self._steps = 0

    def step(self) -> None:
        """Account for one keyword. Raises TimeoutError."""
        self._steps += 1
        if self._steps % _CLOCK_EVERY == 0:
            self.look()

    def look(self) -> None:
        """Look at the clock. Raises TimeoutError."""
        if time.thread_time() > self._ends:
            raise TimeoutError


_work: ContextVar[_Work] = ContextVar("schema_check")


class checker:  # noqa: N801 - used like a function that remembers its schema
    """Checks values against one schema, which is prepared once."""

    def __init__(self, schema: JsonObject) -> None:
        """Prepare the schema; it is not checked itself."""
        self._validator: Json = _Validator(schema, registry=_NO_REFERENCES)

    def __call__(self, value: Json) -> ValidationError | None:
        """Return the most relevant violation, None when there is none. Raises ValueError for a broken schema, and for
        one whose check takes too long.
        """
        outer = _work.set(_Work())
        try:
            found: ValidationError | None = best_match(
                islice(self._validator.iter_errors(value), _ERRORS_LOOKED_AT)
            )
            return found
        except RecursionError:
            raise ValueError("the schema is nested too deeply") from None
        except TimeoutError:
            raise ValueError("a pattern of the schema, or all of it, takes too long on this value") from None
        except regex.error as error:
            raise ValueError(f"a pattern of the schema is not valid: {error}") from None
        except (UnknownType, UndefinedTypeCheck):
            # Their own words have the value in them, which may be a secret.
            raise ValueError("the schema has a type that does not exist") from None
        except BROKEN as error:
            raise ValueError(f"the schema cannot be applied: {error}") from None
        finally:
            _work.reset(outer)


def _properties(validator: Json, properties: JsonObject, instance: Json, schema: JsonObject) -> Errors:
    """Descend into properties, and require those that say so themselves."""
    del schema
    if not isinstance(instance, Mapping):
        return
    for name, subschema in properties.items():
        if name in instance:
            yield from validator.descend(instance[name], subschema, path=name, schema_path=name)
        elif isinstance(subschema, Mapping) and subschema.get("required") is True:
            error = ValidationError(f"{name!r} is a required property", validator="required")
            error.path.appendleft("required")
            yield error


def _required(validator: Json, required: Json, instance: Json, schema: JsonObject) -> Errors:
    """Require the properties of a list; a boolean is the matter of the object around."""
    del validator, schema
    if isinstance(required, list) and isinstance(instance, Mapping):
        yield from (
            ValidationError(f"{name!r} is a required property") for name in required if name not in instance
        )


def _pattern(validator: Json, pattern: str, instance: Json, schema: JsonObject) -> Errors:
    del validator, schema
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Json, patterns: JsonObject, instance: Json, schema: JsonObject) -> Errors:
    del schema
    if not isinstance(instance, Mapping):
        return
    for pattern, subschema in patterns.items():
        for name, value in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional(validator: Json, allowed: Json, instance: Json, schema: JsonObject) -> Errors:
    if not isinstance(instance, Mapping):
        return
    patterns = schema.get("patternProperties", {})
    extras = [
        name
        for name in instance
        if name not in schema.get("properties", {}) and not any(_matches(p, name) for p in patterns)
    ]
    if isinstance(allowed, Mapping):
        for name in extras:
            yield from validator.descend(instance[name], allowed, path=name)
    elif allowed is False and extras:
        names = ", ".join(repr(name) for name in sorted(extras))
        if patterns:
            verb = "does" if len(extras) == 1 else "do"
            known = ", ".join(repr(pattern) for pattern in sorted(patterns))
            yield ValidationError(f"{names} {verb} not match any of the regexes: {known}")
        else:
            verb = "was" if len(extras) == 1 else "were"
            yield ValidationError(f"Additional properties are not allowed ({names} {verb} unexpected)")


def _unique(validator: Json, unique: Json, instance: Json, schema: JsonObject) -> Errors:
    """Compare through text, so that many items take linear time."""
    del validator, schema
    if unique is True and isinstance(instance, list):
        texts = {json.dumps(_numbers_alike(item), sort_keys=True) for item in instance}
        if len(texts) != len(instance):
            yield ValidationError(f"{instance!r} has non-unique elements")


def _reference(validator: Json, reference: Json, instance: Json, schema: JsonObject) -> Errors:
    del validator, instance, schema
    yield ValidationError(f"the schema has a reference, {reference!r}, which is not followed")


def _numbers_alike(value: Json) -> Json:
    """Write whole floats as integers, which are equal to them."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_numbers_alike(item) for item in value]
    if isinstance(value, dict):
        return {name: _numbers_alike(item) for name, item in value.items()}
    return value


def _matches(pattern: str, text: str) -> bool:
    found = regex.search(pattern, text, timeout=_REGEX_SECONDS) is not None
    _work.get().look()
    return found


def _counted(keyword: Callable[..., Json]) -> Callable[..., Json]:
    """Account for every use of a keyword."""

    def counted(validator: Json, value: Json, instance: Json, schema: JsonObject) -> Json:
        work = _work.get()
        work.step()
        if isinstance(value, list) and len(value) > _CLOCK_EVERY:
            work.look()  # a long `enum` is compared with one by one
        return keyword(validator, value, instance, schema)

    return counted


_KEYWORDS: Mapping[str, Callable[..., Json]] = {
    **Draft4Validator.VALIDATORS,
    "properties": _properties,
    "required": _required,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "uniqueItems": _unique,
    "$ref": _reference,
}
_Validator: Json = extend(  # type: ignore[no-untyped-call]
    Draft4Validator, {name: _counted(keyword) for name, keyword in _KEYWORDS.items()}
)
