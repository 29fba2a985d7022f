"""The Runta door: every published operation of v1 and v2 as data, bound to its handler."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runyard.dialects.door import WEBSOCKET, Door, Parameter, Route
from runyard.dialects.runta import reading
from runyard.dialects.runta.absent import ABSENT, ABSENT_OPEN, absent
from runyard.dialects.runta.errors import DOCUMENTED, Envelope, write_error
from runyard.dialects.runta.exec import ExecHandlers
from runyard.dialects.runta.files import FileHandlers
from runyard.dialects.runta.runtimes import RuntimeHandlers
from runyard.dialects.runta.services import RuntaServices
from runyard.dialects.runta.stored import AccountHandlers, CheckpointHandlers, SecretHandlers
from runyard.dialects.runta.stream import StreamHandlers
from runyard.dialects.runta.views import (
    CheckpointOut,
    Enveloped,
    ExecOut,
    ImageOut,
    Listed,
    ListedV1,
    RuntimeV1,
    RuntimeV2,
    SecretOut,
)
from runyard.dialects.runta.wire import (
    CheckpointIn,
    CreateV1,
    CreateV2,
    ExecIn,
    PatchV1,
    PatchV2,
    SecretPut,
    SecretV1,
    SecretV2,
)
from runyard.identity.model import Permission

_READ, _WRITE, _EXEC = Permission.RUNTIMES_READ, Permission.RUNTIMES_WRITE, Permission.RUNTIMES_EXEC
_SECRETS_READ, _SECRETS_WRITE = Permission.SECRETS_READ, Permission.SECRETS_WRITE

_PATH = Parameter(name="path", summary="A regular file, absolute or relative to /root.", required=True)
_STATUS = Parameter(name="status", summary="Comma-separated statuses; all when left out.")
_AFTER = Parameter(name="after", summary="The cursor of the page before.")
_OFFSET = Parameter(name="offset", summary="Items to skip.", schema={"type": "integer", "minimum": 0})
_KEY = Parameter(
    name="Idempotency-Key",
    summary="The same key and body give the same runtime.",
    schema={"type": "string", "minLength": 1, "maxLength": 255},
    where="header",
)
_REVISION = Parameter(
    name="expected_revision",
    summary="The revision that the caller read.",
    schema={"type": "integer", "minimum": 1},
    required=True,
)

_CHECKPOINT = Enveloped[CheckpointOut]
_SECRET = Enveloped[SecretOut]
_EMPTY = Enveloped[dict[str, str]]
_NAME = re.compile(r"[^A-Za-z0-9]+")


def _limit(maximum: int) -> Parameter:
    schema: Mapping[str, object] = {"type": "integer", "minimum": 1, "maximum": maximum}
    return Parameter(name="limit", summary="Items on the page at most.", schema=schema)


def _route(method: str, path: str, name: str, summary: str, **more: Any) -> Route:  # noqa: ANN401  a table reads better than a builder
    errors = [status for status in DOCUMENTED if status != 501]
    return Route(
        method=method, path=path, name=name, summary=summary, errors=errors, tags=[path.split("/")[1]], **more
    )


def _v1_runtimes(h: RuntimeHandlers) -> Iterator[Route]:
    base, one = "/v1/runtimes", "/v1/runtimes/{runtime}"
    listing = [_STATUS, _limit(reading.V1_PAGE_LIMIT), _OFFSET, _AFTER]
    out: dict[str, Any] = {"response": Enveloped[RuntimeV1]}
    yield _route(
        "POST", base, "createRuntimeV1", "Create a runtime, or restore a checkpoint into one.",
        handler=h.create_v1, permission=_WRITE, request=CreateV1, parameters=[_KEY], **out,
    )  # fmt: skip
    yield _route(
        "GET", base, "listRuntimesV1", "List runtimes, the newest first.",
        handler=h.list_v1, permission=_READ, response=ListedV1[list[RuntimeV1]], parameters=listing,
    )  # fmt: skip
    yield _route(
        "GET", one, "getRuntimeV1", "Get a runtime by id or name.", handler=h.get_v1, permission=_READ, **out
    )
    yield _route(
        "PATCH", one, "patchRuntimeV1", "Change a runtime.",
        handler=h.patch_v1, permission=_WRITE, request=PatchV1, **out,
    )  # fmt: skip
    yield _route(
        "DELETE", one, "deleteRuntimeV1", "Delete a runtime with its files.",
        handler=h.delete_v1, permission=_WRITE, response=_EMPTY,
    )  # fmt: skip
    verbs = (("start", h.start_v1), ("stop", h.stop_v1), ("pause", h.pause_v1), ("resume", h.resume_v1))
    for verb, handler in verbs:
        yield _route(
            "POST", f"{one}/{verb}", f"{verb}RuntimeV1", f"{verb.capitalize()} a runtime.",
            handler=handler, permission=_WRITE, **out,
        )  # fmt: skip


def _v2_runtimes(h: RuntimeHandlers) -> Iterator[Route]:
    base, one = "/v2/runtimes", "/v2/runtimes/{runtime_id}"
    listing = [_STATUS, _limit(reading.PAGE_LIMIT), _AFTER]
    out: dict[str, Any] = {"response": Enveloped[RuntimeV2]}
    locked: dict[str, Any] = {"permission": _WRITE, "parameters": [_REVISION], **out}
    yield _route(
        "POST", base, "createRuntime", "Create a runtime, or restore a checkpoint into one.",
        handler=h.create_v2, permission=_WRITE, request=CreateV2, parameters=[_KEY], status=201, **out,
    )  # fmt: skip
    yield _route(
        "GET", base, "listRuntimes", "List runtimes, the newest first.",
        handler=h.list_v2, permission=_READ, response=Listed[list[RuntimeV2]], parameters=listing,
    )  # fmt: skip
    yield _route("GET", one, "getRuntime", "Get a runtime by id.", handler=h.get_v2, permission=_READ, **out)
    yield _route(
        "PATCH", one, "patchRuntime", "Change a runtime.", handler=h.patch_v2, request=PatchV2, **locked
    )
    yield _route(
        "DELETE", one, "deleteRuntime", "Delete a runtime.", handler=h.delete_v2, status=202, **locked
    )
    verbs = (("start", h.start_v2), ("stop", h.stop_v2), ("pause", h.pause_v2), ("resume", h.resume_v2))
    for verb, handler in verbs:
        yield _route(
            "POST",
            f"{one}/{verb}",
            f"{verb}Runtime",
            f"{verb.capitalize()} a runtime.",
            handler=handler,
            **locked,
        )


def _work(exec_: ExecHandlers, stream: StreamHandlers, files: FileHandlers) -> Iterator[Route]:
    yield _route(
        "POST", "/v1/runtimes/{runtime}/exec", "execRuntime", "Run a buffered command.",
        handler=exec_.run, permission=_EXEC, request=ExecIn, response=Enveloped[ExecOut],
    )  # fmt: skip
    for version, one in (("V1", "/v1/runtimes/{runtime}"), ("", "/v2/runtimes/{runtime_id}")):
        path = f"{one}/exec/stream"
        summary = "Run a command over a WebSocket: frames in JSON, bytes in Base64."
        yield _route(
            WEBSOCKET, path, f"execStream{version}", summary, handler=stream.run, permission=_EXEC, status=101
        )
        yield _route(
            "GET", path, f"execStreamWithoutUpgrade{version}", "Refuse: this needs a WebSocket.",
            handler=stream.refuse, permission=_EXEC, status=422,
        )  # fmt: skip
        yield _route(
            "GET", f"{one}/files", f"readRuntimeFile{version}", "Read a file.",
            handler=files.read, permission=_EXEC, response=bytes, parameters=[_PATH],
        )  # fmt: skip
        yield _route(
            "PUT", f"{one}/files", f"writeRuntimeFile{version}", "Write a file, making its parents.",
            handler=files.write, permission=_EXEC, request=bytes, status=204, parameters=[_PATH],
            body_limit_bytes=0,
        )  # fmt: skip


def _checkpoints(h: CheckpointHandlers) -> Iterator[Route]:
    for version, runtime in (("v1", "{runtime}"), ("v2", "{runtime_id}")):
        suffix, v1 = version.upper() if version == "v1" else "", version == "v1"
        yield _route(
            "POST", f"/{version}/runtimes/{runtime}/checkpoints", f"createCheckpoint{suffix}",
            "Copy a runtime's files; memory is not captured.",
            handler=h.create, permission=_WRITE, request=CheckpointIn, response=_CHECKPOINT,
        )  # fmt: skip
        yield _route(
            "GET", f"/{version}/checkpoints", f"listCheckpoints{suffix}", "List checkpoints, the newest first.",
            handler=h.list_v1 if v1 else h.list_v2, permission=_READ, response=ListedV1[list[CheckpointOut]] if v1 else Listed[list[CheckpointOut]],
            parameters=[_limit(reading.V1_PAGE_LIMIT if v1 else reading.PAGE_LIMIT), _AFTER],
        )  # fmt: skip
        one = f"/{version}/checkpoints/{{checkpoint}}"
        yield _route(
            "GET", one, f"getCheckpoint{suffix}", "Get a checkpoint by id or name.",
            handler=h.get, permission=_READ, response=_CHECKPOINT,
        )  # fmt: skip
        yield _route(
            "DELETE", one, f"deleteCheckpoint{suffix}", "Delete a checkpoint.",
            handler=h.delete, permission=_WRITE, response=_EMPTY,
        )  # fmt: skip


def _secrets(h: SecretHandlers) -> Iterator[Route]:
    for version in ("v1", "v2"):
        v1, suffix = version == "v1", "V1" if version == "v1" else ""
        base, one = f"/{version}/secrets", f"/{version}/secrets/{{secret}}"
        yield _route(
            "GET", base, f"listSecrets{suffix}", "List secrets, without their values.",
            handler=h.listing, permission=_SECRETS_READ, response=Enveloped[list[SecretOut]],
        )  # fmt: skip
        yield _route(
            "POST", base, f"createSecret{suffix}", "Store a new secret.",
            handler=h.create_v1 if v1 else h.create_v2, permission=_SECRETS_WRITE,
            request=SecretV1 if v1 else SecretV2, response=_SECRET,
        )  # fmt: skip
        yield _route(
            "GET", one, f"getSecret{suffix}", "Get a secret, without its value.",
            handler=h.get, permission=_SECRETS_READ, response=_SECRET,
        )  # fmt: skip
        yield _route(
            "PUT", one, f"setSecret{suffix}", "Create or replace a secret.",
            handler=h.put, permission=_SECRETS_WRITE, request=SecretPut, response=_SECRET,
        )  # fmt: skip
        yield _route(
            "DELETE", one, f"deleteSecret{suffix}", "Delete a secret.",
            handler=h.delete, permission=_SECRETS_WRITE, response=_EMPTY,
        )  # fmt: skip


def _account(h: AccountHandlers) -> Iterator[Route]:
    yield _route(
        "GET", "/v2/me", "getMe", "Tell who the caller is.", handler=h.me, response=Enveloped[dict[str, str]]
    )
    yield _route(
        "DELETE", "/v2/auth/token", "revokeCurrentToken", "Revoke the caller's own token.",
        handler=h.revoke_token, status=204,
    )  # fmt: skip
    yield _route(
        "GET", "/v2/images", "listRuntimeImages", "List what runtimes can be made from.",
        handler=h.images, permission=_READ, response=Enveloped[list[ImageOut]],
    )  # fmt: skip


def _absent(table: Sequence[tuple[str, str, str]], *, is_open: bool) -> Iterator[Route]:
    for group, path, methods in table:
        for method in methods.split():
            name = f"absent{method.capitalize()}{_NAME.sub('_', path).rstrip('_')}"
            yield Route(
                method=method, path=path, name=name, summary="Published by the vendor, not implemented here.",
                handler=absent, open=is_open, status=501, errors=[401, 501], tags=[f"not implemented: {group}"],
            )  # fmt: skip


def register(services: RuntaServices) -> Door:
    """Build the door over the domain services."""
    runtimes = RuntimeHandlers(services)
    routes = itertools.chain(
        _v1_runtimes(runtimes),
        _v2_runtimes(runtimes),
        _work(ExecHandlers(services), StreamHandlers(services), FileHandlers(services)),
        _checkpoints(CheckpointHandlers(services)),
        _secrets(SecretHandlers(services)),
        _account(AccountHandlers(services)),
        _absent(ABSENT, is_open=False),
        _absent(ABSENT_OPEN, is_open=True),
    )
    return Door(
        name="runta",
        title="Runta runtimes, v1 and v2",
        routes=tuple(routes),
        prefixes=("/v1/", "/v2/"),
        credential=reading.bearer,
        write_error=write_error,
        error_body=Envelope,
    )
