"""From compose files and Dockerfiles to files and commands, without a container daemon."""
