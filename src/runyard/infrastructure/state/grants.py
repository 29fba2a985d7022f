"""Credentials with which a run reaches its own state, and nothing else. Owns their secrets' digests and their end.

A grant is no token of the account: it opens the state of one workspace for one run, and ends with the run. The code of a
run finds it in its environment, so that it grants no more than the phase needs: a plan reads and locks.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from runyard.database.engine import Database
from runyard.infrastructure.state import store
from runyard.infrastructure.state.model import Owner, Writer
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import Unauthenticated
from runyard.kernel.ids import AccountId, ProjectId

USER_NAME: Final = "run"
"""The user name beside the secret in Basic credentials."""
PREFIX: Final = "rys_"
LIFETIME: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a credential opens. It stands for the workspace, as far as state is concerned."""

    id: str
    """The workspace."""
    run_id: str
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    actor: str
    writes: bool
    """It is of an apply; a plan only reads and locks."""

    @property
    def writer(self) -> Writer:
        """Return who writes with it."""
        return Writer(actor=self.actor, run_id=self.run_id)


class GrantService:
    """Makes and recognises the credentials of runs."""

    def __init__(self, database: Database, now: Now = utc_now) -> None:
        """Work on a database."""
        self._database = database
        self._now = now

    async def make(self, owner: Owner, run_id: str, actor: str, *, writes: bool) -> str:
        """Make a credential for a phase of a run and return its secret; `LockService.release_run` ends it."""
        secret = PREFIX + secrets.token_urlsafe(32)
        now = self._now()
        row = {
            "digest": _digest(secret),
            "workspace_id": owner.id,
            "run_id": run_id,
            "account_id": owner.account_id,
            "project_id": owner.project_id,
            "project_path": owner.project_path,
            "actor": actor,
            "writes": writes,
            "created_at": now,
            "expires_at": now + LIFETIME,
        }
        async with self._database.transaction() as tx:
            await store.insert_grant(tx, row)
        return secret

    async def recognise(self, secret: str) -> Grant:
        """Return what a secret opens. Raises Unauthenticated. Found by a digest of 256 random bits: there is nothing that
        the time of a comparison could tell.
        """
        async with self._database.read() as tx:
            row = await store.grant_by_digest(tx, _digest(secret))
        if row is None or row._mapping["expires_at"] <= self._now():
            raise Unauthenticated("the credential of the run is not valid any more")
        found = row._mapping
        return Grant(
            id=found["workspace_id"],
            run_id=found["run_id"],
            account_id=AccountId(found["account_id"]),
            project_id=ProjectId(found["project_id"]),
            project_path=found["project_path"],
            actor=found["actor"],
            writes=found["writes"],
        )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
