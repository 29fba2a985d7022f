"""Composition root: puts domains and doors together and serves them on one port."""
