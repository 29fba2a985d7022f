"""The sandbox. Owns how a template is compiled and rendered; knows nothing of actions or parameters.

Jinja's own sandbox guards attributes only. Here the generated code also counts: each turn of a loop, each call, each
operator, each comparison and everything that is made, so that no template runs long or grows large. Nothing is
evaluated while compiling, and tags that reach other templates or change the evaluation are refused.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache, wraps

from jinja2 import StrictUndefined, Template, TemplateError, meta, pass_context
from jinja2.runtime import Context, Macro, Undefined
from jinja2.sandbox import SandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import Cycler, Joiner, Namespace

from runyard.actions.errors import TemplateFailed, TemplateTooExpensive
from runyard.actions.templating.budget import Limits, budget, spending
from runyard.actions.templating.compiling import CountTokens, Generator
from runyard.actions.templating.datastore import Key, Keys, plain
from runyard.actions.templating.filters import FILTERS
from runyard.actions.templating.guards import BoundedFormatter, allowed_attributes, check_call, operate
from runyard.actions.values import Json

LIMITS = Limits()
_CACHED_SOURCE = 8 << 10
"""Longer templates are compiled each time: the cache is bounded by its number of entries only."""


def is_template(text: str) -> bool:
    """Tell whether a text has anything to render."""
    return "{{" in text or "{%" in text


def render(source: str, variables: Mapping[str, Json], limits: Limits = LIMITS) -> str:
    """Render a template. Raises TemplateFailed with the reason, TemplateTooExpensive at a bound of `limits`."""
    with spending(limits) as active:
        outer, active.literal = active.literal, len(source)
        try:
            template = _compiled(source, limits)
            active.check_clock()
            return _run(template, variables)
        except TemplateFailed:
            raise
        except (RecursionError, MemoryError):
            raise TemplateTooExpensive("the template is nested too deeply") from None
        except Exception as error:  # noqa: BLE001 - the code is a stranger's: whatever it raises is its failure
            raise TemplateFailed(str(error) or type(error).__name__) from None
        finally:
            active.literal = outer


def variables_of(source: str, limits: Limits = LIMITS) -> list[str]:
    """List the names that a template reads, sorted. Raises TemplateFailed when it is not a template."""
    try:
        return list(_names(source, limits))
    except (RecursionError, MemoryError):
        raise TemplateTooExpensive("the template is nested too deeply") from None
    except (TemplateError, ValueError) as error:
        raise TemplateFailed(str(error)) from None


def _run(template: Template, variables: Mapping[str, Json]) -> str:
    active = budget()
    context = template.new_context(dict(variables))
    chunks: list[str] = []
    length = 0
    for chunk in template.root_render_func(context):
        length += len(chunk)
        active.allow_text(len(chunk))
        if length > active.limits.text:
            active.allow_text(length)
        chunks.append(chunk)
    return "".join(chunks)


@lru_cache(maxsize=1024)
def _names(source: str, limits: Limits) -> tuple[str, ...]:
    _check_source(source, limits)
    return tuple(sorted(meta.find_undeclared_variables(_environment(limits).parse(source))))


def _compiled(source: str, limits: Limits) -> Template:
    _check_source(source, limits)
    make = _cached if len(source) <= _CACHED_SOURCE else _cached.__wrapped__
    return make(source, limits)


@lru_cache(maxsize=1024)
def _cached(source: str, limits: Limits) -> Template:
    return _environment(limits).from_string(source)


def _check_source(source: str, limits: Limits) -> None:
    if len(source) > limits.source:
        raise TemplateTooExpensive(f"the template has more than {limits.source} characters")


@lru_cache(maxsize=8)
def _environment(limits: Limits) -> "_Sandbox":
    return _Sandbox(limits)


class _Counted:
    """An iterable whose turns are paid for."""

    def __init__(self, items: Iterable[Json], literal: int) -> None:
        self._items = items
        self._price = 1 + literal // 16

    def __iter__(self) -> Iterator[Json]:
        active = budget()
        for item in self._items:
            active.spend(self._price)
            yield item

    def __len__(self) -> int:
        if not isinstance(self._items, Collection):
            raise TypeError("the length is known only at the end")
        return len(self._items)


class _QuietNamespace(Namespace):
    """A namespace that does not print its values: a chain of them would print exponentially."""

    def __repr__(self) -> str:
        return "<Namespace>"


@pass_context
def _finalize(context: Context, value: Json) -> Json:
    """Turn what is printed into text. Asking for the context keeps Jinja from evaluating while it compiles."""
    del context
    active = budget()
    value = plain(value)
    if isinstance(value, str):
        active.allow_text(len(value))
        return value
    if callable(value) and not isinstance(value, Undefined):
        raise TemplateFailed("only data can be printed, and this is a function")
    active.weigh(value)
    return active.weigh(str(value))


def _stepped(test: Json) -> Callable[..., Json]:
    """Wrap a test: `select` and its kin apply it to many items, and each comparison can be long."""

    @wraps(test)
    def stepped(*args: Json) -> Json:
        budget().step()
        return test(*args)

    return stepped


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    budget().allow_nodes(len(numbers) // 64)
    if len(numbers) > budget().limits.nodes:
        raise TemplateTooExpensive(f"the range has more than {budget().limits.nodes} numbers")
    return numbers


class _Sandbox(SandboxedEnvironment):
    """The environment of all templates; it holds no state of a rendering."""

    code_generator_class = Generator
    intercepted_binops = frozenset(["//", "%", "+", "*", "-", "/", "**"])

    def __init__(self, limits: Limits) -> None:
        super().__init__(
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=_finalize,
            extensions=[CountTokens],
            cache_size=0,
        )
        self.token_limit = limits.tokens
        self.filters = dict(FILTERS)
        self.tests = {name: _stepped(test) for name, test in TESTS.items()}
        self.globals = {
            "range": _range,
            "dict": dict,
            "namespace": _QuietNamespace,
            "cycler": Cycler,
            "joiner": Joiner,
        }

    def each(self, items: Iterable[Json], literal: int) -> Iterable[Json]:
        """Wrap what a loop goes through."""
        iter(items)  # an undefined value says so here
        return _Counted(items, literal)

    def ticked(self, value: Json) -> Json:
        """Account for an operation that copied or compared at most what exists."""
        budget().step()
        return value

    def weighed(self, value: Json) -> Json:
        """Account for a collection that was made."""
        return budget().weigh(value)

    def joined(self, parts: tuple[Json, ...]) -> str:
        """Join the texts of values."""
        texts = [part if isinstance(part, str) else str(_finalize_alone(part)) for part in parts]
        budget().allow_text(sum(map(len, texts)))
        return "".join(texts)

    def getattr(self, obj: Json, attribute: str) -> Json:
        """Read `obj.attribute`: a key below another, an allowed method, or a member."""
        if isinstance(obj, Key | Keys):
            return obj.below(attribute)
        if isinstance(obj, dict) and attribute not in allowed_attributes(obj):
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Json, argument: Json) -> Json:
        """Read `obj[argument]`."""
        argument = plain(argument)
        if isinstance(obj, Key | Keys):
            return obj.below(str(argument))
        return super().getitem(obj, argument)

    def is_safe_attribute(self, obj: Json, attr: str, value: Json) -> bool:
        """Allow what is listed and nothing else."""
        del value
        if isinstance(obj, Namespace):
            return not attr.startswith("_")
        return attr in allowed_attributes(obj)

    def is_safe_callable(self, obj: Json) -> bool:
        """Allow macros, loops, the globals and the methods that an attribute may reach."""
        return not getattr(obj, "unsafe_callable", False)

    def wrap_str_format(self, value: Json) -> Callable[..., str] | None:
        """Replace `str.format`, which would read attributes and pad without end."""
        if getattr(value, "__name__", "") != "format" or not isinstance(
            getattr(value, "__self__", None), str
        ):
            return None
        text: str = value.__self__
        return lambda *args, **options: str(BoundedFormatter().vformat(text, args, options))

    def call(self, context: Context, obj: Json, /, *args: Json, **options: Json) -> Json:
        """Call a method, a global or a macro, within bounds."""
        active = budget()
        active.spend(1 + (active.literal // 16 if isinstance(obj, Macro) else 0))
        given = [plain(argument) for argument in args]
        check_call(obj, given, options)
        result = super().call(context, obj, *given, **{name: plain(v) for name, v in options.items()})
        if isinstance(obj, Macro) or isinstance(result, _Counted | range):
            return result
        if isinstance(result, type({}.keys()) | type({}.values()) | type({}.items())):
            result = list(result)
        return active.weigh(result)

    def call_binop(self, context: Context, operator: str, left: Json, right: Json) -> Json:
        """Compute `left operator right`, within bounds."""
        left, right = plain(left), plain(right)
        operate(operator, left, right)
        return budget().weigh(super().call_binop(context, operator, left, right))


def _finalize_alone(value: Json) -> str:
    value = plain(value)
    budget().weigh(value)
    return str(value)
