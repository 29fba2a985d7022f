"""Schedules: drift-detection plans of workspaces by cron. Owns the rows that say when the next one is due.

A row is the wait: one task looks at what is due, moves the row on and asks for the run. Of two servers that look at
once one moves the row; a server that was away asks for one run, not for all that were missed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

import structlog

from runyard.database.engine import Database
from runyard.executions.errors import ServerStopping
from runyard.identity.model import ALL_PERMISSIONS, Principal, Scope
from runyard.infrastructure.runs import schedules
from runyard.infrastructure.runs.model import NewRun, RunKind, Trigger
from runyard.infrastructure.runs.ports import Schedules
from runyard.infrastructure.runs.schedules import Candidate
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.workspaces.model import Workspace
from runyard.infrastructure.workspaces.schedule import InvalidSchedule, next_time
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import RunyardError
from runyard.kernel.ids import UserId

TITLE: Final = "Drift detection"
_LOOK_SECONDS: Final = 5.0
_log = structlog.get_logger(__name__)


class DriftService:
    """Asks for the plans that schedules want."""

    def __init__(
        self,
        database: Database,
        runs: RunService,
        projects: Schedules,
        *,
        look_secs: float = _LOOK_SECONDS,
        now: Now = utc_now,
    ) -> None:
        """Take the parts."""
        self._database = database
        self._runs = runs
        self._projects = projects
        self._look_secs = look_secs
        self._now = now
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._look_forever())

    async def stop(self) -> None:
        """End that."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _look_forever(self) -> None:
        while True:
            try:
                await self.refresh()
                await self.look()
            except ServerStopping:
                return
            except Exception:  # noqa: BLE001  one bad row must not end all schedules
                _log.exception("infrastructure.schedules_failed")
            await asyncio.sleep(self._look_secs)

    async def refresh(self) -> None:
        """Bring the rows in line with what workspaces and projects say: a workspace's own schedule, else that of the
        nearest project above it.
        """
        crons = await self._projects.project_crons()
        async with self._database.scan() as tx:
            known = await schedules.known(tx)
            candidates = await schedules.candidates(tx, sorted(crons))
        wanted = {one.workspace_id: _effective(one, crons) for one in candidates}
        now = self._now()
        changes: list[tuple[str, str, datetime]] = []
        for workspace_id, expression in wanted.items():
            if expression and known.get(workspace_id) != expression:
                with suppress(InvalidSchedule):
                    changes.append((workspace_id, expression, next_time(expression, now)))
        gone = [one for one in known if not wanted.get(one)]
        if changes or gone:
            async with self._database.transaction() as tx:
                await schedules.remove(tx, gone)
                await schedules.put(tx, changes)

    async def look(self) -> int:
        """Ask for the plans that are due; return how many were asked for."""
        now = self._now()
        async with self._database.read() as tx:
            due = await schedules.due(tx, now)
        asked = 0
        for one in due:
            async with self._database.transaction() as tx:
                mine = await schedules.move(tx, one, next_time(one.expression, now))
            if mine and await self._ask(one.workspace_id):
                asked += 1
        return asked

    async def _ask(self, workspace_id: str) -> bool:
        """Ask for a plan, unless one of the schedule waits in the line already: drift is found once."""
        try:
            workspace = await self._runs.workspaces.by_id(workspace_id)
            if await self._runs.waits_for(workspace, Trigger.SCHEDULE):
                return False
            new = NewRun(kind=RunKind.PLAN, trigger=Trigger.SCHEDULE, title=TITLE, door="schedule")
            await self._runs.create(schedule_principal(workspace), workspace.id, new)
        except RunyardError as error:
            _log.warning("infrastructure.schedule_not_run", workspace_id=workspace_id, error=error.message)
            return False
        return True


def schedule_principal(workspace: Workspace) -> Principal:
    """Return the schedule itself as a caller in the project of a workspace."""
    scope = Scope(workspace.account_id, workspace.project_id, workspace.project_path)
    return Principal(scope, UserId("0" * 24), "schedule", None, ALL_PERMISSIONS)


def _effective(one: Candidate, crons: Mapping[str, str]) -> str:
    """Return the schedule of a workspace: its own, else that of the nearest project above it."""
    if one.cron:
        return one.cron
    parts: Sequence[str] = one.project_path.strip("/").split("/")
    for length in range(len(parts), 0, -1):
        found = crons.get(f"/{'/'.join(parts[:length])}/")
        if found:
            return found
    return ""
