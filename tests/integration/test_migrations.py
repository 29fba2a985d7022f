"""Migrations on both databases: they make exactly the schema of the code, once, whole or not at all."""

from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from runyard.database.engine import Database
from runyard.database.errors import SchemaTooNew
from runyard.database.migrate import config, upgrade
from runyard.database.postgresql import PostgresqlDatabase
from runyard.database.revisions import is_newest, newest
from runyard.database.sqlite import SqliteDatabase


async def on_connection(database: Database, work: Any) -> Any:
    """Run a synchronous function on a connection of either database."""
    if isinstance(database, SqliteDatabase):
        return work(database.writer.core)
    assert isinstance(database, PostgresqlDatabase)
    async with database._connected() as connection, connection.begin():
        return await connection.run_sync(work)


def described(connection: Connection) -> dict[str, Any]:
    """Describe the whole schema but Alembic's own table."""
    found = inspect(connection)
    found.clear_cache()
    schema: dict[str, Any] = {}
    for table in found.get_table_names():
        if table == "alembic_version":
            continue
        columns = {
            column["name"]: (
                str(column["type"]),
                getattr(column["type"], "collation", None),
                column["nullable"],
                column["default"],
            )
            for column in found.get_columns(table)
        }
        schema[table] = {
            "columns": columns,
            "primary": found.get_pk_constraint(table),
            "foreign": sorted(map(str, found.get_foreign_keys(table))),
            "unique": sorted(map(str, found.get_unique_constraints(table))),
            "checks": sorted(map(str, found.get_check_constraints(table))),
            "indexes": sorted(
                (index["name"] or "", str(index["column_names"]), index["unique"], predicates(index))
                for index in found.get_indexes(table)
            ),
        }
    return schema


def predicates(index: Any) -> str:
    return str(
        sorted(
            (key, str(value))
            for key, value in index.get("dialect_options", {}).items()
            if key.endswith("where")
        )
    )


async def test_migrations_make_the_schema_of_the_code(
    database_url: str, tmp_path: Path, database: Database
) -> None:
    wanted = await on_connection(database, described)
    if isinstance(database, SqliteDatabase):
        database = await Database.open(f"sqlite:///{tmp_path / 'migrated.db'}", tmp_path)
    else:
        await on_connection(database, dropped)
    try:
        await database.migrate()
        assert await on_connection(database, described) == wanted
        await database.migrate()
        assert await on_connection(database, described) == wanted
    finally:
        await database.close()


def dropped(connection: Connection) -> None:
    """Empty a PostgreSQL database."""
    connection.execute(text("DROP SCHEMA public CASCADE"))
    connection.execute(text("CREATE SCHEMA public"))


def test_revisions_have_a_single_head() -> None:
    assert len(ScriptDirectory.from_config(config()).get_heads()) == 1


def test_newest_revision_is_the_head_of_alembic() -> None:
    assert newest() == ScriptDirectory.from_config(config()).get_current_head()


async def test_is_newest_tells_an_empty_and_an_older_schema_from_the_newest(
    database_url: str, tmp_path: Path
) -> None:
    database = await Database.open(database_url, tmp_path)
    try:
        assert not await on_connection(database, is_newest)
        await database.migrate()
        assert await on_connection(database, is_newest)

        def age(connection: Connection) -> None:
            connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))

        await on_connection(database, age)
        assert not await on_connection(database, is_newest)
    finally:
        await database.close()


async def test_migrate_database_of_a_newer_release_is_refused_untouched(
    database_url: str, tmp_path: Path
) -> None:
    database = await Database.open(database_url, tmp_path)
    try:
        await database.migrate()

        def age(connection: Connection) -> None:
            connection.execute(text("UPDATE alembic_version SET version_num = 'from_the_future'"))

        await on_connection(database, age)
        before = await on_connection(database, described)
        with pytest.raises(SchemaTooNew, match="newer release"):
            await database.migrate()
        assert await on_connection(database, described) == before
    finally:
        await database.close()


async def test_migrate_that_fails_in_the_middle_leaves_nothing(database_url: str, tmp_path: Path) -> None:
    database = await Database.open(database_url, tmp_path)
    try:

        def in_the_way(connection: Connection) -> None:
            connection.execute(text("CREATE TABLE tokens (x INTEGER)"))

        await on_connection(database, in_the_way)
        with pytest.raises(Exception, match="tokens"):
            await database.migrate()
        left = await on_connection(database, lambda connection: inspect(connection).get_table_names())
        assert set(left) <= {"tokens", "alembic_version"}
    finally:
        await database.close()


async def test_upgrade_is_the_same_function_that_serve_calls(tmp_path: Path) -> None:
    database = await Database.open(None, tmp_path)
    try:
        assert isinstance(database, SqliteDatabase)
        upgrade(database.writer.core)
        async with database.read() as tx:
            assert await tx.scalar(text("SELECT count(*) FROM alembic_version")) == 1
    finally:
        await database.close()
