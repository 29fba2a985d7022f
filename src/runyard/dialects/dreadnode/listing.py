"""Lists of the task registry: what a query may ask of one, and how its pages and its facets look."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from runyard.dialects.dreadnode import reading
from runyard.kernel.errors import InvalidArgument

MAX_PAGE: Final = 100_000


def read_listing(values: Mapping[str, Sequence[str]], sorts: Sequence[str]) -> dict[str, Any]:
    """Read what all lists have: search, order and page. Raises InvalidArgument."""
    sort_by = reading.one(values, "sort_by") or "created_at"
    if sort_by not in sorts:
        raise InvalidArgument(f"sort_by: must be one of {', '.join(sorts)}", loc=["query", "sort_by"])
    direction = reading.one(values, "sort_dir") or "desc"
    if direction not in ("asc", "desc"):
        raise InvalidArgument("sort_dir: must be asc or desc", loc=["query", "sort_dir"])
    search = reading.one(values, "search")
    if search is not None and len(search) > 256:
        raise InvalidArgument("search: must be at most 256 characters", loc=["query", "search"])
    return {
        "search": search,
        "include_public": reading.boolean(values, "include_public") or False,
        "sort_by": sort_by,
        "descending": direction == "desc",
        "page": reading.integer(values, "page", 1, 1, MAX_PAGE),
        "limit": reading.integer(values, "limit", 50, 1, 100),
    }


def page_view(
    name: str, items: Sequence[Mapping[str, Any]], page: int, limit: int, total: int
) -> dict[str, Any]:
    """Return a page of a list under its name."""
    return {
        name: items,
        "page": page,
        "limit": limit,
        "total": total,
        "has_next": page * limit < total,
        "has_previous": page > 1,
    }


def facets_view(found: Mapping[str, Sequence[tuple[str, int]]]) -> dict[str, Any]:
    """Return the values to filter by, each with its number."""
    return {
        name: [{"value": value, "count": number} for value, number in counted]
        for name, counted in found.items()
    }
