"""What template code may touch. Owns the lists of methods and attributes, and the size of results foreseen.

Everything that is not named here is refused. A method whose result can be far larger than its arguments, or whose
time is not linear, is asked for its cost before it is called.
"""

import builtins
from collections.abc import Callable, Mapping, Sequence
from string import Formatter

from jinja2.exceptions import SecurityError
from jinja2.runtime import LoopContext
from jinja2.utils import Cycler

from runyard.actions.errors import TemplateTooExpensive
from runyard.actions.templating.budget import budget
from runyard.actions.templating.datastore import plain
from runyard.actions.values import Json

TEXT_METHODS = frozenset(
    [
        "capitalize",
        "casefold",
        "center",
        "count",
        "endswith",
        "expandtabs",
        "find",
        "format",
        "index",
        "isalnum",
        "isalpha",
        "isascii",
        "isdecimal",
        "isdigit",
        "islower",
        "isnumeric",
        "isspace",
        "istitle",
        "isupper",
        "join",
        "ljust",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rindex",
        "rjust",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "swapcase",
        "title",
        "upper",
        "zfill",
    ]
)
MAPPING_METHODS = frozenset({"get", "items", "keys", "values"})
SEQUENCE_METHODS = frozenset({"count", "index"})
_GROUP = frozenset({"grouper", "list"})
_LOOP = frozenset(
    [
        "changed",
        "cycle",
        "depth",
        "depth0",
        "first",
        "index",
        "index0",
        "last",
        "length",
        "nextitem",
        "previtem",
        "revindex",
        "revindex0",
    ]
)
_CYCLER = frozenset({"current", "next", "reset"})
_LONGEST_NUMBER = 1300
"""Characters that the largest number allowed is printed with."""
_STRIP_SET = 256
"""Characters of a set to strip: the cost is the length of the text times this."""


def allowed_attributes(value: object) -> frozenset[str]:
    """Return the attributes that a template may read of a value."""
    if isinstance(value, str):
        return TEXT_METHODS
    if isinstance(value, Mapping):
        return MAPPING_METHODS
    if isinstance(value, list | tuple):
        return SEQUENCE_METHODS | _GROUP if hasattr(value, "grouper") else SEQUENCE_METHODS
    if isinstance(value, LoopContext):
        return _LOOP
    if isinstance(value, Cycler):
        return _CYCLER
    return frozenset()


def check_call(function: object, args: Sequence[Json], options: Mapping[str, Json]) -> None:
    """Refuse a method call whose result would be too large. Raises TemplateTooExpensive."""
    owner = getattr(function, "__self__", None)
    if not isinstance(owner, str):
        return
    check = _CHECKS.get(getattr(function, "__name__", ""))
    if check is not None:
        check(owner, [*args, *options.values()])


def _padded(text: str, args: Sequence[Json]) -> None:
    width = args[0] if args and isinstance(args[0], int) else 0
    budget().allow_text(max(len(text), width))


def _tabs(text: str, args: Sequence[Json]) -> None:
    width = args[0] if args and isinstance(args[0], int) else 8
    budget().allow_text(len(text) + text.count("\t") * max(width, 0))


def _stripped(_text: str, args: Sequence[Json]) -> None:
    if args and isinstance(args[0], str) and len(args[0]) > _STRIP_SET:
        raise TemplateTooExpensive("the set of characters to strip is too large")


def _joined(text: str, args: Sequence[Json]) -> None:
    parts = args[0] if args else ()
    if isinstance(parts, list | tuple):
        budget().allow_text(sum(len(p) for p in parts if isinstance(p, str)) + len(text) * len(parts))


def _replaced(text: str, args: Sequence[Json]) -> None:
    if len(args) >= 2 and isinstance(args[0], str) and isinstance(args[1], str):
        allow_replacement(text, args[0], args[1])


def allow_replacement(text: str, old: str, new: str) -> None:
    """Ask for the text that a replacement of all occurrences makes. Raises TemplateTooExpensive."""
    budget().allow_text(len(text) + text.count(old) * max(len(new) - len(old), 0))


