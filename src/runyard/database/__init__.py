"""Owns the engine, the table metadata and the migrations. Knows no domain rules."""
