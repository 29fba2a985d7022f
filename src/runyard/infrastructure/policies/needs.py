"""What a policy looks at. Owns one question about its text: which attributes of a resource can it read at all.

Giving the interpreter a resource costs in proportion to it, ten times more than asking a rule. Most policies name the few
attributes that they read; whatever uses `input` in another way gets the whole.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

_TEXTS: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|`[^`]*`|#[^\n]*')
_INPUT: Final = re.compile(r"(?<![\w.])input\b")
_NAMED: Final = re.compile(
    r"input\.(?:configuration\.([A-Za-z_]\w*)|(?:resource_type|actions|action|address)\b(?!\s*\[))"
)
_CONFIGURATION: Final = "configuration"


def attributes_read(texts: Iterable[str]) -> frozenset[str] | None:
    """Return the names of the attributes that modules read; None when they may read any."""
    found: set[str] = set()
    for text in texts:
        # A text may hold anything and means nothing; a bracket with one in it is kept a bracket.
        code = _TEXTS.sub('""', text)
        for use in _INPUT.finditer(code):
            named = _NAMED.match(code, use.start())
            if named is None:
                return None
            if named[1]:
                found.add(named[1])
    return frozenset(found)


def narrowed(document: Mapping[str, Any], attributes: frozenset[str] | None) -> Mapping[str, Any]:
    """Return a document of a resource with these attributes only."""
    if attributes is None:
        return document
    whole = document[_CONFIGURATION]
    return {**document, _CONFIGURATION: {name: whole[name] for name in attributes if name in whole}}
