"""The Runta door as data: every published operation is there, every error has words, bodies and queries are read strictly."""

import contextlib
import uuid
from collections import Counter
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.dialects.door import WEBSOCKET, Call, Door
from runyard.dialects.runta import reading
from runyard.dialects.runta.errors import DOCUMENTED, WORDS, words, write_error
from runyard.dialects.runta.routes import register
from runyard.dialects.runta.services import RuntaServices
from runyard.dialects.runta.stream import _decoder as frames
from runyard.dialects.runta.wire import CreateV1, CreateV2, ExecIn, PatchV1, PatchV2
from runyard.kernel import errors
from runyard.kernel.errors import (
    InvalidArgument,
    MalformedRequest,
    RunyardError,
    Unauthenticated,
    Unimplemented,
)
from runyard.runtimes.definition import EgressMode, IdleMode
from runyard.runtimes.model import Status

CODES = {
    "already_exists", "command_failed", "deadline_exceeded", "failed_precondition", "internal", "invalid_argument",
    "not_found", "permission_denied", "rate_limited", "unauthenticated", "unavailable", "unimplemented",
}  # fmt: skip

PUBLISHED = """
POST /v1/runtimes|GET /v1/runtimes|GET /v1/runtimes/{}|PATCH /v1/runtimes/{}|DELETE /v1/runtimes/{}
POST /v1/runtimes/{}/start|POST /v1/runtimes/{}/stop|POST /v1/runtimes/{}/pause|POST /v1/runtimes/{}/resume
POST /v1/runtimes/{}/exec|WEBSOCKET /v1/runtimes/{}/exec/stream|GET /v1/runtimes/{}/files|PUT /v1/runtimes/{}/files
POST /v1/runtimes/{}/checkpoints|GET /v1/checkpoints|GET /v1/checkpoints/{}|DELETE /v1/checkpoints/{}
GET /v1/secrets|POST /v1/secrets|GET /v1/secrets/{}|PUT /v1/secrets/{}|DELETE /v1/secrets/{}
GET /v1/runtimes/{}/secret-injection-rules|POST /v1/runtimes/{}/secret-injection-rules
GET /v1/runtimes/{}/secret-injection-rules/{}|DELETE /v1/runtimes/{}/secret-injection-rules/{}
GET /v1/secret-injection-rules|DELETE /v1/secret-injection-rules/{}|GET /v1/audits
POST /v2/auth/device/authorization|POST /v2/auth/device/token|DELETE /v2/auth/token|GET /v2/me|GET /v2/images
DELETE /v2/images/{}|GET /v2/images/builds|POST /v2/images/builds|GET /v2/images/builds/{}|DELETE /v2/images/builds/{}
DELETE /v2/images/builds/{}/history|GET /v2/runtimes|POST /v2/runtimes|GET /v2/runtimes/{}|PATCH /v2/runtimes/{}
DELETE /v2/runtimes/{}|POST /v2/runtimes/{}/start|POST /v2/runtimes/{}/stop|POST /v2/runtimes/{}/pause
POST /v2/runtimes/{}/resume|WEBSOCKET /v2/runtimes/{}/exec/stream|GET /v2/runtimes/{}/files|PUT /v2/runtimes/{}/files
POST /v2/runtimes/{}/checkpoints|GET /v2/checkpoints|GET /v2/checkpoints/{}|DELETE /v2/checkpoints/{}|GET /v2/secrets
POST /v2/secrets|GET /v2/secrets/{}|PUT /v2/secrets/{}|DELETE /v2/secrets/{}|POST /v2/runtimes/{}/vnc/enable
POST /v2/runtimes/{}/vnc/disable|GET /v2/runtimes/{}/vnc-credentials|POST /v2/runtimes/{}/vnc-credentials
DELETE /v2/runtimes/{}/vnc-credentials/{}|GET /v2/ssh-host-key|GET /v2/ssh-keys|POST /v2/ssh-keys|DELETE /v2/ssh-keys/{}
GET /v2/runtimes/{}/ssh-keys|PUT /v2/runtimes/{}/ssh-keys/{}|DELETE /v2/runtimes/{}/ssh-keys/{}|GET /v2/events
GET /v2/events/{}|GET /v2/token-analysis|GET /v2/token-analysis/{}|GET /v2/token-savings|GET /v2/model-providers
PATCH /v2/model-providers/{}|GET /v2/agents|POST /v2/agents|GET /v2/agents/{}|GET /v2/github/repositories
"""


