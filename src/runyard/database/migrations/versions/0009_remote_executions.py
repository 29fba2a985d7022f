"""Remote executions and their archives."""

revision: str = "0009"
down_revision: str | None = "0008"


def upgrade() -> None:
    """Apply the revision."""
