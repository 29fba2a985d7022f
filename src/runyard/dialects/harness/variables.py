"""Variables as the dialect's two maps, from the wire and to it. Owns what a map's entry means; reads no database."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from runyard.dialects.harness.wire import ValueIn
from runyard.infrastructure.variables.model import (
    Destination,
    NewVariable,
    Sensitivity,
    Variable,
    check,
)
from runyard.kernel.errors import InvalidArgument


class Maps(Protocol):
    """A body with variables."""

    terraform_variables: Mapping[str, ValueIn]
    environment_variables: Mapping[str, ValueIn]


def variables_of(body: Maps) -> list[NewVariable]:
    """Return the variables of a body, checked before anything is written. Raises InvalidArgument, InvalidVariable."""
    found = [
        *_entries(body.terraform_variables, Destination.IAC),
        *_entries(body.environment_variables, Destination.ENV),
    ]
    for one in found:
        check(one)
    return found


def _entries(variables: Mapping[str, ValueIn], destination: Destination) -> Iterable[NewVariable]:
    for key, one in variables.items():
        if one.key not in (None, key):
            raise InvalidArgument(f"the key of variable {key[:100]!r} differs from its name")
        try:
            sensitivity = Sensitivity(one.value_type)
        except ValueError:
            raise InvalidArgument(f"value_type of {key[:100]!r} must be string or secret") from None
        yield NewVariable(key=key, value=one.value, sensitivity=sensitivity, destination=destination)


def maps_of(variables: Iterable[Variable]) -> dict[str, Any]:
    """Return variables as the two maps; a secret has no value there."""
    maps: dict[Destination, dict[str, Any]] = {Destination.IAC: {}, Destination.ENV: {}}
    for one in variables:
        view = {
            "key": one.key,
            "value": one.value or "",
            "value_type": one.sensitivity.value,
            "created": 0,
            "updated": 0,
        }
        maps[one.destination][one.key] = view
    return {"terraform_variables": maps[Destination.IAC], "environment_variables": maps[Destination.ENV]}
