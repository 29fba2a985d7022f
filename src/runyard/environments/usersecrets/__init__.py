"""Secrets of users, injected into environments under their own names. Values never leave but into an environment."""
