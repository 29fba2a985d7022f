"""What a policy looks at. Owns one question about its text: which attributes of a resource can it read at all.

Giving the interpreter a resource costs in proportion to it, ten times more than asking a rule. Most policies name the few
attributes that they read; whatever uses `input` in another way gets the whole.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

_TEXTS: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|`[^`]*`|#[^\n]*')
_INPUT: Final = re.compile(r"(?<![\w.])input\b")
_CONFIGURATION: Final = "configuration"
_NAMED: Final = re.compile(
    rf"input\.(?:{_CONFIGURATION}\.([A-Za-z_]\w*)|(?!{_CONFIGURATION}\b)([A-Za-z_]\w*))"
)
OWN: Final = frozenset(("resource_type", "action", "actions", "address"))
"""Members of a document that are no attributes of the resource, whatever attributes it has."""


class Reads(NamedTuple):
    """Names of attributes that policies look at."""

    inside: frozenset[str]
    """As `input.configuration.NAME`."""
    beside: frozenset[str]
    """As `input.NAME`."""


def attributes_read(texts: Iterable[str]) -> Reads | None:
    """Return the names of the attributes that modules read; None when they may read any."""
    inside: set[str] = set()
    beside: set[str] = set()
    for text in texts:
        # A text may hold anything and means nothing; a bracket with one in it is kept a bracket.
        code = _TEXTS.sub('""', text)
        for use in _INPUT.finditer(code):
            named = _NAMED.match(code, use.start())
            if named is None:
                return None
            if named[1]:
                inside.add(named[1])
            else:
                beside.add(named[2])
    return Reads(frozenset(inside), frozenset(beside - OWN))


def narrowed(document: Mapping[str, Any], reads: Reads | None) -> Mapping[str, Any]:
    """Return a document of a resource with these attributes only."""
    if reads is None:
        return document
    whole = document[_CONFIGURATION]
    few = {name: document[name] for name in OWN | reads.beside if name in document}
    return {**few, _CONFIGURATION: {name: whole[name] for name in reads.inside if name in whole}}
