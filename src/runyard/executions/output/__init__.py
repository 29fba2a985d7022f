"""Output of executions: masking, the append-only log, its readers, search and retention."""
