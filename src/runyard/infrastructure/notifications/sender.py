"""Sending webhooks. Owns the one task that sends what waits: rows say what is to be done, so that a crash loses nothing.

A message may arrive twice, when the server dies between the answer and its row: receivers tell by the delivery's id.
"""

import asyncio
import contextlib
from datetime import timedelta
from typing import Final

import httpx2
import structlog

from runyard import __version__
from runyard.database.engine import Database
from runyard.infrastructure.notifications import store
from runyard.infrastructure.notifications.destinations import DestinationOptions, resolve
from runyard.infrastructure.notifications.errors import DestinationRefused
from runyard.infrastructure.notifications.model import Delivery, Notification, after_attempt
from runyard.infrastructure.notifications.service import NotificationService
from runyard.infrastructure.notifications.signing import HEADER, signature
from runyard.kernel.clock import Now, utc_now

_AT_ONCE: Final = 8
_TIMEOUT: Final = 10.0
_LONGEST_SLEEP: Final = 300.0
_REST: Final = 1.0
"""Seconds of rest after the database failed."""
_log = structlog.get_logger(__name__)


class Sender:
    """Delivers notifications in the background."""

    def __init__(
        self,
        database: Database,
        notifications: NotificationService,
        options: DestinationOptions,
        now: Now = utc_now,
    ) -> None:
        """Take the parts."""
        self._database = database
        self._notifications = notifications
        self._options = options
        self._now = now
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with what waits from before."""
        self._notifications.on_waiting = self._wake.set
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Stop sending; what waits stays a row."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                seconds = 0.0 if await self.send_due() else await self._pause()
            except Exception as error:  # noqa: BLE001  whatever it was, the next round may succeed
                _log.warning("notifications.failed", error=repr(error))
                seconds = _REST
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), seconds)

    async def _pause(self) -> float:
        async with self._database.read() as tx:
            following = await store.next_time(tx)
        if following is None:
            return _LONGEST_SLEEP
        wait = max(following - self._now(), timedelta(0))
        return min(wait.total_seconds(), _LONGEST_SLEEP)

    async def send_due(self) -> int:
        """Send what is due, at most 8 messages at once; return how many were tried."""
        async with self._database.read() as tx:
            waiting = await store.due(tx, self._now(), _AT_ONCE)
        tried = await asyncio.gather(*(self._try(one) for one in waiting))
        for delivery in tried:
            async with self._database.transaction() as tx:
                await store.write(tx, delivery)
        return len(waiting)

    async def _try(self, delivery: Delivery) -> Delivery:
        async with self._database.read() as tx:
            notification = await store.find(tx, delivery.notification_id)
        if notification is None:
            return after_attempt(delivery, self._now(), None, "the notification was removed", final=True)
        try:
            status = await asyncio.wait_for(self._sent(notification, delivery), _TIMEOUT)
        except DestinationRefused as error:
            return after_attempt(delivery, self._now(), None, error.message, final=True)
        except Exception as error:  # noqa: BLE001  whatever a destination brings about, the other messages go on
            return after_attempt(delivery, self._now(), None, str(error) or type(error).__name__)
        told = "" if 200 <= status < 300 else f"answered {status}"
        return after_attempt(delivery, self._now(), status, told, final=status == 410)

    async def _sent(self, notification: Notification, delivery: Delivery) -> int:
        """Send a message and return the status of the answer; its body is nobody's concern and not read."""
        url, key = self._notifications.opened(notification)
        target = await resolve(url, self._options)
        headers = {
            "Host": target.authority,
            "Content-Type": "application/json",
            "User-Agent": f"runyard/{__version__}",
            "X-Runyard-Delivery": delivery.id,
            "X-Runyard-Event": delivery.event,
            HEADER: signature(key, self._now(), delivery.body),
        }
        async with (
            httpx2.AsyncClient(timeout=_TIMEOUT, trust_env=False, follow_redirects=False) as client,
            client.stream(
                "POST",
                target.url,
                headers=headers,
                content=delivery.body,
                extensions={"sni_hostname": target.host},
            ) as answer,
        ):
            return answer.status_code