class _Anything:
    """Stands for every service: routes are only declared here."""

    def __getattr__(self, name: str) -> "_Anything":
        return _Anything()


@pytest.fixture(scope="module")
def door() -> Door:
    """Return the door over no services."""
    return register(cast("RuntaServices", _Anything()))


def shape(path: str) -> str:
    """Return a path with its parameters made equal."""
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


def call(query: str = "", headers: dict[str, str] | None = None) -> Call:
    """Return a call with a query and headers."""
    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": raw}
    return Call(scope, cast("Any", None), cast("Any", None), {}, str(uuid.uuid4()))


def test_every_published_operation_has_a_route(door: Door) -> None:
    declared = {f"{route.method} {shape(route.path)}" for route in door.routes}
    published = {line for row in PUBLISHED.split("\n") for line in row.split("|") if line}
    assert published - declared == set()


def test_routes_are_unique_and_described(door: Door) -> None:
    assert [name for name, count in Counter(route.name for route in door.routes).items() if count > 1] == []
    shapes = Counter((route.method, shape(route.path)) for route in door.routes)
    assert [pair for pair, count in shapes.items() if count > 1] == []
    for route in door.routes:
        assert route.summary.endswith(".")
        assert route.errors or route.method == WEBSOCKET


def test_routes_have_schemas_for_all_their_types(door: Door) -> None:
    types = [
        kind for route in door.routes for kind in (route.request, route.response) if kind not in (None, bytes)
    ]
    msgspec.json.schema_components(types)


def test_open_routes_are_the_login_alone(door: Door) -> None:
    assert {route.path for route in door.routes if route.open} == {
        "/v2/auth/device/authorization",
        "/v2/auth/device/token",
    }


def every_error() -> list[type[RunyardError]]:
    """Return all domain errors that are imported."""
    found, queue = [], [RunyardError]
    while queue:
        kind = queue.pop()
        found.append(kind)
        queue.extend(kind.__subclasses__())
    return found


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_documented_words(kind: type[RunyardError]) -> None:
    error = kind.__new__(kind)
    RunyardError.__init__(error, "message")
    error.__dict__.setdefault("retry_after", 1.0)
    status, code = words(error)
    assert status in DOCUMENTED
    assert code in CODES


def test_every_code_of_the_kernel_is_in_the_table() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RunyardError)
    ]
    assert {kind.code for kind in kinds} == set(WORDS)


def test_rate_limit_says_when_to_come_back() -> None:
    answer = write_error(errors.LimitExceeded("slow", retry_after=1.2), "id")
    assert (answer.status, dict(answer.headers)[b"retry-after"]) == (429, b"2")
    assert msgspec.json.decode(answer.body) == {
        "error": {"code": "rate_limited", "message": "slow"},
        "request_id": "id",
    }


@given(st.binary(max_size=300))
def test_any_bytes_as_a_body_are_decoded_or_refused(body: bytes) -> None:
    for kind in (CreateV1, CreateV2, PatchV1, PatchV2, ExecIn):
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
        with contextlib.suppress(InvalidArgument, MalformedRequest):
            reading.decode(decoder, body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        "name",
        "checkpoint_id",
        "resources",
        "egress_policy",
        "idle_policy",
        "ingress_specs",
        "environment_variables",
        "image",
        "vnc_enabled",
        "secret_configuration",
        "idle_suspend_after_secs",
        "llm_token_saving_policy",
        "repositories",
        "ssh_key_ids",
    ]
)


@given(st.dictionaries(fields, json_values, max_size=4))
def test_any_document_as_a_create_is_understood_or_refused(document: dict[str, object]) -> None:
    body = msgspec.json.encode(document)
    for kind in (CreateV1, CreateV2):
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
        with contextlib.suppress(InvalidArgument, Unimplemented):
            reading.decode(decoder, body).domain("host")


@given(st.text(max_size=60))
def test_any_query_is_understood_or_refused(text: str) -> None:
    one = call()
    one.scope["query_string"] = text.encode("utf-8", "surrogatepass")
    try:
        values = reading.query(one)
        reading.integer(values, "limit", 50, 1, 100)
        reading.statuses(values, aliases=True)
    except InvalidArgument:
        pass


