"""Log-in of a device: it shows a short code, a person approves that code elsewhere with a credential, and the device
gets a token that ends soon.

Owns the life of a log-in: pending, approved, exchanged, each step once and before its end. Both codes are kept as
hashes only. The races (two approvals, two exchanges, an approval at the last moment) are decided by the row: every
step is one UPDATE that names the state it starts from.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, func, insert, select, update

from runyard.database.engine import Database, Transaction
from runyard.identity import store
from runyard.identity.model import Principal, Token, User
from runyard.identity.tables import device_logins
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import Conflict, LimitExceeded, NotFound, PermissionDenied
from runyard.kernel.events import Event
from runyard.kernel.ids import DeviceLoginId, TokenId

LIFETIME: Final = timedelta(minutes=10)
ACCESS_LIFETIME: Final = timedelta(minutes=10)
MAX_PENDING: Final = 10_000
"""Log-ins that may wait at once: anybody may begin one."""
_ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no code is a word; nothing that looks like something else."""
_GONE: Final = "the code is not known, has expired or was used"
_d = device_logins.c


@dataclass(frozen=True, slots=True)
class DeviceCodes:
    """Both codes of a log-in, shown this once: the device keeps the first, the person reads the second."""

    device_code: str
    user_code: str
    lifetime: timedelta


class DeviceService:
    """The log-ins of devices."""

    def __init__(self, database: Database, now: Now = utc_now, *, max_pending: int = MAX_PENDING) -> None:
        """Take the parts."""
        self._database = database
        self._now = now
        self._max_pending = max_pending

    async def begin(self) -> DeviceCodes:
        """Begin a log-in. Raises LimitExceeded while too many wait."""
        codes = DeviceCodes(secrets.token_urlsafe(32), _user_code(), LIFETIME)
        now = self._now()
        row = {
            "id": DeviceLoginId.new(),
            "device_digest": _digest(codes.device_code),
            "user_digest": _digest(codes.user_code),
            "state": "pending",
            "created_at": now,
            "expires_at": now + LIFETIME,
        }
        async with self._database.transaction() as tx:
            # One that was exchanged stays until the token of its approval is gone: it tells how long a key may live.
            over = (_d.expires_at <= now) & (_d.state != "exchanged")
            await tx.execute(delete(device_logins).where(over))
            await tx.execute(delete(device_logins).where(_d.expires_at <= now - ACCESS_LIFETIME))
            waiting = await tx.scalar(
                select(func.count()).select_from(device_logins).where(_d.expires_at > now)
            )
            if int(waiting or 0) >= self._max_pending:
                raise LimitExceeded("too many devices wait for their log-in", retry_after=30)
            await tx.execute(insert(device_logins), row)
        return codes

    async def approved_by(self, device_code: str) -> User | None:
        """Return the user that approved a log-in, None while nobody did. Raises NotFound when it is over."""
        async with self._database.read() as tx:
            row = await tx.one_or_none(select(device_logins).where(_d.device_digest == _digest(device_code)))
            if row is None or row.state == "exchanged" or row.expires_at <= self._now():
                raise NotFound(_GONE)
            if row.approved_by is None:
                return None
            found = await store.token_with_user(tx, TokenId(row.approved_by))
        return found[1] if found else None

    async def approve(self, caller: Principal, user_code: str) -> None:
        """Let the device that shows a code act as the caller. Raises NotFound, PermissionDenied."""
        if caller.token_id is None:
            raise PermissionDenied("only somebody with a token can approve a device")
        waiting = (
            (_d.user_digest == _digest(_normal(user_code)))
            & (_d.state == "pending")
            & (_d.expires_at > self._now())
        )
        async with self._database.transaction() as tx:
            done = await tx.execute(
                update(device_logins).where(waiting).values(state="approved", approved_by=caller.token_id)
            )
            if not done.rowcount:
                raise NotFound(_GONE)
            await tx.record(self._event(caller.scope.account_id, caller.token_id, "approved", caller.actor))

    async def exchange(self, device_code: str) -> tuple[Token, str]:
        """Give the device its token, once, with its secret; it can do what the token of the approval can.
        Raises NotFound, Conflict while nobody approved.
        """
        now, secret = self._now(), secrets.token_urlsafe(32)
        async with self._database.transaction() as tx:
            row = await tx.one_or_none(
                select(device_logins).where(_d.device_digest == _digest(device_code)).with_for_update()
            )
            if row is None or row.state == "exchanged" or row.expires_at <= now:
                raise NotFound(_GONE)
            if row.state == "pending":
                raise Conflict("nobody has approved this device yet")
            token = await self._access_token(tx, TokenId(row.approved_by), secret)
            taken = (_d.id == row.id) & (_d.state == "approved")
            done = await tx.execute(
                update(device_logins).where(taken).values(state="exchanged", access_token=token.id)
            )
            if not done.rowcount:
                raise NotFound(_GONE)
        return token, secret

    async def _access_token(self, tx: Transaction, approval: TokenId, secret: str) -> Token:
        now = self._now()
        found = await store.token_with_user(tx, approval)
        if found is None:
            raise NotFound(_GONE)
        given, user = found
        if given.revoked_at is not None or (given.expires_at is not None and given.expires_at <= now):
            raise NotFound(_GONE)
        ends = now + ACCESS_LIFETIME
        token = Token(
            id=TokenId.new(),
            account_id=given.account_id,
            user_id=user.id,
            project_id=given.project_id,
            name="device login",
            prefix="",
            permissions=given.permissions,
            created_at=now,
            expires_at=ends if given.expires_at is None else min(ends, given.expires_at),
        )
        await store.insert_token(tx, token, hashlib.sha256(secret.encode()).digest())
        await tx.record(self._event(token.account_id, token.id, "created", user.name))
        return token

    def _event(self, account_id: str, token_id: str, what: str, actor: str) -> Event:
        return Event(
            account_id=account_id,
            subject_kind="token",
            subject_id=token_id,
            type=f"token.device_{what}",
            actor=actor,
            at=self._now(),
        )


def _user_code() -> str:
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"


def _normal(code: str) -> str:
    """Return a code as it was made, however a person writes it."""
    letters = "".join(letter for letter in code.upper() if letter.isalnum())
    return f"{letters[:4]}-{letters[4:]}"


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).digest()
