"""The table of prices. Owns its form and the arithmetic; the numbers are data (`prices.json`, or the operator's file).

A price is per month of 730 hours, in US dollars. What the table does not know has no price: it is left out, not zero.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from runyard.infrastructure.costs.errors import BadPrices

HOURS: Final = 730.0


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is paid for. All that is given is multiplied."""

    month: float = 0.0
    """Dollars a month."""
    hour: float = 0.0
    """Dollars an hour; added to `month`."""
    by: str = ""
    """Path of the attribute whose value names the price in `prices` (dollars an hour) or `months` (a month); `*` there
    is for all other values. Without it, a resource with another value has no price.
    """
    prices: Mapping[str, float] = {}
    months: Mapping[str, float] = {}
    times: str = ""
    """Path of an attribute that multiplies, such as a size in GiB or a number of nodes."""
    default_times: float = 1.0
    """Its value when it is not set."""
    when: Mapping[str, Any] = {}
    """Attributes that must have these values, else the part is free."""


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices by resource type."""

    about: str
    types: Mapping[str, tuple[Part, ...]]

    def month(self, resource_type: str, attributes: Mapping[str, Any]) -> float | None:
        """Return what a resource costs in a month; None when the table does not know."""
        parts = self.types.get(resource_type)
        if parts is None:
            return None
        total = 0.0
        for part in parts:
            price = _price(part, attributes)
            if price is None:
                return None
            total += price
        return round(total, 4)

    def merged(self, other: "Prices") -> "Prices":
        """Return this table with the types of another one in the place of its own."""
        return Prices(about=other.about, types={**self.types, **other.types})


def shipped() -> Prices:
    """Return the table that comes with the product."""
    return _decoded(resources.files(__package__).joinpath("prices.json").read_bytes(), "the shipped table")


def load(path: Path | None) -> Prices:
    """Return the shipped table, with the types of the operator's file in their place. Raises BadPrices."""
    if path is None:
        return shipped()
    try:
        return shipped().merged(_decoded(path.read_bytes(), str(path)))
    except OSError as error:
        raise BadPrices(f"the price table {path} cannot be read: {error.strerror}") from None


def _decoded(content: bytes, where: str) -> Prices:
    try:
        return msgspec.json.decode(content, type=Prices)
    except msgspec.DecodeError as error:
        raise BadPrices(f"{where} is not a valid price table: {error}") from None


def _price(part: Part, attributes: Mapping[str, Any]) -> float | None:
    for path, wanted in part.when.items():
        if _at(attributes, path) != wanted:
            return 0.0
    month = part.month + part.hour * HOURS
    if part.by:
        value = str(_at(attributes, part.by))
        monthly = part.months.get(value, part.months.get("*"))
        hourly = part.prices.get(value, part.prices.get("*"))
        if monthly is None and hourly is None:
            return None
        month += (monthly or 0.0) + (hourly or 0.0) * HOURS
    if not part.times:
        return month
    number = _number(_at(attributes, part.times))
    return month * (part.default_times if number is None else max(number, 0.0))


def _number(value: Any) -> float | None:  # noqa: ANN401  any JSON
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _at(value: Any, path: str) -> Any:  # noqa: ANN401  any JSON
    """Return what is at a dotted path; a number steps into a list."""
    for step in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
