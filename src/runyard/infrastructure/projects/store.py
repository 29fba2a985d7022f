"""SQL of project settings. Owns every statement on their table; decides nothing and never commits."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Project, Scope
from runyard.identity.scoping import visible
from runyard.infrastructure.projects.model import ProjectSettings
from runyard.infrastructure.projects.tables import project_settings

_p = project_settings.c


async def settings_in(tx: Transaction, scope: Scope) -> Mapping[str, ProjectSettings]:
    """Read the settings of the projects of a scope by their ids."""
    rows = await tx.all(select(project_settings).where(visible(project_settings, scope)))
    return {row.project_id: _settings(row) for row in rows}


async def settings_of(tx: Transaction, project_ids: Collection[str]) -> Mapping[str, ProjectSettings]:
    """Read the settings of some projects by their ids."""
    rows = await tx.all(select(project_settings).where(_p.project_id.in_(list(project_ids))))
    return {row.project_id: _settings(row) for row in rows}


async def held_settings(tx: Transaction, project_id: str) -> ProjectSettings:
    """Read the settings of a project for a change: nobody else changes them until that is written."""
    wanted = select(project_settings).where(_p.project_id == project_id).with_for_update()
    row = await tx.one_or_none(wanted)
    return ProjectSettings() if row is None else _settings(row)


async def crons(tx: Transaction) -> Mapping[str, str]:
    """Read the schedule of each project that has one by the project's path, in all accounts."""
    rows = await tx.all(select(_p.project_path, _p.cron).where(_p.cron != ""))
    return {row.project_path: row.cron for row in rows}


async def put(tx: Transaction, project: Project, settings: ProjectSettings, now: datetime) -> None:
    """Write the settings of a project, new or changed."""
    values: dict[str, Any] = {
        "description": settings.description,
        "labels": list(settings.labels),
        "pool_id": settings.pool_id or None,
        "cron": settings.cron,
        "oidc": settings.oidc,
        "extras": dict(settings.extras),
        "updated_at": now,
    }
    changed = await tx.execute(update(project_settings).where(_p.project_id == project.id).values(**values))
    if changed.rowcount == 0:
        key = {"project_id": project.id, "account_id": project.account_id, "project_path": project.path}
        await tx.execute(insert(project_settings), {**key, **values})


def _settings(row: Row[Any]) -> ProjectSettings:
    return ProjectSettings(
        description=row.description,
        labels=row.labels,
        pool_id=row.pool_id,
        cron=row.cron,
        oidc=row.oidc,
        extras=row.extras,
    )
