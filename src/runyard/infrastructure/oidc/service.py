"""Verbs of the OpenID provider: publish keys, sign a token, rotate.

Owns when a key is made and retired. Private keys leave the database sealed and are opened in memory only.
"""

import asyncio
import secrets
from datetime import timedelta
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from runyard.database.engine import Database
from runyard.database.errors import UniqueViolation
from runyard.infrastructure.oidc import store
from runyard.infrastructure.oidc.model import ALGORITHM, SigningKey, Subject, discovery
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.crypto import Vault

_BITS: Final = 2048
_MARGIN: Final = timedelta(hours=1)
"""How long a retired key stays published after its last token ended: verifiers keep the key set for a while."""


_Signing = tuple[SigningKey, rsa.RSAPrivateKey]


class OidcService:
    """Signs tokens for tasks and publishes what is needed to check them."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        *,
        token_lifetime: timedelta,
        key_lifetime: timedelta,
        now: Now = utc_now,
    ) -> None:
        """Take the parts."""
        self._database = database
        self._vault = vault
        self._token_lifetime = token_lifetime
        self._key_lifetime = key_lifetime
        self._now = now
        self._signing: _Signing | None = None
        self._turn = asyncio.Lock()

    def discovery(self, issuer: str) -> dict[str, object]:
        """Return the discovery document."""
        return discovery(issuer)

    async def key_set(self) -> dict[str, object]:
        """Return the JSON Web Key Set: the key that signs and those whose tokens may still be in use."""
        await self._active()
        async with self._database.read() as tx:
            keys = await store.all_keys(tx)
        now, grace = self._now(), self._token_lifetime + _MARGIN
        return {"keys": [dict(key.public) for key in keys if key.is_published(now, grace)]}

    async def token(self, issuer: str, audience: str, subject: Subject) -> str:
        """Return a signed token for a task; it ends by itself."""
        key, private = await self._active()
        now = self._now()
        claims: dict[str, Any] = {
            **subject.claims(),
            "iss": issuer,
            "aud": audience,
            "iat": now,
            "nbf": now - timedelta(seconds=5),
            "exp": now + self._token_lifetime,
            "jti": secrets.token_hex(16),
        }
        return jwt.encode(claims, private, ALGORITHM, headers={"kid": key.kid})

    async def rotate(self) -> str:
        """Retire the key that signs, make another, drop what nobody needs, and return the id of the new one."""
        async with self._turn:
            self._signing = await self._replace()
            return self._signing[0].kid

    async def _replace(self) -> _Signing:
        fresh, private = await asyncio.to_thread(self._make)
        now = self._now()
        async with self._database.transaction() as tx:
            for key in await store.all_keys(tx):
                if key.retired_at is None:
                    await store.retire(tx, key.kid, now)
            await store.delete_retired(tx, now - self._token_lifetime - _MARGIN)
            await store.insert_key(tx, fresh)
        return fresh, private

    async def seal_again(self) -> int:
        """Seal private keys with the vault's current key after its rotation; return how many needed it."""
        async with self._database.read() as tx:
            old = [key for key in await store.all_keys(tx) if self._vault.needs_reseal(key.sealed)]
        for key in old:
            async with self._database.transaction() as tx:
                await store.replace_sealed(tx, key.kid, self._vault.reseal(key.sealed, _context(key.kid)))
        return len(old)

    async def _active(self) -> _Signing:
        """Return the key that signs; the first one is made when it is asked for, and one that is due is replaced."""
        signing = self._signing
        if signing is not None and not signing[0].is_due(self._now(), self._key_lifetime):
            return signing
        async with self._turn:
            signing = self._signing or await self._load_or_make()
            if signing[0].is_due(self._now(), self._key_lifetime):
                signing = await self._replace()
            self._signing = signing
            return signing

    async def _load_or_make(self) -> _Signing:
        found = await self._load()
        if found is not None:
            return found
        fresh, private = await asyncio.to_thread(self._make)
        try:
            async with self._database.transaction() as tx:
                await store.insert_key(tx, fresh)
        except UniqueViolation:  # another server on this database was first: its key signs
            found = await self._load()
            if found is None:
                raise
            return found
        return fresh, private

    async def _load(self) -> _Signing | None:
        async with self._database.read() as tx:
            keys = [key for key in await store.all_keys(tx) if key.retired_at is None]
        if not keys:
            return None
        pem = self._vault.open(keys[0].sealed, _context(keys[0].kid))
        private = await asyncio.to_thread(serialization.load_pem_private_key, pem, None)
        if not isinstance(private, rsa.RSAPrivateKey):
            raise TypeError("the stored signing key is not an RSA key")
        return keys[0], private

    def _make(self) -> _Signing:
        private = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        kid = secrets.token_hex(16)
        public = {
            **RSAAlgorithm.to_jwk(private.public_key(), as_dict=True),
            "kid": kid,
            "use": "sig",
            "alg": ALGORITHM,
        }
        public.pop("key_ops", None)
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        sealed = self._vault.seal(pem, _context(kid))
        return SigningKey(kid=kid, public=public, sealed=sealed, created_at=self._now()), private


def _context(kid: str) -> bytes:
    return f"oidc-key:{kid}".encode()
