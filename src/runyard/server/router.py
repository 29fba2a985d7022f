"""The routing table. Owns how a method and a path find a route of a door; answers nothing itself.

A path is split into segments and walked through a tree; a literal segment wins over a parameter. Two routes for
one method and shape are a mistake of the doors and refused when the table is built.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from runyard.dialects.door import Door, Route, Scope
from runyard.kernel.errors import InvalidArgument, NotFound, RunyardError


class MethodNotAllowed(NotFound):
    """This path does not know this method."""

    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: list[str]) -> None:
        """Carry the methods that the path knows."""
        super().__init__(message, allowed=allowed)
        self.allowed = allowed


class AmbiguousRoute(RunyardError):
    """Two routes claim the same method and path."""

    code = "ambiguous_route"


_KNOWN_MAX = 1024
"""Found routes kept by their exact path: clients repeat themselves. A path of a request is at most some KiB long."""


@dataclass(slots=True)
class _Node:
    literal: dict[str, "_Node"] = field(default_factory=dict)
    parameter: "_Node | None" = None
    routes: dict[str, tuple[Door, Route, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """A found route and its path parameters, percent-decoded."""

    door: Door
    route: Route
    params: dict[str, str]
    rivals: tuple["Match", ...] = ()
    """What the same path is in doors that can tell a request of theirs."""

    def copy(self) -> "Match":
        """Return the match with parameters of its own."""
        return Match(self.door, self.route, self.params.copy())


class Router:
    """All routes of all doors.

    Two doors may have one path, the one by its routes and the other by an alias. A door that can tell its requests by
    their credential (`Door.claims`) gets those; the other one gets the rest, refusals of unknown paths included.
    """

    def __init__(self, doors: Iterable[Door]) -> None:
        """Build the table. Raises AmbiguousRoute."""
        self.doors = tuple(doors)
        self._root = _Node()
        self._known: dict[tuple[str, str], Match] = {}
        self._prefixes: dict[str, list[Door]] = {}
        self._aliases: dict[str, list[tuple[str, Door]]] = {}
        for door in self.doors:
            for prefix in door.prefixes:
                self._prefixes.setdefault(prefix, []).append(door)
            for given, meant in door.aliases:
                self._aliases.setdefault(given, []).append((meant, door))
            for route in door.routes:
                self._add(door, route)
        self._depth = max((given.count("/") for given in (*self._prefixes, *self._aliases)), default=0)

    def _add(self, door: Door, route: Route) -> None:
        node, names = self._root, []
        for segment in _segments(route.path):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literal.setdefault(segment, _Node())
        taken = node.routes.get(route.method)
        if taken is not None:
            raise AmbiguousRoute(f"{taken[0].name} and {door.name} both claim {route.method} {route.path}")
        node.routes[route.method] = (door, route, tuple(names))

    def _heads(self, path: str) -> Iterator[str]:
        """Yield what a path begins with, up to each slash, the longest first; the path itself counts as ended by one."""
        padded, ends, place = path + "/", [], 0
        for _ in range(self._depth):
            place = padded.find("/", place) + 1
            if not place:
                break
            ends.append(place)
        for end in reversed(ends):
            yield padded[:end]

    def door_for(self, path: str, scope: Scope | None = None) -> Door | None:
        """Return the door in whose words a request for this path is refused; None when no door owns it."""
        for head in self._heads(_collapsed(path)):
            doors = self._prefixes.get(head)
            if doors is None:
                continue
            if len(doors) == 1:
                return doors[0]
            for door in doors:
                if door.claims is not None and scope is not None and door.claims(scope):
                    return door
            return next((door for door in doors if door.claims is None), doors[0])
        return None

    def find(self, method: str, raw_path: str, scope: Scope | None = None) -> Match:
        """Return the route. `raw_path` is still percent-encoded. HEAD is served by GET.
        Raises NotFound, MethodNotAllowed, InvalidArgument (a bad escape or a NUL in the path).
        """
        raw_path = _collapsed(raw_path)
        known = self._known.get((method, raw_path))
        if known is None:
            known = self._named(method, raw_path)
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[method, raw_path] = known
        if known.rivals and scope is not None:
            for rival in known.rivals:
                if rival.door.claims is not None and rival.door.claims(scope):
                    return rival.copy()
        return known.copy()

    def _named(self, method: str, raw_path: str) -> Match:
        """Search the path as it is, and as the other spelling of doors: at most one match of a door that cannot tell its
        requests, and one of each door that can.
        """
        found: list[Match] = []
        refusal: NotFound | None = None
        try:
            found.append(self._search(method, raw_path))
        except NotFound as error:
            refusal = error
        for meant, door in self._spellings(raw_path):
            if any(one.door is door or (one.door.claims is None and door.claims is None) for one in found):
                continue
            try:
                match = self._search(method, meant)
            except NotFound as error:
                if not isinstance(refusal, MethodNotAllowed):
                    refusal = error
                continue
            if match.door is door:
                found.append(match)
        if not found:
            raise refusal or NotFound("there is nothing at this path")
        first = next((one for one in found if one.door.claims is None), found[0])
        rivals = tuple(one for one in found if one is not first and one.door.claims is not None)
        return Match(first.door, first.route, first.params, rivals)

    def _spellings(self, raw_path: str) -> Iterator[tuple[str, Door]]:
        """Yield the other spellings of a path, those of the longest alias first, with the doors that have them."""
        for head in self._heads(raw_path):
            for meant, door in self._aliases.get(head, ()):
                yield meant + raw_path[len(head) :], door

    def _search(self, method: str, raw_path: str) -> Match:
        segments = _segments(raw_path)
        allowed: set[str] = set()
        for node, values in _walk(self._root, segments, 0, ()):
            found = node.routes.get(method) or (node.routes.get("GET") if method == "HEAD" else None)
            if found is not None:
                door, route, names = found
                return Match(
                    door, route, {name: _decoded(value) for name, value in zip(names, values, strict=True)}
                )
            allowed.update(node.routes)
        if allowed:
            raise MethodNotAllowed(f"{method} is not known here", allowed=sorted(allowed))
        raise NotFound("there is nothing at this path")


def _collapsed(path: str) -> str:
    """Return the path with one slash at its beginning: clients join an address that ends in one with another."""
    return "/" + path.lstrip("/") if path.startswith("//") else path


def _segments(path: str) -> list[str]:
    return path.strip("/").split("/")


def _walk(
    node: _Node, segments: list[str], depth: int, values: tuple[str, ...]
) -> Iterator[tuple[_Node, tuple[str, ...]]]:
    """Yield every node with routes that the segments lead to, literals first."""
    if depth == len(segments):
        if node.routes:
            yield node, values
        return
    segment = segments[depth]
    literal = node.literal.get(segment)
    if literal is not None:
        yield from _walk(literal, segments, depth + 1, values)
    if node.parameter is not None and segment:
        yield from _walk(node.parameter, segments, depth + 1, (*values, segment))


def _decoded(segment: str) -> str:
    if "%" not in segment:
        return segment
    try:
        value = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise InvalidArgument("the path is not valid UTF-8") from None
    if "\0" in value:
        raise InvalidArgument("the path contains a NUL")
    return value
