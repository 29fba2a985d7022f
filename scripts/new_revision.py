"""Write the next schema revision from the difference between the revisions so far and the tables in the code.

Usage: uv run python scripts/new_revision.py "Add the column x to y"
The result is a draft: read it, and write by hand what must happen to the rows.
"""

import asyncio
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from alembic import command

from runyard.database.migrate import config
from runyard.database.sqlite import SqliteDatabase
from runyard.database.engine import Database

DOMAINS = ("database", "identity", "executions", "runtimes")


async def main(message: str, revision: str | None) -> None:
    """Bring an empty database to the newest revision, compare, and write the file."""
    for domain in DOMAINS:
        import_module(f"runyard.{domain}.tables")
    with tempfile.TemporaryDirectory() as folder:
        database = await Database.open(None, Path(folder))
        assert isinstance(database, SqliteDatabase)
        await database.migrate()
        command.revision(config(database.writer.core), message, autogenerate=True, rev_id=revision)
        await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
