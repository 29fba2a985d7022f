"""Owns accounts, projects, users and tokens. Does not know what a token is used for."""
