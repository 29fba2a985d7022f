"""Environments provisioned from task packages."""

revision: str = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    """Apply the revision."""
