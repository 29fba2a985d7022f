"""What only one dialect knows of a variable set."""

import sqlalchemy as sa
from alembic import op

from runyard.database.metadata import Json

revision: str = "0013"
down_revision: str | None = "0012"


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("variable_sets", sa.Column("extras", Json(), nullable=False, server_default="{}"))
