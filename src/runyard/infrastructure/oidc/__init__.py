"""The server as an OpenID provider: keys, discovery, and a token for each task of a run."""
