"""What revision a database is at. Owns the question whether there is anything to migrate, and answers it without Alembic:
its import alone would be a twentieth of every start, and most starts find the newest schema.
"""

from pathlib import Path

from sqlalchemy import Connection, String, column, inspect, select, table

FOLDER = Path(__file__).with_name("migrations")
_VERSION_TABLE = "alembic_version"


def newest() -> str:
    """Return the newest packaged revision: the names of their files begin with their numbers."""
    return max(path.name.partition("_")[0] for path in (FOLDER / "versions").glob("[0-9]*_*.py"))


def bring_up(connection: Connection) -> None:
    """Bring the schema to the newest revision, in one transaction. Raises SchemaTooNew."""
    if not is_newest(connection):
        from runyard.database.migrate import upgrade

        upgrade(connection)


def is_newest(connection: Connection) -> bool:
    """Tell whether the schema is the newest; a database without one, or of another release, is not."""
    if not inspect(connection).has_table(_VERSION_TABLE):
        return False
    held = connection.execute(select(column("version_num", String())).select_from(table(_VERSION_TABLE)))
    return held.scalars().all() == [newest()]
