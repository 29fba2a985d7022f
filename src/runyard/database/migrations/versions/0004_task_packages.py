"""The registry of task packages, user secrets, device log-ins."""

revision: str = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    """Apply the revision."""
