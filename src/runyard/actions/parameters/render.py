"""Templates to values. Owns the rendering of a caller's values and of defaults, each after what it needs.

A text, a list or an object that holds `{{` or `{%` is a template. Inside lists and objects every text is rendered by
itself, and one that is exactly `{{name}}` becomes the value with its type. No I/O: what has to be read comes through the
datastore protocol.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from runyard.actions.errors import ParameterUnresolved, TemplateFailed
from runyard.actions.parameters.cast import cast
from runyard.actions.parameters.graph import Graph
from runyard.actions.parameters.texts import holds_template, texts
from runyard.actions.parameters.validate import Parameters
from runyard.actions.templating.budget import budget, spending
from runyard.actions.templating.datastore import Datastore, Keys, NoDatastore, plain
from runyard.actions.templating.environment import LIMITS, is_template, render, variables_of
from runyard.actions.templating.filters.data import DATASTORE
from runyard.actions.values import Json, JsonObject

_NAME_ALONE: Final = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}")
_NO_SCHEMA: Final[JsonObject] = {}


@dataclass(frozen=True, slots=True)
class Sources:
    """What templates may read beside the parameters."""

    action_context: JsonObject = field(default_factory=dict)
    """The context of the execution."""
    config_context: JsonObject = field(default_factory=dict)
    """The configuration of the pack, resolved."""
    datastore: Datastore = field(default_factory=NoDatastore)
    more: JsonObject = field(default_factory=dict)
    """Further roots by name, such as `trigger` for rules."""

    def roots(self) -> dict[str, Json]:
        """Return the roots by name."""
        return {
            "st2kv": Keys(self.datastore),
            "action_context": self.action_context,
            "config_context": self.config_context,
            **self.more,
        }


def resolve(parameters: Parameters, given: JsonObject, sources: Sources) -> dict[str, Json]:
    """Return the parameters that an execution is stored with: what the caller gave, rendered and cast, and those
    defaults that are templates. Other defaults are not stored.

    Raises ParameterUnresolved (the execution is stored as failed) and InvalidParameters (it is not).
    """
    values = _values(parameters, given, sources, templates=True)
    wanted = parameters.templated - parameters.immutable - given.keys()
    chosen = [*given, *(name for name in parameters.defaults if name in wanted)]
    return {name: cast(values[name], parameters.schemas.get(name, _NO_SCHEMA)) for name in chosen}


def prepare(parameters: Parameters, given: JsonObject, sources: Sources) -> dict[str, Json]:
    """Resolve the parameters of a request and check them; the way of every new execution. Raises as both do."""
    live = resolve(parameters, given, sources)
    parameters.check(live)
    return live


def complete(parameters: Parameters, live: JsonObject, sources: Sources) -> dict[str, Json]:
    """Return the value of every parameter at dispatch: the stored ones as they are, and the rendered defaults.

    What is stored is never rendered again: it may hold text that only looks like a template. Raises as `resolve`.
    """
    values = _values(parameters, live, sources, templates=False)
    names = dict.fromkeys([*live, *parameters.defaults])
    return {name: cast(values[name], parameters.schemas.get(name, _NO_SCHEMA)) for name in names}


def render_value(name: str, value: Json, variables: JsonObject) -> Json:
    """Render a value with templates in it; `name` is for the error. Raises ParameterUnresolved."""
    try:
        with spending(LIMITS):
            return _rendered(value, variables) if isinstance(value, list | dict) else _text(value, variables)
    except TemplateFailed as error:
        raise ParameterUnresolved(f'Failed to render parameter "{name}": {error.message}') from None


def _values(
    parameters: Parameters, given: JsonObject, sources: Sources, *, templates: bool
) -> dict[str, Json]:
    """Work out every name in the order of needs."""
    with spending(LIMITS):
        roots = sources.roots()
        graph = Graph(dict.fromkeys(roots, ()))
        values: dict[str, Json] = dict(roots)
        pending: set[str] = set()
        for name, value in given.items():
            _add(graph, name, value, pending if templates else None)
            values[name] = value
        for name, default in parameters.defaults.items():
            if values.get(name) is None or name in parameters.immutable or name not in given:
                pending.discard(name)
                _add(graph, name, default, pending if name in parameters.templated else None)
                values[name] = default
        for name in graph.order():
            if name in pending:
                needed = {need: values[need] for need in graph.needs[name]}
                values[name] = render_value(name, values[name], {**needed, DATASTORE: sources.datastore})
        return values


def _add(graph: Graph, name: str, value: Json, pending: set[str] | None) -> None:
    """Put a value into the graph, with the names that its templates read."""
    if pending is None or not holds_template(value):
        graph.add(name)
        return
    pending.add(name)
    try:
        needs: list[str] = []
        for text in texts(value):
            if is_template(text):
                needs += variables_of(text)
                budget().check_clock()
    except TemplateFailed as error:
        raise ParameterUnresolved(f'Failed to render parameter "{name}": {error.message}') from None
    graph.add(name, needs)


def _rendered(value: Json, variables: JsonObject, depth: int = LIMITS.depth) -> Json:
    if depth == 0:
        raise TemplateFailed("the value is nested too deeply")
    if isinstance(value, str):
        alone = _NAME_ALONE.fullmatch(value)
        if alone is not None and alone[1] in variables:
            return budget().weigh(plain(variables[alone[1]]))
        return _text(value, variables)
    if isinstance(value, list):
        return [_rendered(item, variables, depth - 1) for item in value]
    if isinstance(value, Mapping):
        return {_text(key, variables): _rendered(item, variables, depth - 1) for key, item in value.items()}
    return value


def _text(text: str, variables: JsonObject) -> str:
    return render(text, variables) if is_template(text) else text
