"""The Terraform door: the `http` state backend and the `remote`/`cloud` protocol."""
