"""Sources of `runyard-agent` and how they are compiled; see common.h for what the program is."""
