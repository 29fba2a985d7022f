"""Descriptions of fields from the docstrings below them. Owns their reading from source; knows nothing of OpenAPI.

msgspec keeps no attribute docstrings, and writing each description twice (docstring and annotation) would let them
part. Source is read when the document is asked for, never at the start of the server.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping

import msgspec


def field_descriptions() -> Mapping[str, Mapping[str, str]]:
    """Return, by class name, the descriptions of the fields of every message type that is imported."""
    found: dict[str, Mapping[str, str]] = {}
    for kind in _structs(msgspec.Struct):
        if kind.__module__.startswith("runyard."):
            found.setdefault(kind.__name__, _of(kind))
    return found


def _structs(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for one in kind.__subclasses__():
        yield one
        yield from _structs(one)


def _of(kind: type) -> Mapping[str, str]:
    """Read one class and what it inherits; a class without source has no descriptions."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if not one.__module__.startswith("runyard."):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = tree.body[0]
        if isinstance(body, ast.ClassDef):
            found.update(_in(body))
    return found


def _in(body: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(body.body, body.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield field.target.id, " ".join(str(text.value.value).split())
