"""Masking of plan documents. Owns what is hidden and what stands in its place; knows no row and no file.

Two kinds of value are hidden: every value at a place that Terraform marks as sensitive, and every value of a secret variable
wherever it shows up: in a text, in a name, or as a number. A mark hides the whole value below it.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote_plus

from runyard.executions.output.redact import MASK, MIN_SECRET_BYTES, needles
from runyard.infrastructure.plans.model import SENSITIVE
from runyard.kernel.jsons import encode_json

_MASK: Final = MASK.decode()
_LONG_ENOUGH: Final = 8
"""Characters of a secret whose encoded form is sure enough to mean it."""
Json = Any


class Secrets:
    """The values that must not be seen anywhere, also as the usual functions of a configuration encode them.

    As in output logs, a value of fewer than 4 bytes is not hidden: it would tear holes into every document.
    """

    __slots__ = ("_needles", "_texts", "_values")

    def __init__(self, values: Iterable[str]) -> None:
        """Take the values of secret variables."""
        self._values = frozenset(values)
        wanted = {form for value in self._values for form in _forms(value)}
        plain = needles(value.encode("utf-8", "replace") for value in wanted)
        self._texts: Sequence[str] = [one.decode("utf-8", "replace") for one in plain]
        self._needles = [encode_json(text)[1:-1] for text in self._texts]

    def with_more(self, values: Iterable[str]) -> "Secrets":
        """Return these and others."""
        more = frozenset(values)
        return self if more <= self._values else Secrets(self._values | more)

    def hide(self, value: Json) -> Json:
        """Return a document without the secrets; the same object when none is in it."""
        if not self._texts:
            return value
        encoded = encode_json(value)
        return self._walk(value) if any(needle in encoded for needle in self._needles) else value

    def hide_text(self, text: str) -> str:
        """Return a text without the secrets."""
        for secret in self._texts:
            if secret in text:
                text = text.replace(secret, _MASK)
        return text

    def _walk(self, value: Json) -> Json:
        match value:
            case str():
                return self.hide_text(value)
            case bool() | None:
                return value
            case int() | float():
                shown = encode_json(value).decode()
                return _MASK if any(secret in shown for secret in self._texts) else value
            case Mapping():
                return {self.hide_text(str(name)): self._walk(inner) for name, inner in value.items()}
            case list() | tuple():
                return [self._walk(inner) for inner in value]
        return value


def _forms(value: str) -> Iterable[str]:
    """Yield a secret and what `jsonencode`, `urlencode` and `base64encode` make of it alone."""
    if len(value.encode("utf-8", "replace")) < MIN_SECRET_BYTES:
        return
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield quote_plus(value, errors="replace")
    encoded = base64.b64encode(value.encode("utf-8", "replace")).decode()
    if len(value) >= _LONG_ENOUGH:
        yield encoded.rstrip("=")


def hide_marked(value: Json, marks: Json) -> Json:
    """Return a value with everything hidden that `marks` marks: `true`, or the same shape with `true` in places."""
    if marks is True:
        return None if value is None else SENSITIVE
    if not marks or value is None:
        return value
    if isinstance(marks, Mapping):
        if not isinstance(value, Mapping):
            return SENSITIVE if _any_mark(marks) else value
        return {name: hide_marked(inner, marks.get(name)) for name, inner in value.items()}
    if isinstance(marks, list):
        if not isinstance(value, list):
            return SENSITIVE if _any_mark(marks) else value
        # A set's marks need not be as long as its values: hide what has no mark of its own beside one that has.
        if len(marks) != len(value):
            return [SENSITIVE for _ in value] if _any_mark(marks) else value
        return [hide_marked(inner, mark) for inner, mark in zip(value, marks, strict=True)]
    return value


def _any_mark(marks: Json) -> bool:
    if marks is True:
        return True
    if isinstance(marks, Mapping):
        return any(_any_mark(one) for one in marks.values())
    return isinstance(marks, list) and any(_any_mark(one) for one in marks)


def texts_below(value: Json) -> Iterable[str]:
    """Yield every text in a value, and long numbers as texts: the parts of a sensitive variable are secrets each."""
    match value:
        case str():
            yield value
        case bool() | None:
            return
        case int() | float():
            shown = encode_json(value).decode()
            if len(shown) >= _LONG_ENOUGH:
                yield shown
        case Mapping():
            for inner in value.values():
                yield from texts_below(inner)
        case list() | tuple():
            for inner in value:
                yield from texts_below(inner)


def marked_texts(value: Json, marks: Json) -> Iterable[str]:
    """Yield the texts at marked places. Terraform copies a marked value to places that it leaves without a mark."""
    if marks is True:
        yield from (text for text in texts_below(value) if len(text) >= _LONG_ENOUGH)
    elif isinstance(marks, Mapping) and isinstance(value, Mapping):
        for name, mark in marks.items():
            yield from marked_texts(value.get(name), mark)
    elif isinstance(marks, list) and isinstance(value, list) and len(marks) == len(value):
        for inner, mark in zip(value, marks, strict=True):
            yield from marked_texts(inner, mark)
