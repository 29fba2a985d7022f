"""The operator's tools and the programs around them: git, Terraform, OpenTofu."""
