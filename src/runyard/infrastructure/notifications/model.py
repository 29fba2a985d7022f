"""Notifications and deliveries. Owns their shape and when a failed delivery is tried again."""

import enum
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from runyard.kernel.ids import AccountId, HexId

MAX_ATTEMPTS: Final = 8
_FIRST_DELAY: Final = timedelta(seconds=5)
_LONGEST_DELAY: Final = timedelta(hours=1)


class NotificationId(HexId):
    """Names a notification."""

    __slots__ = ()
    kind = "notification"


class DeliveryId(HexId):
    """Names a delivery."""

    __slots__ = ()
    kind = "delivery"


class Told(enum.StrEnum):
    """What a notification tells of."""

    VIOLATED = "violated"
    """A rule found something, whatever its severity."""
    BLOCKED = "blocked"
    """A rule found something that blocks the run."""
    ACKNOWLEDGED = "acknowledged"
    """Somebody accepted what a rule had found."""


class NewNotification(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for."""

    destination: str
    events: Sequence[Told] = (Told.VIOLATED, Told.ACKNOWLEDGED)
    secret: str = ""
    """The key that signs; empty means that one is made and shown once."""


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rule tells of what it found."""

    id: NotificationId
    account_id: AccountId
    rule_id: str
    type: str
    destination: str
    """Scheme, host and port; the rest is sealed."""
    events: Sequence[Told]
    sealed: bytes
    created_at: datetime


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message on its way to one destination."""

    id: DeliveryId
    notification_id: str
    account_id: AccountId
    event: str
    run_id: str
    body: bytes
    status: str
    attempts: int
    next_at: datetime | None
    last_status: int | None = None
    last_error: str = ""
    created_at: datetime
    ended_at: datetime | None = None


def after_attempt(
    delivery: Delivery, now: datetime, status: int | None, error: str, *, final: bool = False
) -> Delivery:
    """Return a delivery after it was tried: delivered by any 2xx, else tried again at growing distances, at most 8 times
    in an hour and a half. `final` says that a new try makes no sense.
    """
    attempts = delivery.attempts + 1
    told = msgspec.structs.replace(delivery, attempts=attempts, last_status=status, last_error=error[:512])
    if status is not None and 200 <= status < 300:
        return msgspec.structs.replace(told, status="delivered", next_at=None, ended_at=now)
    if final or attempts >= MAX_ATTEMPTS:
        return msgspec.structs.replace(told, status="given_up", next_at=None, ended_at=now)
    return msgspec.structs.replace(
        told, next_at=now + min(_FIRST_DELAY * 3 ** (attempts - 1), _LONGEST_DELAY)
    )
