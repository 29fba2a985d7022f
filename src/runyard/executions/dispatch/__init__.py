"""Carriers from `scheduled` to a worker and back; the port and its adapters."""
