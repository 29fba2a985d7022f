"""YAML documents from anybody. Owns the bounds within which one is read, and the plain form that it gets.

The result holds only what JSON can say, and as much as was written: an alias that multiplies itself is refused.
"""

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from runyard.environments.packages.errors import BadPackage

MAX_BYTES: Final = 256 << 10
_MAX_DEPTH: Final = 64
_MAX_NODES: Final = 50_000
_MERGE: Final = "tag:yaml.org,2002:merge"
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[misc]  # one of two classes, by how the library was built
    """The safe loader, with a bound on merge keys: a mapping that merges another several times, which does the same,
    takes exponentially many entries, and all that before the document can be counted.
    """

    merged = 0
    """Entries that merge keys have added to the whole document."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put the entries of merged mappings before those of a mapping; of several merged ones the first one wins."""
        merged: list[Any] = []
        own: list[Any] = []
        for key, value in node.value:
            if key.tag != _MERGE:
                own.append((key, value))
                continue
            for source in reversed(value.value if isinstance(value, yaml.SequenceNode) else [value]):
                if not isinstance(source, yaml.MappingNode):
                    raise yaml.constructor.ConstructorError(None, None, "only mappings merge", key.start_mark)
                self.flatten_mapping(source)
                self.merged += len(source.value)
                if self.merged > _MAX_NODES:
                    raise yaml.constructor.ConstructorError(None, None, "merges too much", key.start_mark)
                merged.extend(source.value)
        node.value = merged + own


def read_yaml(source: Path | bytes, name: str) -> dict[str, Any]:
    """Return the mapping that a file holds, which messages call by a name. Raises BadPackage."""
    if isinstance(source, bytes):
        data = source
    else:
        with source.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadPackage(f"{name}: is larger than {MAX_BYTES} bytes")
    try:
        value = yaml.load(data.decode(), Loader=_Loader)  # noqa: S506  it is made from the safe one
    except UnicodeDecodeError:
        raise BadPackage(f"{name}: is not UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise BadPackage(f"{name}: could not parse YAML: {_shortly(error)}") from None
    if not isinstance(value, dict):
        raise BadPackage(f"{name}: must contain a mapping at the top level")
    plain = _Plain(name).of(value, 0)
    assert isinstance(plain, dict)
    return plain


def _shortly(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = "" if mark is None else f" at line {mark.line + 1}"
    return f"{getattr(error, 'problem', None) or type(error).__name__}{place}"[:200]


@dataclass(slots=True)
class _Plain:
    """Copies a document while counting it."""

    name: str
    left: int = _MAX_NODES

    def of(self, value: object, depth: int) -> Any:  # noqa: ANN401  any JSON value
        self.left -= 1
        if self.left < 0 or depth > _MAX_DEPTH:
            raise BadPackage(f"{self.name}: is too deep, or has more than {_MAX_NODES} values")
        if isinstance(value, Mapping):
            return {self._text(str(key)): self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.of(item, depth + 1) for item in value]
        return self._scalar(value)

    def _scalar(self, value: object) -> Any:  # noqa: ANN401  any JSON value
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value if -(1 << 63) <= value < 1 << 63 else str(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, datetime.date | datetime.datetime):
            return value.isoformat()
        raise BadPackage(f"{self.name}: has a value that is no text, number, truth value, list or mapping")

    def _text(self, text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError:
            text = "\0"
        if "\0" in text:
            raise BadPackage(f"{self.name}: has a text with a NUL or half a surrogate pair in it")
        return text
