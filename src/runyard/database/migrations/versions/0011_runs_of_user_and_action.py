"""The runs of one action by one user in the order of the listing, in place of an index that nothing led by."""

from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"


def upgrade() -> None:
    """Apply the revision."""
    op.drop_index("ix_action_runs_user", "action_runs")
    columns = ["account_id", "user_name", "action_ref", "created_at"]
    op.create_index("ix_action_runs_user_action", "action_runs", columns, unique=False)
