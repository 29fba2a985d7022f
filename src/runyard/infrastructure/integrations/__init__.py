"""Owns integrations: where repositories are and by which credential they are reached."""
