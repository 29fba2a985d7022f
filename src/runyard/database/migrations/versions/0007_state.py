"""Terraform state: versions, locks, configuration versions."""

revision: str = "0007"
down_revision: str | None = "0006"


def upgrade() -> None:
    """Apply the revision."""