def _split(text: str, args: Sequence[Json]) -> None:
    if args and isinstance(args[0], str) and args[0]:
        budget().allow_nodes(text.count(args[0]) + 1)
    else:
        # Runs of blanks are one separator, so this asks for too much on purpose: counting exactly is the split.
        budget().allow_nodes(sum(text.count(blank) for blank in " \t\n\r\v\f") + len(text) // 4096 + 1)


def _lines(text: str, args: Sequence[Json]) -> None:
    del args
    if len(text) > 1 << 20:
        raise TemplateTooExpensive("the text to split into lines is too large")


_CHECKS: Mapping[str, Callable[[str, Sequence[Json]], None]] = {
    "center": _padded,
    "ljust": _padded,
    "rjust": _padded,
    "zfill": _padded,
    "expandtabs": _tabs,
    "strip": _stripped,
    "lstrip": _stripped,
    "rstrip": _stripped,
    "join": _joined,
    "replace": _replaced,
    "split": _split,
    "rsplit": _split,
    "splitlines": _lines,
}


class BoundedFormatter(Formatter):
    """`str.format` without attributes and without fields of a million blanks."""

    def get_field(self, field_name: str, args: Sequence[Json], kwargs: Mapping[str, Json]) -> Json:
        """Resolve a field by position, name and index; refuse attributes."""
        head, _, rest = field_name.partition("[")
        if "." in head or "." in rest.rpartition("]")[2]:
            raise SecurityError("format() may not read attributes")
        return super().get_field(field_name, args, kwargs)

    def format_field(self, value: Json, format_spec: str) -> Json:
        """Format one field. Raises TemplateTooExpensive for a width that is too large."""
        check_widths(format_spec)
        budget().weigh(value)
        return budget().weigh(format(plain(value), format_spec))

    def convert_field(self, value: Json, conversion: Json) -> Json:
        """Convert one field for `!r`, `!s` and `!a`, a value that was weighed."""
        return super().convert_field(budget().weigh(plain(value)), conversion)


def check_widths(spec: str) -> int:
    """Return the sum of the numbers in a format. Raises TemplateTooExpensive for one that is too large."""
    digits, total = "", 0
    for character in f"{spec} ":
        if character.isdigit():
            digits += character
        else:
            if len(digits) > 4:
                raise TemplateTooExpensive("a width in a format is too large")
            total += int(digits or 0)
            digits = ""
    return total


def operate(operator: str, left: Json, right: Json) -> None:
    """Foresee the size of an operator's result. Raises TemplateTooExpensive."""
    active = budget()
    bits = active.limits.integer_bits
    sizes = [v.bit_length() for v in (left, right) if isinstance(v, int)]
    if any(size > bits for size in sizes):
        raise TemplateTooExpensive("the template computes with numbers that are too large")
    if operator == "*":
        _multiply(left, right)
    elif operator == "**" and len(sizes) == 2:
        if sizes[0] > 1 and right * sizes[0] > bits:
            raise TemplateTooExpensive("the template makes a number that is too large")
    elif operator == "%" and isinstance(left, str):
        _percent(left, right)
    elif operator == "+" and isinstance(left, list | tuple | str) and isinstance(right, builtins.type(left)):
        (active.allow_text if isinstance(left, str) else active.allow_nodes)(len(left) + len(right))


def _percent(text: str, values: Json) -> None:
    """Foresee `text % values`: each field is as long as its width or its value, and names can be used repeatedly."""
    widths = check_widths(text)
    if "*" in text:
        raise TemplateTooExpensive("a width taken from an argument is not allowed in a format")
    fields, content = text.count("%"), budget().measure(values)
    repeated = content * fields if isinstance(values, Mapping) else content
    budget().allow_text(len(text) + widths + repeated + fields * _LONGEST_NUMBER)


def _multiply(left: Json, right: Json) -> None:
    for value, times in ((left, right), (right, left)):
        if isinstance(times, int) and times > 0:
            if isinstance(value, str | bytes):
                budget().allow_text(len(value) * times)
            elif isinstance(value, list | tuple):
                budget().allow_nodes(len(value) * times)
