"""The type of data that comes from outside. Owns its name and nothing else."""

from typing import Any

Json = Any
"""What JSON can say."""
