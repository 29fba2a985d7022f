"""The texts inside values. Owns the walk through them and the question whether any is a template; renders nothing."""

from collections.abc import Iterable, Iterator, Mapping

from runyard.actions.templating.environment import is_template
from runyard.actions.values import Json


def holds_template(value: Json) -> bool:
    """Tell whether a value is to be rendered."""
    if isinstance(value, str):
        return is_template(value)
    if value is None or isinstance(value, int | float):
        return False
    return any(is_template(text) for text in texts(value))


def texts(value: Json) -> Iterator[str]:
    """Go through the texts of a value, keys included, without recursion."""
    waiting: list[Iterable[Json]] = [(value,)]
    while waiting:
        for item in waiting.pop():
            if isinstance(item, str):
                yield item
            elif isinstance(item, Mapping):
                waiting += (item.keys(), item.values())
            elif isinstance(item, list):
                waiting.append(item)
