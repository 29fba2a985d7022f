"""What a signing key and a task's token are. Pure: no key material is made or read here."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

ALGORITHM: Final = "RS256"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key pair. One is active and signs; a retired one stays published until its last token has ended."""

    kid: str
    public: Mapping[str, Any]
    """The public part as a JSON Web Key."""
    sealed: bytes
    """The private part as PEM, sealed."""
    created_at: datetime
    retired_at: datetime | None = None

    def is_due(self, now: datetime, lifetime: timedelta) -> bool:
        """Tell whether it has signed for long enough."""
        return self.retired_at is None and now - self.created_at >= lifetime

    def is_published(self, now: datetime, grace: timedelta) -> bool:
        """Tell whether a token that it signed may still be in use."""
        return self.retired_at is None or now - self.retired_at < grace


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The task that a token is for."""

    account_id: str
    project_id: str
    project_path: str
    workspace_id: str
    workspace_name: str
    run_id: str
    phase: str
    """`plan`, `apply` or `destroy`."""

    def claims(self) -> dict[str, str]:
        """Return what a cloud's trust policy can look at. The subject is the account, as clients' policies expect; the
        rest are claims of their own.
        """
        return {
            "sub": f"account:{self.account_id}",
            "account": self.account_id,
            "project": self.project_id,
            "project_path": self.project_path,
            "workspace": self.workspace_name,
            "workspace_id": self.workspace_id,
            "run": self.run_id,
            "phase": self.phase,
        }


def discovery(issuer: str) -> dict[str, object]:
    """Return the discovery document of an issuer."""
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "scopes_supported": ["openid"],
        "claims_supported": [
            "sub", "aud", "exp", "iat", "iss", "jti", "nbf",
            "account", "project", "project_path", "workspace", "workspace_id", "run", "phase",
        ],
    }  # fmt: skip
