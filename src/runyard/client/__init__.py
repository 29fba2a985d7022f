"""Typed client of the native API. Never imports the server."""
