"""Runyard: one server that runs commands in isolated runtimes and keeps one record of every execution."""
