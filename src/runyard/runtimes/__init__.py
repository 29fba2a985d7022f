"""Owns runtimes: life cycle, files, checkpoints, secrets."""
