"""Actions: what can be run by name. Owns packs, action metadata, parameters and their masking; runs nothing itself."""
