"""The OpenID provider on both databases: tokens that verify against the published keys, rotation, sealed keys."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from sqlalchemy import select

from runyard.database.engine import Database
from runyard.infrastructure.oidc.model import Subject
from runyard.infrastructure.oidc.service import OidcService
from runyard.infrastructure.oidc.tables import oidc_keys
from runyard.kernel.clock import utc_now
from runyard.kernel.crypto import Vault

ISSUER = "https://runyard.example/v2"
SUBJECT = Subject(
    account_id="a" * 24,
    project_id="b" * 24,
    project_path="/c/",
    workspace_id="w",
    workspace_name="net",
    run_id="r",
    phase="plan",
)


class Provider:
    """The service with a clock of its own."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.moment = utc_now()
        self.vault = Vault(folder / "keys")
        self.service = self.again(database)

    def again(self, database: Database) -> OidcService:
        return OidcService(
            database,
            self.vault,
            token_lifetime=timedelta(hours=2),
            key_lifetime=timedelta(days=90),
            now=lambda: self.moment,
        )


async def verified(service: OidcService, token: str) -> dict[str, Any]:
    """Check a token as a cloud does, with nothing but what is published."""
    keys = jwt.PyJWKSet.from_dict(await service.key_set())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    options: Any = {"require": ["exp", "iat", "nbf", "iss", "aud", "sub", "jti"], "verify_exp": False}
    found: dict[str, Any] = jwt.decode(
        token, key, algorithms=["RS256"], audience="sts.amazonaws.com", issuer=ISSUER, options=options
    )
    return found


async def test_token_verifies_against_the_published_keys_across_rotation(
    database: Database, tmp_path: Path
) -> None:
    provider = Provider(database, tmp_path)
    service = provider.service
    token = await service.token(ISSUER, "sts.amazonaws.com", SUBJECT)
    claims = await verified(service, token)
    assert claims["sub"] == f"account:{'a' * 24}"
    assert {name: claims[name] for name in ("project", "workspace", "run", "phase")} == {
        "project": "b" * 24,
        "workspace": "net",
        "run": "r",
        "phase": "plan",
    }
    assert claims["exp"] - claims["iat"] == 7200
    assert service.discovery(ISSUER)["jwks_uri"] == f"{ISSUER}/.well-known/jwks.json"
    key = jwt.PyJWKSet.from_dict(await service.key_set()).keys[0]
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, key, algorithms=["RS256"], audience="else")

    other = provider.again(database)
    assert await verified(other, token) == claims
    rotated = await service.rotate()
    assert await verified(service, token) == claims
    fresh = await service.token(ISSUER, "sts.amazonaws.com", SUBJECT)
    assert jwt.get_unverified_header(fresh)["kid"] == rotated
    assert len(keys_of(await service.key_set())) == 2
    provider.moment += timedelta(hours=4)
    assert len(keys_of(await service.key_set())) == 1
    provider.moment += timedelta(days=91)
    last = await service.token(ISSUER, "sts.amazonaws.com", SUBJECT)
    assert jwt.get_unverified_header(last)["kid"] != rotated
    assert all("d" not in key for key in keys_of(await service.key_set()))


def keys_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document["keys"]
    return found


async def test_private_keys_are_sealed_and_survive_the_vaults_rotation(
    database: Database, tmp_path: Path
) -> None:
    provider = Provider(database, tmp_path)
    token = await provider.service.token(ISSUER, "sts.amazonaws.com", SUBJECT)
    async with database.read() as tx:
        (row,) = await tx.all(select(oidc_keys.c.sealed))
    assert b"PRIVATE KEY" not in bytes(row[0])
    provider.vault.rotate()
    assert await provider.service.seal_again() == 1
    provider.vault.forget_old()
    assert await provider.service.seal_again() == 0
    again = provider.again(database)
    fresh = await again.token(ISSUER, "sts.amazonaws.com", SUBJECT)
    assert jwt.get_unverified_header(fresh)["kid"] == jwt.get_unverified_header(token)["kid"]
    await verified(again, fresh)
