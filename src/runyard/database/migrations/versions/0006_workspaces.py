"""Workspaces, configurations, runs and their queue."""

revision: str = "0006"
down_revision: str | None = "0005"


def upgrade() -> None:
    """Apply the revision."""
