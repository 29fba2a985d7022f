"""Migrations at server start. Owns how Alembic is driven on an open connection; the revisions hold the schema.

A database written by a newer release is refused with a sentence: guessing would lose data.
"""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from runyard.database.errors import SchemaTooNew
from runyard.database.revisions import FOLDER


def config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for the packaged revisions, bound to a connection when one is given."""
    made = Config()
    made.set_main_option("script_location", str(FOLDER))
    made.attributes["connection"] = connection
    return made


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest revision, in one transaction. Raises SchemaTooNew."""
    script = ScriptDirectory.from_config(config())
    for revision in MigrationContext.configure(connection).get_current_heads():
        try:
            script.get_revision(revision)
        except CommandError:
            raise SchemaTooNew(
                f"the database is at revision {revision}, which this release does not know; "
                "it was written by a newer release: start that one, or restore a backup"
            ) from None
    command.upgrade(config(connection), "head")
