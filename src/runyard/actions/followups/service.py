"""Does what follows the end of a run: notifications once, callbacks until they are taken or given up.

What is to follow is a row from the moment in which the run is asked for. One task looks at the rows of runs that have
ended; it is woken by an end and looks by itself every few seconds, so that a server that was killed in between, or
another one on the same database, does what is left.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import httpx2
import structlog

from runyard import __version__
from runyard.actions.followups import store
from runyard.actions.followups.model import (
    CALLBACK,
    NOTIFY_TRIGGER,
    InstanceFilter,
    Notice,
    TriggerInstance,
    callback_url,
    next_attempt,
    notices_of,
    payload_of,
    summary_of,
)
from runyard.actions.ids import TriggerInstanceId
from runyard.actions.runs.model import Record
from runyard.actions.runs.service import RunService
from runyard.actions.values import Json
from runyard.database.engine import Database
from runyard.executions.model import Execution
from runyard.identity.model import Scope
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import NotFound, RunyardError
from runyard.kernel.events import Event
from runyard.kernel.ids import AccountId, ProjectId

_ACTOR: Final = "system:notifier"
_LOOK_SECONDS: Final = 2.0
_AT_ONCE: Final = 50
_TIMEOUT_SECONDS: Final = 10.0
_log = structlog.get_logger(__name__)


class FollowupService:
    """Notifications and callbacks of all accounts."""

    def __init__(
        self, database: Database, runs: RunService, callback_hosts: Sequence[str] = (), now: Now = utc_now
    ) -> None:
        """Look at runs. Callbacks go to the given hosts only; `*` stands for all."""
        self._database = database
        self._runs = runs
        self._hosts = frozenset(callback_hosts)
        self._now = now
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._calling: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._forever())

    async def stop(self) -> None:
        """End that."""
        tasks = [*self._calling.values(), *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def called(self) -> None:
        """Wait until no callback is being made."""
        await asyncio.gather(*self._calling.values(), return_exceptions=True)

    def ended(self, execution: Execution) -> None:
        """Look now when something follows this end; called for every end, so it costs a look into a set."""
        if execution.id in self._runs.followed:
            self._runs.followed.discard(execution.id)
            self._woken.set()

    async def instances(
        self, account: AccountId, wanted: InstanceFilter
    ) -> tuple[list[TriggerInstance], int]:
        """List trigger instances, the newest first, and count all that the filter matches."""
        async with self._database.read() as tx:
            return await store.instances(tx, account, wanted)

    async def instance(self, account: AccountId, instance_id: str) -> TriggerInstance:
        """Return a trigger instance. Raises NotFound."""
        async with self._database.read() as tx:
            found = await store.instance(tx, account, instance_id)
        if found is None:
            raise NotFound(f'Unable to identify resource with id "{instance_id}".')
        return found

    async def _forever(self) -> None:
        while True:
            self._woken.clear()
            try:
                while await self.look() == _AT_ONCE:
                    pass
            except Exception as error:  # noqa: BLE001  the database may be away; the next look may succeed
                _log.warning("actions.followups_not_done", error=repr(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _LOOK_SECONDS)

    async def look(self) -> int:
        """Do what is due; callbacks are begun and go on beside it. Return how many things were taken on."""
        async with self._database.read() as tx:
            found = await store.due(tx, self._now(), _AT_ONCE)
        fresh = [one for one in found if one.execution_id not in self._calling]
        for one in fresh:
            if one.kind == CALLBACK:
                task = asyncio.get_running_loop().create_task(self._guarded(one))
                self._calling[one.execution_id] = task
                task.add_done_callback(partial(self._called, one.execution_id))
            else:
                await self._guarded(one)
        return len(fresh)

    def _called(self, name: str, task: asyncio.Task[None]) -> None:
        del task
        self._calling.pop(name, None)

    async def _guarded(self, one: store.Due) -> None:
        """Do one thing; its fault must not keep the others from being done, nor be tried in a circle."""
        self._runs.followed.discard(one.execution_id)
        scope = Scope(one.account_id, ProjectId("0" * 24), "/")
        try:
            record = await self._runs.get(scope, one.execution_id)
            await (self._call(one, record) if one.kind == CALLBACK else self._notify(one, record))
        except Exception as error:  # noqa: BLE001  whatever it is, the next look is for the next one
            _log.exception(
                "actions.followup_failed", execution_id=one.execution_id, kind=one.kind, error=repr(error)
            )
            async with self._database.transaction() as tx:
                due_at = next_attempt(one.attempts + 1, self._now())
                await (store.done(tx, one) if due_at is None else store.attempt(tx, one, due_at))

    # --- notifications ---

    async def _notify(self, one: store.Due, record: Record) -> None:
        made: list[TriggerInstance] = []
        for notice in notices_of(record.run, record.execution.status):
            message, data = await self._rendered(one.account_id, record, notice)
            made += [
                TriggerInstance(
                    id=TriggerInstanceId.new(),
                    trigger=NOTIFY_TRIGGER,
                    occurred_at=self._now(),
                    payload=payload_of(record, message, data, route),
                )
                for route in notice.routes
            ]
        async with self._database.transaction() as tx:
            if not await store.done(tx, one):
                return
            for instance in made:
                await store.add_instance(tx, one.account_id, instance)
                await tx.record(self._event(one, "notification.sent", {"route": instance.payload["route"]}))
            tx.after_commit(lambda: self._publish(one, made))

    async def _rendered(
        self, account: AccountId, record: Record, notice: Notice
    ) -> tuple[Json, dict[str, Json]]:
        """Render message and data. What cannot be rendered is sent as it is: the end is told in any case."""
        roots: dict[str, Json] = {
            "action_parameters": dict(record.parameters),
            "action_context": dict(record.run.context),
            "action_results": dict(record.result or {}),
        }
        given: dict[str, Json] = {"message": notice.message, "data": dict(notice.data)}
        try:
            found = await self._runs.resolver.rendered(account, record.run.context, given, roots)
        except RunyardError as error:
            _log.info("actions.notice_not_rendered", execution_id=record.execution.id, error=error.message)
            found = given
        data = found["data"]
        return found["message"], data if isinstance(data, dict) else {}

    def _publish(self, one: store.Due, made: Sequence[TriggerInstance]) -> None:
        """Tell whoever listens; the rows are the history."""
        for instance in made:
            event = Event(
                account_id=one.account_id, subject_kind="trigger_instance", subject_id=instance.id,
                type="trigger_instance.created", actor=_ACTOR, at=instance.occurred_at,
                body={"execution_id": one.execution_id, "trigger": instance.trigger, "payload": dict(instance.payload)},
            )  # fmt: skip
            self._database.broker.publish(event)

    def _event(self, one: store.Due, kind: str, body: dict[str, Json]) -> Event:
        return Event(
            account_id=one.account_id, subject_kind="execution", subject_id=one.execution_id, type=kind,
            actor=_ACTOR, at=self._now(), body=body,
        )  # fmt: skip

    # --- callbacks ---

    async def _call(self, one: store.Due, record: Record) -> None:
        """Tell an end to an address. The attempt is counted before it is made: a crash costs a pause, no storm."""
        url = callback_url(record.run)
        if url is None or not self._may_reach(url):
            await self._over(one, "callback.refused")
            return
        due_at = next_attempt(one.attempts + 1, self._now())
        async with self._database.transaction() as tx:
            if due_at is not None and not await store.attempt(tx, one, due_at):
                return
        document = {
            **summary_of(record),
            "result": dict(record.result or {}),
            "callback": dict(record.run.callback),
        }
        try:
            async with httpx2.AsyncClient(
                timeout=_TIMEOUT_SECONDS, follow_redirects=False, trust_env=False
            ) as client:
                answer = await client.post(
                    url, json=document, headers={"User-Agent": f"runyard/{__version__}"}
                )
            taken = answer.is_success
        except (httpx2.HTTPError, httpx2.InvalidURL):
            taken = False
        if taken:
            await self._over(one, "callback.sent")
        elif due_at is None:
            await self._over(one, "callback.failed")

    def _may_reach(self, url: str) -> bool:
        try:
            host = urlsplit(url).hostname
        except ValueError:
            return False
        return host is not None and ("*" in self._hosts or host in self._hosts)

    async def _over(self, one: store.Due, kind: str) -> None:
        async with self._database.transaction() as tx:
            if await store.done(tx, one):
                await tx.record(self._event(one, kind, {}))
