"""Fill a ledger with made-up executions of actions. Owns nothing but the filling.

Three quarters are of one action, the rest of nine others; one of a hundred has a result of 64 KiB.
"""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from runyard.actions.ids import LiveActionId
from runyard.actions.tables import action_runs
from runyard.database.engine import Database
from runyard.executions.tables import executions
from runyard.identity.tables import accounts, projects
from runyard.kernel.ids import ExecutionId

BATCH = 5_000
HEAVY = "bench.heavy"
RARE = "bench.rare"
_HEAVY_BYTES = 64 << 10
_SEALED = bytes(120)


def _action(ref: str) -> dict[str, Any]:
    pack, _, name = ref.partition(".")
    return {
        "id": "5f0000000000000000000001", "ref": ref, "uid": f"action:{pack}:{name}", "name": name, "pack": pack,
        "description": "Made up for a measurement.", "enabled": True, "entry_point": "",
        "runner_type": "local-shell-cmd", "output_schema": {}, "tags": [], "notify": {}, "metadata_file": "",
        "parameters": {"cmd": {"type": "string", "required": True}, "sudo": {"immutable": True}},
    }  # fmt: skip


def rows_of(
    rows: int, account: str, project: str, path: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the rows of both tables, oldest first."""
    chance = random.Random(1)
    born, step = datetime.now(UTC) - timedelta(days=30), timedelta(days=30) / max(1, rows)
    refs = ["core.local", *(f"bench.action{number}" for number in range(9))]
    documents = {
        ref: {"action": _action(ref), "notify": {}, "callback": {}, "inquiry": {}, "delay_ms": 0}
        for ref in (*refs, HEAVY, RARE)
    }
    heavy = {"failed": False, "succeeded": True, "return_code": 0, "stdout": "x" * _HEAVY_BYTES, "stderr": ""}
    for number in range(rows):
        ref = HEAVY if number % 100 == 50 else RARE if number % 20_000 == 0 else refs[0]
        if ref == refs[0] and chance.random() < 0.25:
            ref = refs[chance.randrange(1, 10)]
        status = chance.choices(("succeeded", "failed", "timeout", "canceled"), (92, 6, 1, 1))[0]
        created, user = born + number * step, f"user-{chance.randrange(20)}"
        name = ExecutionId.new()
        done = status == "succeeded"
        light = {"failed": not done, "succeeded": done, "return_code": 0, "stdout": "ok", "stderr": ""}
        execution = {
            "id": name, "account_id": account, "project_id": project, "project_path": path, "kind": "action",
            "name": ref, "parent_id": None, "root_id": name, "place_kind": None, "place_id": None,
            "place_name": None, "actor": user, "door": "stackstorm", "command": "true",
            "parameters": {"cmd": "true"}, "labels": {}, "status": status, "status_reason": None,
            "exit_code": None, "signal": None, "result": heavy if ref == HEAVY else light, "created_at": created,
            "started_at": created, "ended_at": created + timedelta(milliseconds=20), "duration_us": 20_000,
            "output_bytes": 2, "output_truncated": False, "output_ref": None, "attempt": 1, "worker": "embedded",
            "request_id": None,
        }  # fmt: skip
        run = {
            "execution_id": name, "account_id": account, "liveaction_id": LiveActionId.new(), "action_ref": ref,
            "runner": "local-shell-cmd", "user_name": user, "created_at": created, "document": documents[ref],
            "context": {"user": user, "pack": ref.partition(".")[0]}, "sealed": _SEALED,
        }  # fmt: skip
        yield execution, run


async def _fill(folder: Path, rows: int) -> None:
    database = await Database.open(None, folder)
    try:
        await database.migrate()
        async with database.read() as tx:
            root = await tx.one_or_none(
                select(projects.c.id, projects.c.account_id, projects.c.path)
                .join(accounts, accounts.c.id == projects.c.account_id)
                .where(projects.c.parent_id.is_(None), accounts.c.slug == "default")
            )
        assert root is not None
        batch: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for row in rows_of(rows, root.account_id, root.id, root.path):
            batch.append(row)
            if len(batch) == BATCH:
                await _insert(database, batch)
                batch = []
        await _insert(database, batch)
    finally:
        await database.close()


async def _insert(database: Database, batch: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    if not batch:
        return
    async with database.transaction() as tx:
        await tx.execute(insert(executions), [execution for execution, _ in batch])
        await tx.execute(insert(action_runs), [run for _, run in batch])


def fill(folder: Path, rows: int) -> None:
    """Fill the account `default` of a data folder whose server is down."""
    asyncio.run(_fill(folder, rows))
