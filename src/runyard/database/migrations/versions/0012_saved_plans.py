"""Plans that are saved to be applied later, which hold no workspace while they wait."""

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("runs", sa.Column("saved", sa.Boolean(), nullable=False, server_default=sa.false()))
