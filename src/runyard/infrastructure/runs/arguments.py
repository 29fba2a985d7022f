"""Extra command line arguments. Owns which are allowed; everything else is refused by name.

Allowed is what narrows or tunes a plan. Refused is what would change where the state is, which files are read or
written, which variables are used, whether something is asked, or what is printed: those are the workspace's.
"""

import re
import shlex
from collections.abc import Sequence
from typing import Final

from runyard.infrastructure.runs.errors import RefusedArguments

LONGEST: Final = 4096
MOST: Final = 100
_FLAGS: Final = frozenset({"-refresh-only", "-compact-warnings", "-allow-missing"})
_BOOLEANS: Final = frozenset({"-refresh"})
_ADDRESSES: Final = frozenset({"-target", "-replace", "-exclude"})
_NUMBER: Final = re.compile(r"[0-9]{1,3}\Z")
_DURATION: Final = re.compile(r"[0-9]{1,5}(?:ms|s|m|h)\Z")
_ADDRESS: Final = re.compile(r"[A-Za-z_][\w.\-]*(?:\[(?:[0-9]+|\"[^\"\x00-\x1f]*\")\]|[\w.\-])*\Z")


def split(text: str) -> Sequence[str]:
    """Split a line of arguments as a shell does, without expanding anything. Raises RefusedArguments."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise RefusedArguments(f"the arguments cannot be read: {error}") from None


def checked(arguments: Sequence[str], *, plan_only: bool = False) -> Sequence[str]:
    """Return arguments in the form that both tools take, `-name=value`. A plan that is never applied may also be one of
    a destruction. Raises RefusedArguments naming what is refused.
    """
    if len(arguments) > MOST or sum(map(len, arguments)) > LONGEST:
        raise RefusedArguments(f"there are at most {MOST} arguments with {LONGEST} characters together")
    found: list[str] = []
    refused: list[str] = []
    rest = list(arguments)
    while rest:
        item = rest.pop(0)
        name, equals, value = item.partition("=")
        name = f"-{name.lstrip('-')}" if name.startswith("-") else name
        if not equals and name in _ADDRESSES | {"-parallelism", "-lock-timeout"} and rest:
            value, equals = rest.pop(0), "="
        if _allowed(name, equals, value) or (plan_only and item == "-destroy"):
            found.append(f"{name}{equals}{value}")
        else:
            refused.append(item.partition("=")[0][:100])
    if refused:
        raise RefusedArguments(f"these arguments are not allowed: {', '.join(dict.fromkeys(refused))}")
    return found


def _allowed(name: str, equals: str, value: str) -> bool:
    if name in _FLAGS:
        return not equals or value in ("true", "false")
    if name in _BOOLEANS:
        return not equals or value in ("true", "false")
    if name in _ADDRESSES:
        return bool(equals) and _ADDRESS.match(value) is not None
    if name == "-parallelism":
        return _NUMBER.match(value) is not None and value != "0"
    return name == "-lock-timeout" and _DURATION.match(value) is not None
