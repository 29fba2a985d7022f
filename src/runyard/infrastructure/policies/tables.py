"""Tables of policies and shared packages. Owns columns and invariants; runs no statement."""

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table

from runyard.database.metadata import Json, PathText, Timestamp, metadata

policies = Table(
    "policies",
    metadata,
    Column("id", String(24), primary_key=True),
    Column("account_id", String(24), ForeignKey("accounts.id"), nullable=False),
    Column("project_id", String(24), nullable=False),
    Column("project_path", PathText, nullable=False),
    Column("name", String(256), nullable=False),
    Column("description", String, nullable=False),
    Column("code", String, nullable=False),
    Column("types", Json, nullable=False),
    Column("provider_ids", Json, nullable=False),
    Column("labels", Json, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("category", String(256), nullable=False),
    Column("frameworks", Json, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_by", String(256), nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("updated_at", Timestamp, nullable=False),
    CheckConstraint("severity BETWEEN 1 AND 6", name="severity"),
    Index("ix_policies_created", "account_id", "created_at"),
)
"""`code` is base64 exactly as it came: clients compare it byte for byte."""

policy_packages = Table(
    "policy_packages",
    metadata,
    Column("account_id", String(24), ForeignKey("accounts.id"), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("code", String, nullable=False),
    Column("updated_by", String(256), nullable=False),
    Column("updated_at", Timestamp, nullable=False),
)
"""Rego that policies of the account import as `data.firefly.packages.<name>`."""
