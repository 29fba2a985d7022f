"""The Dreadnode door: task registry and task environments."""
