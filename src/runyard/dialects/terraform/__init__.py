"""The Terraform door: the `http` state backend, the `remote`/`cloud` protocol, and the OpenID provider's documents."""
