"""Parameters to runners. Owns how values are divided between the runner and the action, and how scripts get them."""

import json
from dataclasses import dataclass

from runyard.actions.parameters.render import Sources, complete
from runyard.actions.parameters.validate import Parameters
from runyard.actions.values import Json, JsonObject


@dataclass(frozen=True, slots=True)
class Dispatched:
    """The parameters of one run."""

    runner: JsonObject
    """Those that the runner type declares."""
    action: JsonObject
    """The action's own."""


def dispatch(parameters: Parameters, live: JsonObject, sources: Sources) -> Dispatched:
    """Add what is left of the defaults to stored parameters and divide them. Raises ParameterUnresolved."""
    values = complete(parameters, live, sources)
    of_runner = parameters.runner.runner_parameters
    of_action = parameters.action.parameters
    return Dispatched(
        runner={name: value for name, value in values.items() if name in of_runner},
        action={name: value for name, value in values.items() if name in of_action and name not in of_runner},
    )


def script_arguments(parameters: Parameters, values: JsonObject, kwarg_op: str = "--") -> list[str]:
    """Return the arguments of a script: named ones first, then the positional ones in order of position.

    A true boolean is a bare name; false, null and the empty text are left out. A positional null is an empty text.
    """
    named: list[str] = []
    placed: list[tuple[float, str]] = []
    for name, value in values.items():
        position = parameters.schemas.get(name, {}).get("position")
        if position is not None:
            placed.append((position, as_argument(value)))
        elif value is True:
            named.append(f"{kwarg_op}{name}")
        elif value is not None and value is not False and value != "":
            named.append(f"{kwarg_op}{name}={as_argument(value)}")
    return [*named, *(text for _, text in sorted(placed, key=lambda pair: pair[0]))]


def as_argument(value: Json) -> str:
    """Write a value as one argument: null is empty, a boolean 1 or 0, a list joined by commas, an object JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, list):
        return ",".join(as_argument(item) for item in value)
    return json.dumps(value) if isinstance(value, dict) else str(value)