@given(st.binary(max_size=80) | json_values.map(msgspec.json.encode))
def test_any_frame_is_understood_or_refused(frame: bytes) -> None:
    with contextlib.suppress(msgspec.MsgspecError, UnicodeError):
        frames.decode(frame)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=-1", "limit=1.5", "limit=٣", "limit="]
)
def test_limit_out_of_bounds_is_refused(query: str) -> None:
    with pytest.raises(InvalidArgument):
        reading.integer(reading.query(call(query)), "limit", 50, 1, 100)


@pytest.mark.parametrize("query", ["", "expected_revision=0", "expected_revision=-1", "expected_revision=x"])
def test_revision_must_be_a_positive_number(query: str) -> None:
    with pytest.raises(InvalidArgument):
        reading.revision(reading.query(call(query)))


def test_status_filter_knows_both_vocabularies_of_v1() -> None:
    assert reading.statuses({"status": "active,stopped"}, aliases=True) == {
        Status.RUNNING,
        Status.SHUTDOWN,
    }
    assert reading.statuses({"status": "running, shutdown"}, aliases=False) == {
        Status.RUNNING,
        Status.SHUTDOWN,
    }
    with pytest.raises(InvalidArgument):
        reading.statuses({"status": "active"}, aliases=False)
    with pytest.raises(InvalidArgument):
        reading.statuses({"status": "sleepy"}, aliases=True)
    assert reading.statuses({}, aliases=False) == set()
    assert reading.statuses({"status": "unavailable"}, aliases=False) is None


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic x", "token"])
def test_credential_must_be_a_bearer_token(value: str) -> None:
    with pytest.raises(Unauthenticated):
        reading.bearer(call(headers={"Authorization": value}).scope)
    with pytest.raises(Unauthenticated):
        reading.bearer(call().scope)


def test_credential_is_what_follows_bearer_in_any_case() -> None:
    assert reading.bearer(call(headers={"Authorization": "bearer abc"}).scope) == "abc"


def create_v1(**document: object) -> CreateV1:
    """Decode a create of v1."""
    return reading.decode(msgspec.json.Decoder(CreateV1), msgspec.json.encode(document))


@pytest.mark.parametrize(
    ("policy", "mode"),
    [
        ({"enabled": False, "allowed_hosts": []}, EgressMode.DENYLIST),
        ({"enabled": True, "allowed_hosts": []}, EgressMode.ALLOWLIST),
        ({"mode": "denylist", "allowed_hosts": [], "denied_hosts": []}, EgressMode.DENYLIST),
        ({"mode": "allowlist", "allowed_hosts": [], "denied_hosts": []}, EgressMode.ALLOWLIST),
        (None, EgressMode.DENYLIST),
    ],
)
def test_v1_takes_both_spellings_of_egress(policy: object, mode: EgressMode) -> None:
    assert create_v1(egress_policy=policy).domain("host").definition.egress.mode is mode


def test_v1_takes_both_spellings_of_idling() -> None:
    old = create_v1(idle_suspend_after_secs=30).domain("host").definition.idle
    assert (old.mode, old.suspend_after_secs) == (IdleMode.SUSPEND_AND_WAKEUP, 30)
    new = (
        create_v1(idle_policy={"mode": "suspend_only", "suspend_after_secs": 5})
        .domain("host")
        .definition.idle
    )
    assert (new.mode, new.suspend_after_secs) == (IdleMode.SUSPEND_ONLY, 5)


def test_v1_restore_ignores_the_resources_that_the_sdk_always_sends() -> None:
    new = create_v1(checkpoint_id="c", resources={"requests": {"vcpus": 9, "memory_mib": 99}}).domain("host")
    assert new.resources is None


def test_v2_create_is_closed_and_restore_takes_no_image() -> None:
    decoder = msgspec.json.Decoder(CreateV2)
    for document in (b'{"idle_suspend_after_secs":1}', b'{"egress_policy":{"enabled":true}}', b'{"x":1}'):
        with pytest.raises(InvalidArgument):
            reading.decode(decoder, document)
    with pytest.raises(InvalidArgument):
        reading.decode(decoder, b'{"checkpoint_id":"c","image":{"id":"host"}}').domain("host")


@pytest.mark.parametrize("field", [{"vnc_enabled": True}, {"ssh_key_ids": ["k"]}, {"repositories": [{}]}])
def test_what_this_server_lacks_is_unimplemented_not_ignored(field: dict[str, object]) -> None:
    with pytest.raises(Unimplemented):
        create_v1(**field).domain("host")
