"""The frame around every filter. Owns how a filter is paid for; knows no filter."""

from collections.abc import Callable, Iterator
from functools import wraps
from itertools import islice

from jinja2 import pass_context
from jinja2.runtime import Context

from runyard.actions.errors import TemplateTooExpensive
from runyard.actions.templating.budget import budget
from runyard.actions.templating.datastore import Key, Keys
from runyard.actions.values import Json

SLOW_TEXT = 128 << 10
"""Characters that a filter of high cost for each of them accepts."""


def bounded(function: Callable[..., Json]) -> Callable[..., Json]:
    """Wrap a filter: keys become their text, lazy results become lists, and the result is weighed.

    The wrapper asks for the context, which also keeps Jinja from calling it while it compiles.
    """
    kind = getattr(function, "jinja_pass_arg", None)
    wants: str = getattr(kind, "name", "")
    keeps_keys: bool = getattr(function, "keeps_keys", False)

    @pass_context
    @wraps(function, updated=())
    def wrapper(context: Context, *args: Json, **options: Json) -> Json:
        active = budget()
        active.spend()
        given = args if keeps_keys else tuple(_plain(argument) for argument in args)
        first = {"context": context, "environment": context.environment, "eval_context": context.eval_ctx}
        if wants:
            given = (first[wants], *given)
        result = function(*given, **options)
        if isinstance(result, Iterator):
            result = list(islice(result, active.limits.nodes + 1))
        elif isinstance(result, str) and type(result) is not str:
            result = str.__str__(result)  # no markup: parameters are not pages
        active.check_clock()
        return active.weigh(result)

    return wrapper


def short(text: str) -> str:
    """Return a text that is short enough for slow work. Raises TemplateTooExpensive."""
    if len(text) > SLOW_TEXT:
        raise TemplateTooExpensive(f"a filter was given a text of more than {SLOW_TEXT} characters")
    return text


def within(value: int, limit: int, what: str) -> int:
    """Return a number whose size is at most `limit`. Raises TemplateTooExpensive."""
    if abs(value) > limit:
        raise TemplateTooExpensive(f"{what} is larger than {limit}")
    return value


def _plain(value: Json) -> Json:
    return str(value) if isinstance(value, Key | Keys) else value
