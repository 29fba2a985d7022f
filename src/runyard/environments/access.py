"""The execute token of an environment. Owns its form and its comparison; only a digest of it is kept."""

import hashlib
import hmac
import secrets
from typing import Final

from runyard.environments.errors import WrongExecuteToken

PREFIX: Final = "ry_env_"


def new_token() -> tuple[str, bytes]:
    """Return a fresh token, shown once, and the digest to keep."""
    token = f"{PREFIX}{secrets.token_urlsafe(32)}"
    return token, digest_of(token)


def digest_of(token: str) -> bytes:
    """Return the digest of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def check(header: str | None, digest: bytes) -> None:
    """Check what a caller sent, with or without `Bearer` before it, in constant time. Raises WrongExecuteToken."""
    if header is None:
        raise WrongExecuteToken("Authentication failed: the header X-Environment-Token is missing")
    kind, _, rest = header.strip().partition(" ")
    token = rest.strip() if kind.lower() == "bearer" else header.strip()
    if not hmac.compare_digest(digest_of(token), digest):
        raise WrongExecuteToken("Authentication failed: the execute token is not valid for this environment")
