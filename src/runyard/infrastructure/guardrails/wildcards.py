"""Patterns with `*`. Owns their meaning: any run of characters, also none; all else stands for itself, case counts."""

from collections.abc import Iterable, Sequence

import msgspec

EVERYTHING = "*"


def matches(pattern: str, text: str) -> bool:
    """Tell whether a pattern fits a whole text. Takes time in proportion to the two, whatever the pattern."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    last = rest.pop()
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for part in rest:
        found = text.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


class Selection(msgspec.Struct, frozen=True):
    """What is meant: some pattern includes it and none excludes it. No include at all means everything."""

    include: Sequence[str] = (EVERYTHING,)
    exclude: Sequence[str] = ()

    def has(self, *values: str) -> bool:
        """Tell whether any of the names of one thing is included and none is excluded."""
        return self.has_any(values)

    def has_any(self, values: Iterable[str]) -> bool:
        """Tell it for names of which there may be none: then only a pattern that fits an empty text counts."""
        names = tuple(values) or ("",)
        included = not self.include or any(matches(one, name) for one in self.include for name in names)
        return included and not any(matches(one, name) for one in self.exclude for name in names)
