"""Small languages of compose files and Dockerfiles: durations, sizes, variables in text, commands. Pure."""

import re
import shlex
from collections.abc import Mapping
from typing import Final

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\Z", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_VARIABLE: Final = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-+?])(?P<other>[^{}]*))?\})"
)


def duration(text: object) -> float:
    """Return seconds of `1m30s`, `500ms` or a number. Raises ValueError."""
    if isinstance(text, int | float) and not isinstance(text, bool) and text >= 0:
        return float(text)
    if isinstance(text, str):
        parts = _DURATION.findall(text)
        if parts and "".join(number + unit for number, unit in parts) == text:
            return sum(float(number) * _UNITS[unit] for number, unit in parts)
    raise ValueError(f"{text!r} is no duration")


def size(text: object) -> int:
    """Return bytes of `512m`, `1.5g` or a number. Raises ValueError."""
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    found = _SIZE.match(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{text!r} is no size")
    return int(float(found[1]) * 1024 ** _POWERS[found[2].lower()])


def processors(text: object) -> float:
    """Return a number of processors. Raises ValueError."""
    if isinstance(text, bool) or not isinstance(text, int | float | str):
        raise ValueError(f"{text!r} is no number of processors")
    found = float(text)
    if not 0.01 <= found <= 4096:
        raise ValueError(f"{text!r} is no number of processors")
    return found


def substituted(text: str, variables: Mapping[str, str]) -> str:
    """Put variables into a text: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:+other}`; `$$` is a dollar.
    Raises ValueError for `${NAME:?message}` without a value.
    """
    return _VARIABLE.sub(lambda found: _value(found, variables), text)


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["escaped"]:
        return "$"
    value = variables.get(found["plain"] or found["name"])
    how, other = found["how"], found["other"] or ""
    # With the colon an empty value counts as none.
    there = value is not None and (value != "" or not (how or "").startswith(":"))
    if how is None:
        return value or ""
    if how.endswith("+"):
        return other if there else ""
    if there:
        return value or ""
    if how.endswith("?"):
        raise ValueError(f"the variable {found['name']} is not set: {other or 'it is required'}")
    return other


def words(text: str) -> list[str]:
    """Split a command as a shell would. Raises ValueError."""
    return shlex.split(text)
