"""What only one dialect knows of a project."""

import sqlalchemy as sa
from alembic import op

from runyard.database.metadata import Json

revision: str = "0014"
down_revision: str | None = "0013"


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("project_settings", sa.Column("extras", Json(), nullable=False, server_default="{}"))
