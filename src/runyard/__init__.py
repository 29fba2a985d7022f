"""Runyard: one server that runs commands in isolated runtimes and keeps one record of every execution."""

__version__ = "0.1.0"
