"""Fill a ledger with made-up executions. Owns nothing but the filling; the bench and the plan checks use it.

Rows go in through the driver in big transactions, in order of creation, spread over accounts, projects, places,
actors, kinds, doors and ends; every fiftieth carries a label. About 100,000 rows a second on SQLite.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select, text

from runyard.database.engine import Database
from runyard.executions.tables import execution_labels, executions
from runyard.identity.tables import accounts, projects
from runyard.kernel.ids import AccountId, ExecutionId, ProjectId, RuntimeId, Uuid7Id

BATCH = 5_000
PLACE = "01900000-0000-7000-8000-000000000001"
"""A place that has one execution of five hundred."""


@dataclass
class Filling:
    """What to fill in. The shares are those of a busy installation: nearly all are execs that succeeded."""

    rows: int = 1_000_000
    account_id: AccountId = field(default_factory=AccountId.new)
    root_id: ProjectId = field(default_factory=ProjectId.new)
    projects: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    seed: int = 1

    def __post_init__(self) -> None:
        """Make projects and places; the last of each is rare."""
        self.projects = [f"/{self.root_id}/{ProjectId.new()}/" for _ in range(10)]
        self.places = [PLACE, *(str(RuntimeId.new()) for _ in range(499))]


def rows_of(filling: Filling) -> Iterator[dict[str, Any]]:
    """Yield the rows, oldest first."""
    chance = random.Random(filling.seed)
    born = datetime.now(UTC) - timedelta(days=30)
    step = timedelta(days=30) / max(1, filling.rows)
    other = AccountId.new()
    parent = ExecutionId.new()
    for number in range(filling.rows):
        created = born + number * step
        rare = number % 20_000 == 0
        status = chance.choices(("succeeded", "failed", "timeout", "canceled"), (92, 6, 1, 1))[0]
        path = filling.projects[9] if rare else filling.projects[chance.randrange(9)]
        execution_id = ExecutionId.new()
        if number % 1000 == 0:
            parent = execution_id
        child = number % 1000 < 20 and parent != execution_id
        yield {
            "id": execution_id,
            "account_id": other if number % 10 == 9 else filling.account_id,
            "project_id": path.split("/")[2],
            "project_path": path,
            "kind": "plan" if rare else "exec",
            "name": f"job {number}",
            "parent_id": parent if child else None,
            "root_id": parent if child else execution_id,
            "place_kind": "runtime",
            "place_id": filling.places[499] if rare else filling.places[chance.randrange(499)],
            "place_name": "box",
            "actor": "rare" if rare else f"user-{chance.randrange(20)}",
            "door": "harness" if rare else "runta",
            "command": f"python -m job --number {number} --of the-nightly-run" + (" needle" if rare else ""),
            "parameters": {},
            "labels": {"team": f"t{number % 7}"} if number % 50 == 0 else {},
            "status": "abandoned" if rare else status,
            "status_reason": None,
            "exit_code": 0 if status == "succeeded" else 1,
            "signal": None,
            "result": None,
            "created_at": created,
            "started_at": created,
            "ended_at": created + timedelta(milliseconds=120),
            "duration_us": 120_000,
            "output_bytes": 512,
            "output_truncated": False,
            "output_ref": None,
            "attempt": 1,
            "worker": "embedded",
            "request_id": str(Uuid7Id.new()),
        }


async def fill_rows(database: Database, filling: Filling) -> None:
    """Insert all rows."""
    batch: list[dict[str, Any]] = []
    for row in rows_of(filling):
        batch.append(row)
        if len(batch) == BATCH:
            await _insert(database, batch)
            batch = []
    if batch:
        await _insert(database, batch)
    if database.name == "postgresql":
        async with database.transaction() as tx:
            await tx.execute(text("ANALYZE executions"))
            await tx.execute(text("ANALYZE execution_labels"))


async def _insert(database: Database, batch: list[dict[str, Any]]) -> None:
    async with database.transaction() as tx:
        before = await tx.scalar(select(func.max(executions.c.seq))) or 0
        await tx.execute(insert(executions), batch)
        found = await tx.all(select(executions.c.seq, executions.c.id).where(executions.c.seq > before))
        seqs = {row.id: row.seq for row in found}
        labels = [
            {
                "account_id": row["account_id"],
                "name": name,
                "value": value,
                "created_at": row["created_at"],
                "execution_seq": seqs[row["id"]],
            }
            for row in batch
            for name, value in row["labels"].items()
        ]
        if labels:
            await tx.execute(insert(execution_labels), labels)


async def _fill_folder(folder: Path, rows: int, url: str | None) -> None:
    database = await Database.open(url, folder)
    try:
        await database.migrate()
        filling = Filling(rows=rows)
        async with database.read() as tx:
            root = await tx.one_or_none(
                select(projects.c.id, projects.c.account_id)
                .join(accounts, accounts.c.id == projects.c.account_id)
                .where(projects.c.parent_id.is_(None), accounts.c.slug == "default")
            )
        if root is not None:
            filling = Filling(rows=rows, account_id=AccountId(root.account_id), root_id=ProjectId(root.id))
        await fill_rows(database, filling)
    finally:
        await database.close()


def fill(folder: Path, rows: int, url: str | None = None) -> None:
    """Fill the account `default` of a data folder whose server is down; a folder without one gets a made-up account."""
    asyncio.run(_fill_folder(folder, rows, url))


def main() -> None:
    """Fill a folder from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="data folder of a server that does not run")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--url", help="database URL; default: SQLite in the folder")
    chosen = parser.parse_args()
    began = time.monotonic()
    fill(chosen.folder, chosen.rows, chosen.url)
    print(f"{chosen.rows} rows in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
