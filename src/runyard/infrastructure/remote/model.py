"""The remote execution. Owns its type, the arguments that it takes and how a digest is read; no I/O."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from runyard.infrastructure.remote.errors import BadArgument, BadDigest
from runyard.kernel.ids import AccountId, ProjectId, RemoteExecutionId, RunId, WorkspaceId

RETENTION: Final = timedelta(days=7)
"""How long a source is kept after its upload."""
ARGUMENTS: Final[Mapping[str, str]] = {"target": "-target", "replace": "-replace"}
"""The custom arguments and what they are for the tool."""
MAX_VALUES: Final = 1000
_MAX_ADDRESS: Final = 1024
_HEX_DIGEST: Final = re.compile(r"sha-?256=([0-9a-f]{64})\Z", re.IGNORECASE)
_FIELD_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):\Z")


class RemoteExecution(msgspec.Struct, frozen=True, kw_only=True):
    """One remote execution."""

    id: RemoteExecutionId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    workspace_id: WorkspaceId
    actor: str
    arguments: Mapping[str, Sequence[str]]
    """The custom arguments, each of `ARGUMENTS` with its values in the order given."""
    run_id: RunId
    """The id that its run has or will have: fixed from the start, so that it begins once however often it is asked."""
    checksum: str = ""
    """SHA-256 of the source, which is also its blob; empty before the upload."""
    size_bytes: int = 0
    uploaded_at: datetime | None = None
    executed_at: datetime | None = None
    removed_at: datetime | None = None
    """When its source was removed."""
    created_at: datetime
    updated_at: datetime

    @property
    def plan_arguments(self) -> list[str]:
        """Return the words for the tool's command line, one a value."""
        return [f"{ARGUMENTS[name]}={value}" for name in ARGUMENTS for value in self.arguments.get(name, ())]


def check_arguments(arguments: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """Return the arguments without empty ones. Raises BadArgument naming what is not taken."""
    for name, values in arguments.items():
        if name not in ARGUMENTS:
            raise BadArgument(
                f"unknown custom argument {name[:100]!r}; a plan takes {' and '.join(ARGUMENTS)}"
            )
        if len(values) > MAX_VALUES:
            raise BadArgument(f"custom argument {name!r} has more than {MAX_VALUES} values")
        for value in values:
            if not 1 <= len(value) <= _MAX_ADDRESS or any(ord(character) < 32 for character in value):
                raise BadArgument(
                    f"a value of custom argument {name!r} is no resource address: {value[:100]!r}"
                )
    return {name: tuple(values) for name, values in arguments.items() if values}


def read_digest(header: str | None) -> str:
    """Return the lower-case hexadecimal SHA-256 of a `Content-Digest` header, in the form that clients send
    (`sha256=<hex>`) or that of RFC 9530 (`sha-256=:<base64>:`). Raises BadDigest.
    """
    text = (header or "").strip()
    found = _HEX_DIGEST.match(text)
    if found is not None:
        return found[1].lower()
    found = _FIELD_DIGEST.match(text)
    if found is not None:
        try:
            return base64.b64decode(found[1], validate=True).hex()
        except binascii.Error:
            pass
    raise BadDigest("the Content-Digest header must be sha256=<64 hexadecimal digits>")
