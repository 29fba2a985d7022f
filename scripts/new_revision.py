"""Write the next schema revision from the difference between the revisions so far and the tables in the code.

Usage: uv run python scripts/new_revision.py NUMBER "Add the column x to y"
The result is a draft: read it, and write by hand what must happen to the rows. One function for each table.
"""

import asyncio
import re
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from alembic.autogenerate import produce_migrations
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op_text
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from runyard.database.engine import Database
from runyard.database.metadata import metadata
from runyard.database.migrate import config
from runyard.database.sqlite import SqliteDatabase

DOMAINS = ("database", "identity", "executions", "runtimes")
VERSIONS = Path(__file__).parents[1] / "src/runyard/database/migrations/versions"


def table_of(operation: ops.MigrateOperation) -> str:
    """Name the table that an operation is about."""
    return str(getattr(operation, "table_name", ""))


def flat(operations: list[ops.MigrateOperation]) -> list[ops.MigrateOperation]:
    """Unpack the groups that autogenerate makes of changes to one table."""
    return [
        inner
        for operation in operations
        for inner in (flat(list(operation.ops)) if isinstance(operation, ops.ModifyTableOps) else [operation])
    ]


def grouped(operations: list[ops.MigrateOperation]) -> dict[str, list[ops.MigrateOperation]]:
    """Sort operations into functions: one for each table, one more for its indexes when it is new."""
    functions: dict[str, list[ops.MigrateOperation]] = {}
    for operation in operations:
        name = table_of(operation)
        if isinstance(operation, ops.CreateIndexOp):
            name += "_indexes"
        functions.setdefault(name, []).append(operation)
    return functions


def source(message: str, number: str, before: str | None, context: MigrationContext) -> str:
    """Return the text of the revision."""
    script = produce_migrations(context, metadata)
    assert script.upgrade_ops is not None
    rendering = AutogenContext(
        context,
        metadata,
        opts={
            "sqlalchemy_module_prefix": "sa.",
            "alembic_module_prefix": "op.",
            "user_module_prefix": None,
            "render_item": None,
            "render_as_batch": False,
        },
    )
    parts = [f'"""{message}."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n']
    parts.append("\nfrom runyard.database.metadata import Json, PathText, Timestamp\n")
    parts.append(f"\nrevision: str = {number!r}\ndown_revision: str | None = {before!r}\n")
    functions = grouped(flat(list(script.upgrade_ops.ops)))
    calls = "".join(f"    _{name}()\n" for name in functions) or "    return\n"
    parts.append(f'\n\ndef upgrade() -> None:\n    """Apply the revision."""\n{calls}')
    for name, operations in functions.items():
        lines = "\n".join(f"    {render_op_text(rendering, operation)}" for operation in operations)
        parts.append(f"\n\ndef _{name}() -> None:\n{lines}\n")
    return re.sub(r"runyard\.database\.metadata\.(\w+)\(\)", r"\1()", "".join(parts))


async def draft(number: str, message: str) -> str:
    """Bring an empty database to the newest revision and compare it with the tables in the code."""
    for domain in DOMAINS:
        import_module(f"runyard.{domain}.tables")
    with tempfile.TemporaryDirectory() as folder:
        database = await Database.open(None, Path(folder))
        assert isinstance(database, SqliteDatabase)
        await database.migrate()
        before = ScriptDirectory.from_config(config()).get_current_head()
        options = {"compare_type": True, "target_metadata": metadata}
        context = MigrationContext.configure(database.writer.core, opts=options)
        text = source(message, number, before, context)
        await database.close()
        return text


def main(number: str, message: str) -> None:
    """Write the file and lay it out."""
    path = VERSIONS / f"{number}_{re.sub(r'[^a-z0-9]+', '_', message.lower())}.py"
    path.write_text(asyncio.run(draft(number, message)))
    subprocess.run(["ruff", "check", "-q", "--fix", path], check=False)
    subprocess.run(["ruff", "format", "-q", path], check=True)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
