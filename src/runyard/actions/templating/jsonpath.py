"""JSONPath. Owns the language that filters and rule criteria use: names, indices, slices, `*`, `..`, unions and `|`.

No expressions are evaluated; the work is bounded by the `spend` that the caller passes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from runyard.actions.values import Json

Spend = Callable[[int], None]
_TOKEN = re.compile(r"""\s*(\.\.|[$.*\[\]:,|@]|-?\d+(?![\w-])|[^\W\d][\w-]*|\d[\w-]*|'[^']*'|"[^"]*")""")
_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class _Step:
    """One step: what it picks of a value, and whether it looks at every depth."""

    picks: tuple[str | int | slice | None, ...]
    """Names, indices, slices; None is everything."""
    deep: bool = False


def find(path: str, value: Json, spend: Spend) -> list[Json]:
    """Return what a path finds, in document order. Raises ValueError when it is not a path."""
    found: list[Json] = []
    for steps in _parsed(path):
        level = [value]
        for step in steps:
            level = _take(step, level, spend)
        found += level
    return found


def _take(step: _Step, level: list[Json], spend: Spend) -> list[Json]:
    if step.deep:
        level = _everything(level, spend)
    taken: list[Json] = []
    for value in level:
        for pick in step.picks:
            before = len(taken)
            _pick(value, pick, taken)
            spend(1 + len(taken) - before)
    return taken


def _pick(value: Json, pick: str | int | slice | None, into: list[Json]) -> None:
    if isinstance(value, dict):
        if pick is None:
            into += value.values()
        elif isinstance(pick, str | int) and str(pick) in value:
            into.append(value[str(pick)])
    elif isinstance(value, list | tuple):
        if pick is None:
            into += value
        elif isinstance(pick, slice):
            into += value[pick]
        elif isinstance(pick, int) and -len(value) <= pick < len(value):
            into.append(value[pick])


def _everything(level: list[Json], spend: Spend) -> list[Json]:
    """List values and all that is in them, parents first."""
    found: list[Json] = []
    waiting = list(reversed(level))
    while waiting:
        value = waiting.pop()
        found.append(value)
        spend(1)
        if isinstance(value, dict):
            waiting += reversed(list(value.values()))
        elif isinstance(value, list | tuple):
            waiting += reversed(value)
    return found


@lru_cache(maxsize=512)
def _parsed(path: str) -> tuple[tuple[_Step, ...], ...]:
    return _Parser(_tokens(path), path).paths()


def _tokens(path: str) -> list[str]:
    if len(path) > _LONGEST:
        raise ValueError("the JSONPath is too long")
    tokens, position, text = [], 0, path.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"the JSONPath {path!r} cannot be read at character {position + 1}")
        tokens.append(match[1])
        position = match.end()
    return tokens


class _Parser:
    """Reads a path from its tokens, first to last."""

    def __init__(self, tokens: list[str], path: str) -> None:
        self._tokens = tokens
        self._path = path
        self._at = 0

    def paths(self) -> tuple[tuple[_Step, ...], ...]:
        """Read paths joined by `|`."""
        found = [self._one()]
        while self._next("|"):
            found.append(self._one())
        if self._at != len(self._tokens):
            raise self._wrong()
        return tuple(found)

    def _one(self) -> tuple[_Step, ...]:
        steps: list[_Step] = []
        if not (self._next("$") or self._next("@")):
            steps.append(_Step((self._name(),)))
        while True:
            if self._next(".."):
                picks = self._picks() if self._next("[") else (self._name(),)
                steps.append(_Step(picks, deep=True))
            elif self._next("["):
                steps.append(_Step(self._picks()))
            elif self._next("."):
                picks = self._picks() if self._next("[") else (self._name(),)
                steps.append(_Step(picks))
            else:
                return tuple(steps)

    def _picks(self) -> tuple[str | int | slice | None, ...]:
        picks = [self._pick()]
        while self._next(","):
            picks.append(self._pick())
        if not self._next("]"):
            raise self._wrong()
        return tuple(picks)

    def _pick(self) -> str | int | slice | None:
        parts: list[int | None] = [self._number()]
        while self._next(":"):
            parts.append(self._number())
        if len(parts) == 1:
            return parts[0] if parts[0] is not None else self._name()
        if len(parts) > 3 or parts[2:] == [0]:
            raise self._wrong()
        return slice(*parts)

    def _number(self) -> int | None:
        token = self._peek()
        if not re.fullmatch(r"-?\d{1,9}", token):
            return None
        self._at += 1
        return int(token)

    def _name(self) -> str | None:
        token = self._peek()
        self._at += 1
        if token == "*":
            return None
        if token[:1] in ("'", '"'):
            return token[1:-1]
        if not token or not (token[0].isalnum() or token[0] == "_"):
            raise self._wrong()
        return token

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self, token: str) -> bool:
        if self._peek() != token:
            return False
        self._at += 1
        return True

    def _wrong(self) -> ValueError:
        return ValueError(f"the JSONPath {self._path!r} is not valid")
