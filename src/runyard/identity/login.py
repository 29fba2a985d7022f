"""Access tokens: short-lived signed proofs that somebody holds a token. Owns their form, signature and lifetime.

A JWT (HS256, key derived from the vault's ring) names the token that it stands for and keeps no state: many may live
beside each other, and the end of the token is the end of all of them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import jwt

from runyard.identity.model import Principal
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import Unauthenticated
from runyard.kernel.ids import TokenId

LIFETIME: Final = timedelta(hours=1)
ALGORITHM: Final = "HS256"
_CONTEXT: Final = b"access-token"
_AUDIENCE: Final = "runyard"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed proof and its end."""

    text: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Proven:
    """What a valid access token says."""

    token_id: TokenId
    expires_at: datetime


class Signer:
    """Makes and checks access tokens."""

    def __init__(self, vault: Vault) -> None:
        """Take the keys."""
        self._vault = vault

    def issue(self, caller: Principal, token_id: TokenId, now: datetime) -> AccessToken:
        """Return a proof for the token with which the caller came; it ends after `LIFETIME`."""
        expires = (now + LIFETIME).replace(microsecond=0)
        key_id, key = next(iter(self._vault.derived(_CONTEXT).items()))
        claims = {
            "sub": str(caller.user_id),
            "accountId": str(caller.scope.account_id),
            "jti": str(token_id),
            "aud": _AUDIENCE,
            "iat": int(now.timestamp()),
            "exp": int(expires.timestamp()),
        }
        return AccessToken(jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": key_id}), expires)

    def check(self, text: str, now: datetime) -> Proven:
        """Return what a proof says. Raises Unauthenticated for a wrong signature, a past end, or anything else."""
        try:
            key = self._vault.derived(_CONTEXT)[str(jwt.get_unverified_header(text).get("kid"))]
            # The end is compared with the injected clock, not with the library's own.
            claims = jwt.decode(
                text,
                key,
                algorithms=[ALGORITHM],
                audience=_AUDIENCE,
                options={"require": ["exp", "jti", "aud"], "verify_exp": False, "verify_iat": False},
            )
            expires = datetime.fromtimestamp(int(claims["exp"]), now.tzinfo)
            token_id = TokenId.parse(str(claims["jti"]))
        except (jwt.InvalidTokenError, KeyError, ValueError, OverflowError):
            raise Unauthenticated("the access token is not valid") from None
        if expires <= now:
            raise Unauthenticated("the access token has expired")
        return Proven(token_id, expires)


def looks_signed(secret: str) -> bool:
    """Tell whether a secret has the form of an access token; tokens and passwords of other kinds do not."""
    return secret.startswith("eyJ") and secret.count(".") == 2
