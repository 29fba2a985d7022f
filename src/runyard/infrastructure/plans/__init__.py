"""Plans: what `show -json` said, read once, masked, and kept as rows."""
