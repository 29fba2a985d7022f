"""Completeness over tables: every error in every door, every route with all that it must declare."""

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import runyard
from runyard.dialects.door import WEBSOCKET, Door
from runyard.dialects.dreadnode import routes as dreadnode
from runyard.dialects.dreadnode.errors import write_error
from runyard.dialects.firefly import routes as firefly
from runyard.dialects.harness import routes as harness
from runyard.dialects.runta import routes as runta
from runyard.dialects.stackstorm import routes as stackstorm
from runyard.dialects.terraform import routes as terraform
from runyard.kernel.errors import LimitExceeded, RunyardError
from runyard.server import native, openapi
from runyard.server.native import problems
from runyard.server.router import Router
from runyard.settings import Settings
from tests.fakes.doors import Anything

FAULTS = {"internal", "invariant", "bad_settings", "ambiguous_route", "cannot_unseal", "key_ring_broken"}
"""Codes that are no caller's fault: faults of the server, and of its settings or key ring."""
ANY_CREDENTIAL = {"whoAmI", "revokeToken", "metrics", "getMe", "revokeCurrentToken"} | {
    "ping",
    "getAccount",
    "validateToken",
    "getUser",
    "getVersion",
    "listGroups",
    "listGroupMembers",
    "listOrganizations",
    "getOrganization",
    "listWorkspaces",
    "getWorkspace",
    "listProjects",
    "getProject",
    "createApiKey",
    "listApiKeys",
    "revokeOwnKey",
    "revokeApiKey",
}
"""Routes that ask for a credential and for no permission: they concern the caller itself, or check by themselves."""


def import_everything() -> None:
    """Import every module of the product, so that each error class is known."""
    for found in pkgutil.walk_packages(runyard.__path__, "runyard."):
        if "migrations" not in found.name and not found.name.endswith("__main__"):
            importlib.import_module(found.name)


