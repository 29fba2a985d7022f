"""The `runyard` command. Never imports the server, except to start it."""
