"""Guardrails: rules that judge a plan before it is applied."""
