"""Configuration versions: the code that a client uploads for a run of its own."""
