"""What a name that several things may have refers to."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from runyard.runtimes.errors import AmbiguousName


class Identified(Protocol):
    """Has an id."""

    @property
    def id(self) -> Any:  # noqa: ANN401  each kind has a type of its own
        """Return it."""
        ...


T = TypeVar("T", bound=Identified)


def only(named: Sequence[T], reference: str, kind: str) -> T | None:
    """Return the one thing of a name, None when nothing has it. Raises AmbiguousName listing the ids."""
    if len(named) > 1:
        ids = ", ".join(item.id for item in named)
        raise AmbiguousName(f"{len(named)} {kind} are named '{reference}'; use one of the ids: {ids}")
    return named[0] if named else None
