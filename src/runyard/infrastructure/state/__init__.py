"""Terraform state: versions, locks, and the credentials with which runs reach their own."""
