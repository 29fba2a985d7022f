"""YAML of strangers. Owns the bounded reader and the way from a place in a value back to its line.

Only what JSON can say is accepted. A document is judged by its events and its nodes before any value is made: aliases
and merges can grow a small file to any size, deep nesting can exhaust the stack, and long numbers the processor.
"""

import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import yaml

from runyard.actions.errors import InvalidMetadata
from runyard.actions.values import Json

_Loader: Json = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER_LENGTH = 64
_MERGE = "tag:yaml.org,2002:merge"
_PREFIX = "tag:yaml.org,2002:"
_TAGS = frozenset(
    f"{_PREFIX}{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")
)
_LATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class YamlLimits:
    """The bounds of one document."""

    size: int = 1 << 20
    """Characters."""
    events: int = 200_000
    depth: int = 50
    nodes: int = 100_000
    """Values with every alias and merge written out."""


LIMITS = YamlLimits()


class _BoundedLoader(_Loader):  # type: ignore[misc]  # one of two classes, by what is installed
    """Builds values as JSON has them: dates stay text, keys become text, tags of other types are refused."""


def _drop_dates() -> None:
    resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag != f"{_PREFIX}timestamp"]
        for first, pairs in _Loader.yaml_implicit_resolvers.items()
    }
    _BoundedLoader.yaml_implicit_resolvers = resolvers


_drop_dates()


@dataclass(frozen=True, slots=True)
class Document:
    """A value and the nodes that it was made of."""

    value: Json
    node: Json
    file: str = ""

    def line(self, path: Sequence[Hashable] = ()) -> int:
        """Return the line, from 1, of the member at `path`, or of the nearest one that has a line."""
        node = self.node
        if node is None:
            return 1
        line = int(node.start_mark.line)
        for step in path:
            found = _member(node, step)
            if found is None:
                break
            key, node = found
            line = int((key or node).start_mark.line)
        return line + 1

    def error(self, message: str, path: Sequence[Hashable] = ()) -> InvalidMetadata:
        """Return the error that says what is wrong at `path`."""
        return InvalidMetadata(message, file=self.file, line=self.line(path))


def _member(node: Json, step: Hashable) -> tuple[Json, Json] | None:
    if isinstance(node, yaml.SequenceNode):
        return (None, node.value[step]) if isinstance(step, int) and step < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == step:
                return key, value
    return None


def read_yaml(text: str, file: str = "", limits: YamlLimits = LIMITS) -> Document:
    """Read one document. Raises InvalidMetadata with the line of what is wrong."""
    if len(text) > limits.size:
        raise InvalidMetadata(f"the file has more than {limits.size} characters", file=file)
    if _LATE.search(text):
        raise InvalidMetadata("the file has a lone surrogate, which is no character", file=file)
    try:
        _check_events(text, file, limits)
        loader: Json = _BoundedLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return Document(None, None, file)
            _check_expansion(node, file, limits)
            value = loader.construct_document(node)
        finally:
            loader.dispose()
        return Document(_as_json(value, file), node, file)
    except yaml.MarkedYAMLError as error:
        line = getattr(error.problem_mark or error.context_mark, "line", -1) + 1
        said = error.problem or error.context or "the YAML is not valid"
        raise InvalidMetadata(said, file=file, line=line) from None
    except yaml.YAMLError as error:
        raise InvalidMetadata(f"the YAML is not valid: {error}", file=file) from None
    except RecursionError:
        raise InvalidMetadata("the YAML is nested too deeply", file=file) from None
    except (ValueError, OverflowError, TypeError) as error:
        raise InvalidMetadata(f"the YAML has a value that cannot be read: {error}", file=file) from None


def decode(raw: bytes, file: str = "") -> str:
    """Return the text of UTF-8 bytes, without a byte order mark. Raises InvalidMetadata with the line."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        said = f"byte {error.start} is not UTF-8; the file must be UTF-8 text"
        raise InvalidMetadata(said, file=file, line=line) from None


def _check_events(text: str, file: str, limits: YamlLimits) -> None:
    """Judge the events, which are made without recursion, before nodes are made with it."""
    depth = 0
    event: Json  # the stubs leave the marks of events out
    for count, event in enumerate(yaml.parse(text, Loader=_BoundedLoader)):
        line = event.start_mark.line + 1
        if count > limits.events:
            raise InvalidMetadata(f"the YAML has more than {limits.events} parts", file=file, line=line)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > limits.depth:
                raise InvalidMetadata("the YAML is nested too deeply", file=file, line=line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_expansion(root: Json, file: str, limits: YamlLimits) -> None:
    """Compute the size with aliases and merges written out, each node once. Depth is bounded by the events."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: Json) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        line = node.start_mark.line + 1
        if id(node) in open_nodes:
            raise InvalidMetadata("the YAML has an alias to something that holds it", file=file, line=line)
        if len(open_nodes) > limits.depth * 2:
            raise InvalidMetadata("the YAML is nested too deeply", file=file, line=line)
        _check_tag(node, file)
        open_nodes.add(id(node))
        total = 1
        for child in _children(node):
            total += size(child)
            if total > limits.nodes:
                said = f"the YAML has more than {limits.nodes} values when its aliases are written out"
                raise InvalidMetadata(said, file=file, line=line)
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total

    size(root)


def _children(node: Json) -> list[Json]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _check_tag(node: Json, file: str) -> None:
    line = node.start_mark.line + 1
    if node.tag not in _TAGS:
        raise InvalidMetadata(f"the YAML tag {node.tag!r} is not allowed", file=file, line=line)
    numeric = node.tag in (f"{_PREFIX}int", f"{_PREFIX}float")
    if numeric and len(node.value) > _NUMBER_LENGTH:
        raise InvalidMetadata("the YAML has a number that is too long", file=file, line=line)


def _as_json(value: Json, file: str) -> Json:
    if isinstance(value, dict):
        return {_key(key): _as_json(member, file) for key, member in value.items()}
    if isinstance(value, list):
        return [_as_json(member, file) for member in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidMetadata(f"the number {value} has no place in JSON", file=file)
    return value


def _key(key: object) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)
