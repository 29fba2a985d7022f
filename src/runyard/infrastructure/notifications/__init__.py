"""Notifications: signed webhooks that tell of what a guardrail found."""
