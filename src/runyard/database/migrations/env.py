"""Alembic's environment: runs revisions on the connection that the caller opened."""

from alembic import context

from runyard.database.metadata import metadata

connection = context.config.attributes["connection"]
if connection is None:
    raise SystemExit("migrations run when the server starts; there is no offline mode")

sqlite = connection.dialect.name == "sqlite"
context.configure(
    connection=connection, target_metadata=metadata, compare_type=True, transactional_ddl=not sqlite
)
if sqlite:
    # The connection is in autocommit mode, and SQLite's DDL is transactional: one explicit transaction holds
    # all revisions, so that a killed server never leaves half a schema.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        context.run_migrations()
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
else:
    with context.begin_transaction():
        context.run_migrations()