def errors(kind: type[RunyardError] = RunyardError) -> Iterator[type[RunyardError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from errors(one)


def made(kind: type[RunyardError]) -> RunyardError:
    """Make an error without knowing what its constructor takes."""
    error = kind.__new__(kind)
    RunyardError.__init__(error)
    if isinstance(error, LimitExceeded):
        error.retry_after = 2.5
    return error


import_everything()
HOUSE = Anything(settings=Settings(data_dir=Path("/nonexistent")))
DOORS: list[Door] = [
    native.register(HOUSE),  # type: ignore[arg-type]
    runta.register(HOUSE),  # type: ignore[arg-type]
    stackstorm.register(HOUSE),  # type: ignore[arg-type]
    dreadnode.register(HOUSE),  # type: ignore[arg-type]
    firefly.register(HOUSE),  # type: ignore[arg-type]
    terraform.register(HOUSE),  # type: ignore[arg-type]
    *harness.register(HOUSE),  # type: ignore[arg-type]
]
METHODS_OF_TERRAFORM = {"LOCK", "UNLOCK"}
REQUEST_ID_IN_HEADER_ONLY = {"stackstorm", "dreadnode", "firefly"}
"""Doors whose published error has no place for it, or whose clients read its digits as a status."""
ROUTES = [(door, route) for door in DOORS for route in door.routes]
ERRORS = sorted(
    {kind for kind in errors() if kind.__module__.startswith("runyard.")}, key=lambda kind: kind.__name__
)


def test_errors_have_a_sentence_and_a_code_of_their_own() -> None:
    own = [kind.code for kind in ERRORS if "code" in vars(kind)]
    assert [code for code, number in Counter(own).items() if number > 1] == []
    for kind in ERRORS:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", kind.code), kind
        assert vars(kind).get("__doc__"), kind
        assert (kind.__doc__ or "").strip().endswith("."), kind


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_every_error_has_an_answer_in_every_door(door: Door) -> None:
    for kind in ERRORS:  # a loop: a test of its own for each pair takes most of a minute
        answer = door.write_error(made(kind), "0" * 36)
        assert 400 <= answer.status < 600, kind
        document = msgspec.json.decode(answer.body)
        assert door.name in REQUEST_ID_IN_HEADER_ONLY or "0" * 36 in answer.body.decode(), kind
        assert isinstance(document, dict), kind
        headers = dict(answer.headers)
        assert (b"retry-after" in headers) == issubclass(kind, LimitExceeded), kind
        assert (answer.status == 500) == (kind.code in FAULTS), (
            f"{kind.__name__} needs a line in the table of {door.name}"
        )


def test_statuses_of_the_dreadnode_door_are_the_published_ones() -> None:
    statuses = {write_error(made(kind), "0" * 36).status for kind in ERRORS}
    assert statuses <= {400, 401, 403, 404, 409, 422, 426, 429, 500, 502, 504}


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_every_route_declares_all(door: Door) -> None:
    for route in door.routes:
        assert route.summary.endswith("."), route
        assert route.summary[0].isupper(), route
        assert re.fullmatch(r"[a-zA-Z][A-Za-z0-9_]*", route.name), route
        assert route.method in {"GET", "POST", "PUT", "PATCH", "DELETE", WEBSOCKET} | METHODS_OF_TERRAFORM
        if route.open:
            assert route.permission is None, route
            continue
        assert 401 in route.errors, route
        if route.status != 501 and route.name not in ANY_CREDENTIAL:
            assert route.permission is not None, route
            assert 403 in route.errors, route
        if "{" in route.path and route.status != 501:
            assert 404 in route.errors, route


def test_route_names_are_unique_within_a_door() -> None:
    names = Counter((door.name, route.name) for door, route in ROUTES)
    assert [name for name, number in names.items() if number > 1] == []


def test_routes_of_all_doors_fit_in_one_table() -> None:
    router = Router(DOORS)
    for door, route in ROUTES:
        path = re.sub(r"\{[^}]+\}", "x1", route.path)
        scope = {"headers": [(b"accept", door.error_type.encode())]}
        assert router.find(route.method, path, scope).door is door


def test_paths_of_workspaces_go_to_the_door_whose_protocol_is_spoken() -> None:
    router = Router(DOORS)
    path = "/api/v2/workspaces/x1"
    spoken = {"headers": [(b"accept", b"application/vnd.api+json")]}
    assert router.find("DELETE", path, spoken).door.name == "terraform"
    assert router.find("DELETE", path, {"headers": [(b"accept", b"application/json")]}).door.name == "firefly"
    assert router.find("POST", f"{path}/actions/lock", {"headers": []}).door.name == "terraform"
    assert router.find("POST", "/api/v2/workspaces/search", spoken).door.name == "firefly"
    assert router.door_for(f"{path}/nothing", spoken) is not router.door_for(
        f"{path}/nothing", {"headers": []}
    )


def test_only_health_and_documents_are_open() -> None:
    found = {route.path for _, route in ROUTES if route.open and route.status != 501}
    health = {"/healthz", "/runyard/v1/health/live", "/runyard/v1/health/ready"}
    logging_in = {"/v1/tokens", "/v2/login", "/v2/health"}
    dreadnode = {"/api/v1/health", "/api/v1/config", "/login/device"}
    dreadnode |= {f"/api/v1/auth/device/{part}" for part in ("code", "code/{code}", "token")}
    terraform = {"/.well-known/terraform.json"}
    terraform |= {f"/v2/.well-known/{name}" for name in ("openid-configuration", "jwks.json")}
    documents = {"/openapi.json", "/docs", "/docs/{file}"}
    closed_by_themselves = {
        path for path in found if path.startswith(("/terraform/state/", "/api/v2/objects/"))
    }
    assert found == health | logging_in | dreadnode | terraform | documents | closed_by_themselves


def test_openapi_has_every_route_with_examples_and_no_dangling_reference() -> None:
    document = openapi.document(DOORS)
    text = msgspec.json.encode(document).decode()
    for _, route in ROUTES:
        if route.method in METHODS_OF_TERRAFORM:
            continue  # OpenAPI has no word for them
        method = "get" if route.method == WEBSOCKET else route.method.lower()
        operation = document["paths"][route.path][method]
        assert all(
            "content" in answer for status, answer in operation["responses"].items() if int(status) >= 400
        )
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        assert content is None or "example" in content
    for name in re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', text):
        assert name in document["components"]["schemas"]
    components = document["components"]["schemas"]
    assert components["ExecutionOut"]["properties"]["ended_by"]["description"].startswith("Who ended it")
    codes = {one["code"]: one["status"] for one in problems.catalogue()}
    assert codes.keys() == {kind.code for kind in ERRORS}
    assert codes["runtime_not_found"] == 404
    ids = re.findall(r'"operationId":"([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_openapi_examples_are_accepted_by_the_decoders() -> None:
    document = openapi.document(DOORS)
    for _, route in ROUTES:
        if route.request in (None, bytes):
            continue
        operation = document["paths"][route.path][route.method.lower()]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        msgspec.convert(example, type=route.request)
