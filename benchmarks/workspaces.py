"""Searching workspaces over HTTP, at a hundred and at ten thousand of them."""

import asyncio
import time
from pathlib import Path

from sqlalchemy import select

from benchmarks.plan import Plan, serving
from benchmarks.report import Section, Times
from benchmarks.wire import Line, request
from runyard.database.engine import Database
from runyard.identity.tables import projects
from runyard.infrastructure.workspaces import store
from runyard.infrastructure.workspaces.model import Code, Workspace
from runyard.kernel.clock import utc_now
from runyard.kernel.ids import AccountId, ProjectId, RecordId, WorkspaceId

SIZES = {100: 20, 10_000: 50}
"""Workspaces, and below how many milliseconds a search of them has to be."""
SEARCHES = {
    "newest page of 100": ("?pageSize=100", {}),
    "by a part of the name": ("?pageSize=100", {"searchValue": "team-7"}),
    "by labels and repository": (
        "?pageSize=100",
        {"filters": {"labels": ["prod"], "repositories": ["acme/infra-3"]}},
    ),
    "any of several, sorted": (
        "?pageSize=100",
        {
            "filters": {"$or": {"labels": ["rare"], "vcsType": ["gitlab"]}},
            "sort": {"workspaceName": {"order": 1}},
        },
    ),
    "a text that nothing has": ("?pageSize=100", {"searchValue": "no-such-text"}),
}
ROUNDS = 30


def measure(plan: Plan) -> list[Section]:
    """Fill a database while its server is down, then search."""
    sections = []
    for count, limit in SIZES.items():
        section = Section(f"Search of {count:,} workspaces (p10 / p50 / p99)")
        with serving() as server:
            server.stop()
            asyncio.run(fill(server.data_dir, count))
            server.start()
            line = Line(server.port)
            headers = {"Authorization": f"Bearer {server.token}"}
            for words, (query, body) in SEARCHES.items():
                sent = request("POST", f"/v2/workspaces/search{query}", body, headers)
                values = []
                for _ in range(min(plan.rounds, ROUNDS)):
                    began = time.perf_counter()
                    line.call(sent)
                    values.append(time.perf_counter() - began)
                times = Times(values)
                met = times.p50 * 1000 < limit
                section.add(words, str(times), "", f"p50 under {limit} ms", met)
        sections.append(section)
    return sections


async def fill(folder: Path, count: int) -> None:
    """Write workspaces into the root project of a stopped server."""
    database = await Database.open(None, folder)
    try:
        async with database.transaction() as tx:
            root = (await tx.execute(select(projects).where(projects.c.depth == 0))).one()
            for number in range(count):
                now = utc_now()
                labels = (
                    "prod" if number % 3 else "dev",
                    f"team-{number % 40}",
                    *(("rare",) if number % 997 == 5 else ()),
                )
                workspace = Workspace(
                    id=WorkspaceId.new(),
                    record_id=RecordId.new(),
                    account_id=AccountId(root.account_id),
                    project_id=ProjectId(root.id),
                    project_path=root.path,
                    name=f"workspace-{number}",
                    identifier=f"workspace_{number}",
                    labels=labels,
                    code=Code(
                        vcs_type="gitlab" if number % 11 == 0 else "github",
                        repository=f"acme/infra-{number % 50}",
                        branch="main",
                        working_directory=f"stacks/{number}",
                    ),
                    created_at=now,
                    updated_at=now,
                )
                await store.add(tx, workspace)
    finally:
        await database.close()
