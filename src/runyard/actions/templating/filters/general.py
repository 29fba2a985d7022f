"""The template language's own filters, as far as they are wanted, with bounds where they had none."""

import html
from collections.abc import Callable, Iterable, Mapping

from jinja2 import pass_context, pass_environment
from jinja2.environment import Environment
from jinja2.filters import FILTERS as JINJA
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context, Undefined

from runyard.actions.templating.budget import budget
from runyard.actions.templating.filters.wrapping import short, within
from runyard.actions.templating.guards import allow_replacement, operate
from runyard.actions.values import Json

_AS_THEY_ARE = frozenset(
    [
        "abs",
        "capitalize",
        "count",
        "d",
        "default",
        "dictsort",
        "first",
        "float",
        "items",
        "last",
        "length",
        "lower",
        "random",
        "reverse",
        "trim",
        "upper",
    ]
)
_OF_ITEMS = frozenset(
    ["groupby", "list", "map", "max", "min", "reject", "rejectattr", "select", "selectattr", "sort", "unique"]
)
"""Filters that take every item: the letters of a long text would be many."""
_COUNT = 10_000


def _of_items(name: str) -> Callable[..., Json]:
    original = JINJA[name]

    def filtered(*args: Json, **options: Json) -> Json:
        for argument in args:
            if isinstance(argument, str):
                budget().allow_nodes(len(argument))
        return original(*args, **options)

    if hasattr(original, "jinja_pass_arg"):
        filtered.jinja_pass_arg = original.jinja_pass_arg  # type: ignore[attr-defined]
    return filtered


def _slow(name: str) -> Callable[..., Json]:
    original = JINJA[name]

    def filtered(*args: Json, **options: Json) -> Json:
        for argument in args:
            if isinstance(argument, str):
                short(argument)
        return original(*args, **options)

    if hasattr(original, "jinja_pass_arg"):
        filtered.jinja_pass_arg = original.jinja_pass_arg  # type: ignore[attr-defined]
    return filtered


def _batch(value: Iterable[Json], linecount: int, fill_with: Json = None) -> Json:
    return JINJA["batch"](value, within(linecount, _COUNT, "the size of a batch"), fill_with)


@pass_environment
def _slice(environment: Environment, value: Iterable[Json], slices: int, fill_with: Json = None) -> Json:
    del environment
    size = within(slices, _COUNT, "the number of slices")
    items = list(value)
    if size < 1:
        raise ValueError("there must be at least one slice")
    each, extra = divmod(len(items), size)
    parts, start = [], 0
    for number in range(size):
        end = start + each + (number < extra)
        part = items[start:end]
        parts.append([*part, fill_with] if fill_with is not None and number >= extra else part)
        start = end
    return parts


def _center(value: Json, width: int = 80) -> str:
    text = str(value)
    budget().allow_text(max(len(text), width))
    return text.center(width)


def _escape(value: Json) -> str:
    return html.escape(str(value))


def _format(value: str, *args: Json, **options: Json) -> str:
    if args and options:
        raise ValueError("format takes positional or named values, not both")
    operate("%", str(value), options or args)
    return str(value) % (options or args)


def _indent(value: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    prefix = " " * within(width, 1000, "an indent") if isinstance(width, int) else width
    budget().allow_text(len(value) + (value.count("\n") + 1) * len(prefix))
    lines = value.splitlines()
    rest = [prefix + line if line or blank else line for line in lines[1:]]
    start = [prefix + lines[0] if first else lines[0]] if lines else []
    return "\n".join([*start, *rest])


def _integer(value: Json, default: int = 0, base: int = 10) -> Json:
    if isinstance(value, str) and len(value) > 4000:
        return default
    return JINJA["int"](value, default, base)


@pass_environment
def _join(environment: Environment, value: Iterable[Json], d: str = "", attribute: Json = None) -> str:
    if isinstance(value, Undefined):
        return ""
    items: Iterable[Json] = value
    if attribute is not None:
        items = map(make_attrgetter(environment, attribute), value)
    texts = [str(budget().weigh(item)) for item in items]
    budget().allow_text(sum(map(len, texts)) + len(str(d)) * len(texts))
    return str(d).join(texts)


def _replace(s: Json, old: str, new: str, count: int | None = None) -> str:
    text, wanted, instead = str(s), str(old), str(new)
    allow_replacement(text, wanted, instead)
    return text.replace(wanted, instead, -1 if count is None else count)


def _round(value: float, precision: int = 0, method: str = "common") -> Json:
    return JINJA["round"](value, within(precision, 50, "the precision"), method)


def _string(value: Json) -> str:
    budget().weigh(value)
    return str(value)


@pass_context
def _sum(context: Context, iterable: Iterable[Json], attribute: Json = None, start: Json = 0) -> Json:
    """Add numbers only: adding lists is quadratic."""
    items: Iterable[Json] = iterable
    if attribute is not None:
        items = map(make_attrgetter(context.environment, attribute), iterable)
    total = start
    for item in items:
        if not isinstance(item, int | float) or not isinstance(total, int | float):
            raise TypeError("sum adds numbers only")
        total += item
        budget().spend()
    return total


@pass_context
def _tojson(context: Context, value: Json, indent: int | None = None) -> str:
    if indent is not None:
        within(indent, 16, "an indent")
    budget().weigh(value)
    return str(JINJA["tojson"](context.eval_ctx, value, indent))


FILTERS: Mapping[str, Callable[..., Json]] = {
    **{name: JINJA[name] for name in _AS_THEY_ARE},
    **{name: _of_items(name) for name in _OF_ITEMS},
    **{
        name: _slow(name)
        for name in ("filesizeformat", "title", "truncate", "urlencode", "wordcount", "wordwrap")
    },
    "batch": _batch,
    "center": _center,
    "e": _escape,
    "escape": _escape,
    "format": _format,
    "indent": _indent,
    "int": _integer,
    "join": _join,
    "replace": _replace,
    "round": _round,
    "slice": _slice,
    "string": _string,
    "sum": _sum,
    "tojson": _tojson,
}
