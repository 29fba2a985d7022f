"""Task packages and their registry. Owns what a task says and its files; does not know how an environment is built."""
