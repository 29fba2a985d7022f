"""Governance policies: rules in Rego about one resource, and the shared packages that they import."""
