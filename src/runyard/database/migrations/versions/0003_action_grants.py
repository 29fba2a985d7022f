"""Roles, grants and what else executions of actions need."""

revision: str = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Apply the revision."""
