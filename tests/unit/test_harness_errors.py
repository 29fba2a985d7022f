"""The ten published errors: which of them a domain error becomes, and with which flags."""

import json

import pytest

from runyard.dialects.harness.errors import (
    DOCUMENTED,
    GONE,
    write_error,
    write_log_error,
    write_pipeline_error,
)
from runyard.infrastructure.remote.errors import AlreadyUploaded, BadDigest, NoDefaultPipeline, SourceGone
from runyard.infrastructure.state.errors import StateLocked
from runyard.infrastructure.workspaces.errors import WorkspaceLocked
from runyard.kernel.errors import (
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    RunyardError,
    Unauthenticated,
    Unavailable,
)
from runyard.server.app import InternalError

FLAGS = ("temporary", "timeout", "fault")


@pytest.mark.parametrize(
    ("error", "status", "name", "flags"),
    [
        (BadDigest(), 400, "BadRequestError", ()),
        (NoDefaultPipeline(), 400, "BadRequestError", ()),
        (Unauthenticated(), 401, "UnauthorizedError", ()),
        (PermissionDenied(), 403, "ForbiddenError", ()),
        (NotFound(), 404, "NotFoundError", ()),
        (SourceGone(), 404, "NotFoundError", ()),
        (DeadlineExceeded(), 408, "TimeoutError", ("timeout",)),
        (AlreadyUploaded(), 409, "ConflictError", ()),
        (WorkspaceLocked(), 423, "LockedError", ("temporary",)),
        (StateLocked(), 423, "LockedError", ("temporary",)),
        (InternalError(), 500, "InternalServerError", ("fault",)),
        (Unavailable(), 502, "BadGatewayError", ("temporary", "fault")),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, RunyardError) else "",
)
def test_error_has_its_published_name_and_flags(
    error: RunyardError, status: int, name: str, flags: tuple[str, ...]
) -> None:
    answer = write_error(error, "r")
    document = json.loads(answer.body)
    assert (answer.status, document["name"], document["id"]) == (status, name, "r")
    assert tuple(flag for flag in FLAGS if document[flag]) == flags
    assert answer.content_type == "application/json"
    assert status in DOCUMENTED


def test_all_ten_are_documented_and_one_has_nobody_to_hear_it() -> None:
    assert len(DOCUMENTED) == 10
    assert GONE.status in DOCUMENTED


def test_other_services_have_envelopes_of_their_own() -> None:
    pipeline = json.loads(write_pipeline_error(NotFound("gone"), "r").body)
    assert pipeline == {
        "status": "ERROR", "code": "NOT_FOUND", "message": "gone", "detailedMessage": "gone", "correlationId": "r",
    }  # fmt: skip
    log = json.loads(write_log_error(NotFound("gone"), "r").body)
    assert (log["error_msg"], log["message"]) == ("gone", "gone")
