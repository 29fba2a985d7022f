"""Regular expressions in templates and rules. Owns their time limit: a pattern can take for ever on a short text."""

from collections.abc import Callable
from typing import TypeVar

import regex

from runyard.actions.errors import TemplateTooExpensive
from runyard.actions.templating.budget import Budget, budget
from runyard.actions.values import Json

_PATTERN = 4096
"""Characters of a pattern."""
Found = TypeVar("Found")


def regex_match(value: Json, pattern: str = "", ignorecase: bool = False) -> bool:
    """Tell whether the pattern matches at the start."""
    return _run(lambda p, text, limit: p.match(text, timeout=limit) is not None, value, pattern, ignorecase)


def regex_search(value: Json, pattern: str = "", ignorecase: bool = False) -> bool:
    """Tell whether the pattern matches anywhere."""
    return _run(lambda p, text, limit: p.search(text, timeout=limit) is not None, value, pattern, ignorecase)


def regex_replace(
    value: Json = "", pattern: str = "", replacement: str = "", ignorecase: bool = False
) -> str:
    """Replace every match; `\\1` in the replacement is the first group."""
    return _run(lambda p, text, limit: _replaced(p, text, replacement, limit), value, pattern, ignorecase)


def regex_substring(value: Json, pattern: str = "", result_index: int = 0, ignorecase: bool = False) -> Json:
    """Return one of the matches, the first by default; with groups, what they caught."""

    def find(compiled: "regex.Pattern[str]", text: str, limit: float) -> list[Json]:
        found: list[Json] = []
        for match in compiled.finditer(text, timeout=limit):
            budget().spend()
            groups = match.groups("")
            found.append(match.group() if not groups else groups[0] if len(groups) == 1 else groups)
        return found

    return _run(find, value, pattern, ignorecase)[result_index]


def _replaced(compiled: "regex.Pattern[str]", text: str, replacement: str, limit: float) -> str:
    """Replace match by match, so that the growing result is seen before it is too long."""
    active = budget()
    parts: list[str] = []
    length = position = 0
    for match in compiled.finditer(text, timeout=limit):
        _check_expansion(active, match, replacement)
        part = match.expand(replacement)
        parts += (text[position : match.start()], part)
        position = match.end()
        length += len(part)
        active.allow_text(length)
    parts.append(text[position:])
    return "".join(parts)


def _check_expansion(active: Budget, match: "regex.Match[str]", replacement: str) -> None:
    longest = max((len(group) for group in (match.group(), *match.groups("")) if group), default=0)
    active.allow_text(len(replacement) + replacement.count("\\") * longest)


def _run(
    work: Callable[["regex.Pattern[str]", str, float], Found], value: Json, pattern: str, ignorecase: bool
) -> Found:
    active = budget()
    text = value if isinstance(value, str) else str(active.weigh(value))
    if len(pattern) > _PATTERN:
        raise TemplateTooExpensive(f"a pattern has more than {_PATTERN} characters")
    try:
        compiled = regex.compile(pattern, regex.IGNORECASE if ignorecase else 0)
        return work(compiled, text, active.limits.regex_seconds)
    except TimeoutError:
        raise TemplateTooExpensive("a pattern takes too long on this text") from None
    except regex.error as error:
        raise ValueError(f"the pattern is not valid: {error}") from None
