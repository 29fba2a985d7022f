"""Server-sent events. Owns the parser; knows nothing of what the events mean."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerEvent:
    """One event: its name, its data lines joined, and the last id that was seen."""

    name: str
    data: str
    last_id: str | None


def parse_events(lines: Iterable[str]) -> Iterator[ServerEvent]:
    """Parse lines (without their ends) into events as WHATWG describes; comments keep the line open and are dropped.

    An event that the end of the input cuts off is not yielded, because it may be half of one.
    """
    name = ""
    last_id: str | None = None
    collected: list[str] = []
    for line in lines:
        if not line:
            if collected:
                yield ServerEvent(name or "message", "\n".join(collected), last_id)
            name, collected = "", []
            continue
        if line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            collected.append(value)
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            last_id = value
