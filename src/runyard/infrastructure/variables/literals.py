"""Reads collections written in JSON or in the tool's own literal syntax. Owns that small grammar; evaluates nothing.

Only lists and objects are read: a scalar stays text, as the tool converts it to the type that the code declares, and
`1.10` must not become 1.1 on the way.
"""

import json
import re
from typing import Any, Final

_TOKEN: Final = re.compile(
    r"""\s*(?:(?:\#|//)[^\n]*\n\s*)*(?:
    (?P<mark>[\[\]{}(),=:])|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])|(?P<word>[A-Za-z_][\w-]*)|
    (?P<text>"(?:[^"\\\n]|\\.)*"))""",
    re.VERBOSE,
)
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}
_DEEPEST: Final = 32


class NotLiteral(ValueError):
    """The text is no literal collection."""


def read_collection(text: str) -> Any:  # noqa: ANN401  any document
    """Return the list or object that a text spells. Raises NotLiteral when it spells neither."""
    start = text.lstrip()[:1]
    if start not in ("[", "{"):
        raise NotLiteral(text[:20])
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    reader = _Reader(text)
    value = reader.value(0)
    if text[reader.place :].strip():
        raise NotLiteral("something follows")
    return value


class _Reader:
    """Reads one value after another from a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.place = 0

    def _peek(self) -> tuple[str, str, int]:
        found = _TOKEN.match(self._text, self.place)
        if found is None or found.lastgroup is None:
            raise NotLiteral(f"at {self.place}")
        return found.lastgroup, found[found.lastgroup], found.end()

    def _take(self, *marks: str) -> str | None:
        try:
            kind, text, end = self._peek()
        except NotLiteral:
            return None
        if kind != "mark" or text not in marks:
            return None
        self.place = end
        return text

    def value(self, depth: int) -> Any:  # noqa: ANN401  any document
        if depth > _DEEPEST:
            raise NotLiteral("too deep")
        kind, text, end = self._peek()
        self.place = end
        if kind == "text":
            return _text(text)
        if kind == "number":
            return json.loads(text)
        if kind == "word" and text in _WORDS:
            return _WORDS[text]
        if text == "[":
            return self._list(depth)
        if text == "{":
            return self._object(depth)
        raise NotLiteral(text)

    def _list(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while self._take("]") is None:
            items.append(self.value(depth + 1))
            if self._take(",") is None:
                if self._take("]") is None:
                    raise NotLiteral("a list goes on without a comma")
                break
        return items

    def _object(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while self._take("}") is None:
            kind, text, end = self._peek()
            if kind not in ("word", "text"):
                raise NotLiteral(text)
            self.place = end
            if self._take("=", ":") is None:
                raise NotLiteral("a member without a value")
            members[_text(text) if kind == "text" else text] = self.value(depth + 1)
            self._take(",")
        return members


def _text(quoted: str) -> str:
    """Read a quoted text; one with a template in it is no literal."""
    if "${" in quoted or "%{" in quoted:
        raise NotLiteral("a template")
    try:
        return str(json.loads(quoted))
    except ValueError:
        raise NotLiteral(quoted) from None
