"""Verbs of notifications. Owns the keys that sign and the rows of what is to be delivered; sends nothing."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from runyard.database.engine import Database, Transaction
from runyard.infrastructure.notifications import store
from runyard.infrastructure.notifications.destinations import DestinationOptions, check
from runyard.infrastructure.notifications.model import (
    Delivery,
    DeliveryId,
    NewNotification,
    Notification,
    NotificationId,
    Told,
)
from runyard.kernel.clock import Now, rfc3339, utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import AccountId
from runyard.kernel.jsons import encode_json

KEEP: Final = timedelta(days=30)
"""How long deliveries that ended are kept."""
MIN_SECRET: Final = 16
MAX_SECRET: Final = 1024


class Prepared(msgspec.Struct, frozen=True):
    """A notification that is not written yet. Its key is known now and never shown again."""

    id: NotificationId
    notification: Notification | None
    secret: str = ""
    """Empty unless it was made here."""


class NotificationService:
    """The notifications of all rules."""

    def __init__(
        self, database: Database, vault: Vault, options: DestinationOptions, now: Now = utc_now
    ) -> None:
        """Take the parts."""
        self._database = database
        self._vault = vault
        self._options = options
        self._now = now
        self.on_waiting: Callable[[], object] = _nothing
        """Called after the commit of something to deliver."""

    def prepare(self, account: AccountId, rule_id: str, new: NewNotification | None) -> Prepared:
        """Check a notification for a rule and give it an id and a key; without one, only an id. Raises
        DestinationRefused, InvalidArgument.
        """
        notification_id = NotificationId.new()
        if new is None:
            return Prepared(notification_id, None)
        scheme, host, port = check(new.destination, self._options)
        if new.secret and not MIN_SECRET <= len(new.secret) <= MAX_SECRET:
            raise InvalidArgument(f"Secret is not valid: expected {MIN_SECRET} to {MAX_SECRET} characters")
        secret = new.secret or secrets.token_urlsafe(32)
        notification = Notification(
            id=notification_id,
            account_id=account,
            rule_id=rule_id,
            type="webhook",
            destination=f"{scheme}://{host}:{port}",
            events=new.events,
            sealed=self._vault.seal(encode_json((new.destination, secret)), _context(notification_id)),
            created_at=self._now(),
        )
        return Prepared(notification_id, notification, "" if new.secret else secret)

    async def put(self, tx: Transaction, made: Prepared) -> None:
        """Write a prepared notification."""
        if made.notification is not None:
            await store.add(tx, made.notification)

    async def remove(self, tx: Transaction, rule_id: str) -> None:
        """Remove what a rule has; what waits to be delivered goes too."""
        await store.remove(tx, rule_id)

    async def of_rule(self, rule_id: str) -> Sequence[Notification]:
        """Return the notifications of a rule that the caller may see."""
        async with self._database.read() as tx:
            return await store.of_rule(tx, rule_id)

    async def deliveries(self, notification_id: str, limit: int = 100) -> Sequence[Delivery]:
        """Return the newest deliveries of a notification that the caller may see."""
        async with self._database.read() as tx:
            return await store.of_notification(tx, notification_id, limit)

    async def tell(
        self, tx: Transaction, rule_id: str, told: Told, run_id: str, body: Mapping[str, object]
    ) -> None:
        """Queue a message to whoever a rule tells of this, in the transaction in which it came about."""
        for notification in await store.of_rule(tx, rule_id):
            if told not in notification.events:
                continue
            delivery_id, now = DeliveryId.new(), self._now()
            event = f"guardrail.{told.value}"
            document = {"id": str(delivery_id), "event": event, "createdAt": rfc3339(now), **body}
            await store.add_delivery(
                tx,
                Delivery(
                    id=delivery_id,
                    notification_id=notification.id,
                    account_id=notification.account_id,
                    event=event,
                    run_id=run_id,
                    body=encode_json(document),
                    status="waiting",
                    attempts=0,
                    next_at=now,
                    created_at=now,
                ),
            )
            tx.after_commit(self.on_waiting)

    def opened(self, notification: Notification) -> tuple[str, bytes]:
        """Return the whole destination and the key that signs. Raises CannotUnseal."""
        opened = self._vault.open(notification.sealed, _context(notification.id))
        url, key = msgspec.json.decode(opened, type=tuple[str, str])
        return url, key.encode()

    async def seal_again(self, tx: Transaction) -> int:
        """Seal what an older key sealed with the current one; return how much that was."""
        old = [one for one in await store.sealed_rows(tx) if self._vault.needs_reseal(one[1])]
        for notification_id, sealed in old:
            fresh = self._vault.reseal(sealed, _context(notification_id))
            await store.seal_again(tx, notification_id, sealed, fresh)
        return len(old)

    async def forget_old(self) -> int:
        """Remove deliveries that ended 30 days ago; return how many."""
        async with self._database.transaction() as tx:
            return await store.forget_before(tx, self._now() - KEEP)


def _context(notification_id: str) -> bytes:
    return b"notification:" + notification_id.encode()


def _nothing() -> None:
    return None
