"""The routing table over all doors."""

from dataclasses import replace

import pytest

from runyard.dialects.door import WEBSOCKET, Answer, Call, Door, Route, Scope
from runyard.kernel.errors import InvalidArgument, NotFound, RunyardError
from runyard.server.router import AmbiguousRoute, MethodNotAllowed, Router


async def nothing(call: Call) -> None:
    """Handle nothing."""


def route(method: str, path: str) -> Route:
    return Route(method=method, path=path, name=f"{method} {path}", summary="Do.", handler=nothing)


def door(name: str, *routes: Route, prefix: str = "/") -> Door:
    def write(error: RunyardError, request_id: str) -> Answer:
        return Answer(500)

    return Door(
        name=name,
        title=name,
        routes=routes,
        prefixes=(prefix,),
        credential=lambda scope: "",
        write_error=write,
    )


def test_find_prefers_a_literal_over_a_parameter() -> None:
    router = Router([door("a", route("GET", "/v1/{thing}"), route("GET", "/v1/fixed"))])
    assert router.find("GET", "/v1/fixed").route.path == "/v1/fixed"
    assert router.find("GET", "/v1/other").params == {"thing": "other"}


def test_find_collapses_slashes_at_the_beginning() -> None:
    router = Router([door("a", route("GET", "/v1/fixed"), prefix="/v1/")])
    assert router.find("GET", "//v1/fixed").route.path == "/v1/fixed"
    found = router.door_for("//v1/other")
    assert found is not None
    assert found.name == "a"


def test_find_goes_back_when_a_literal_leads_nowhere() -> None:
    router = Router([door("a", route("GET", "/v1/fixed/x"), route("GET", "/v1/{thing}/y"))])
    assert router.find("GET", "/v1/fixed/y").params == {"thing": "fixed"}


def test_find_literal_without_the_method_falls_to_the_parameter() -> None:
    router = Router([door("a", route("GET", "/v1/fixed"), route("PUT", "/v1/{thing}"))])
    assert router.find("PUT", "/v1/fixed").params == {"thing": "fixed"}


def test_find_serves_head_by_get_and_keeps_websockets_apart() -> None:
    router = Router([door("a", route("GET", "/x"), route(WEBSOCKET, "/x"))])
    assert router.find("HEAD", "/x").route.method == "GET"
    assert router.find(WEBSOCKET, "/x").route.method == WEBSOCKET


def test_find_unknown_method_names_the_known_ones() -> None:
    router = Router([door("a", route("GET", "/x"), route("PUT", "/x"))])
    with pytest.raises(MethodNotAllowed) as caught:
        router.find("DELETE", "/x")
    assert caught.value.allowed == ["GET", "PUT"]


@pytest.mark.parametrize("path", ["/", "/y", "/x/y", "/v1//z", "/v1", "//"])
def test_find_unknown_path_is_not_found(path: str) -> None:
    router = Router([door("a", route("GET", "/x"), route("GET", "/v1/{thing}/z"))])
    with pytest.raises(NotFound) as caught:
        router.find("GET", path)
    assert not isinstance(caught.value, MethodNotAllowed)


def test_find_decodes_parameters_once_and_never_splits_them() -> None:
    router = Router([door("a", route("GET", "/v1/{thing}/z"))])
    assert router.find("GET", "/v1/a%2Fb%252F%C3%BC/z").params == {"thing": "a/b%2Fü"}


@pytest.mark.parametrize("path", ["/v1/%ff", "/v1/a%00b"])
def test_find_bad_escape_is_a_bad_argument(path: str) -> None:
    with pytest.raises(InvalidArgument):
        Router([door("a", route("GET", "/v1/{thing}"))]).find("GET", path)


def test_router_same_shape_in_two_doors_is_refused() -> None:
    with pytest.raises(AmbiguousRoute, match="a and b both claim GET"):
        Router([door("a", route("GET", "/v1/{one}/x")), door("b", route("GET", "/v1/{two}/x"))])


def test_door_for_takes_the_longest_prefix() -> None:
    router = Router([door("a", prefix="/v1/"), door("b", prefix="/v1/special/")])
    found = [router.door_for(path) for path in ("/v1/x", "/v1/special/x", "/v1", "/v1/special", "/v2")]
    assert [one.name if one else None for one in found] == ["a", "b", "a", "b", None]


def claiming(name: str, *routes: Route, prefix: str, aliases: tuple[tuple[str, str], ...]) -> Door:
    def claims(scope: Scope) -> bool:
        return any(key == b"x-mine" for key, _ in scope["headers"])

    return replace(door(name, *routes, prefix=prefix), aliases=aliases, claims=claims)


def shared_router() -> Router:
    """Return a table in which `new` has paths of its own where `old` has other spellings of its paths."""
    spellings = (("/api/v1/", "/v1/"), ("/api/user/", "/v1/user/"))
    old = claiming("old", route("GET", "/v1/user"), prefix="/api/", aliases=spellings)
    new = replace(
        door("new", route("GET", "/api/v1/user"), route("GET", "/api/v1/org"), prefix="/api/"),
        aliases=(("/api/", "/api/v1/"),),
    )
    return Router([old, new])


MINE: Scope = {"headers": [(b"x-mine", b"1")]}
BARE: Scope = {"headers": []}


@pytest.mark.parametrize(
    ("path", "bare", "mine"),
    [
        ("/api/v1/user", "new", "old"),
        ("/api/user", "new", "old"),
        ("/api/v1/org", "new", "new"),
        ("/api/org", "new", "new"),
        ("/v1/user", "old", "old"),
    ],
)
def test_find_path_of_two_doors_goes_by_the_credential(path: str, bare: str, mine: str) -> None:
    router = shared_router()
    for _ in range(2):  # the second time from what is known
        assert router.find("GET", path, BARE).door.name == bare
        assert router.find("GET", path, MINE).door.name == mine
        assert router.find("GET", path).door.name == bare


def test_find_other_spelling_of_a_claiming_door_needs_no_credential() -> None:
    old = claiming("old", route("GET", "/v1/only"), prefix="/api/", aliases=(("/api/v1/", "/v1/"),))
    router = Router([old, door("new", route("GET", "/api/v1/user"), prefix="/api/")])
    assert router.find("GET", "/api/v1/only", BARE).door.name == "old"


def test_find_wrong_method_at_a_shared_path_names_the_known_ones() -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        shared_router().find("DELETE", "/api/v1/user", BARE)
    assert caught.value.allowed == ["GET"]


def test_door_for_shared_prefix_goes_by_the_credential() -> None:
    router = shared_router()
    found = [router.door_for("/api/v1/nothing", scope) for scope in (BARE, MINE, None)]
    assert [one.name if one else None for one in found] == ["new", "old", "new"]
