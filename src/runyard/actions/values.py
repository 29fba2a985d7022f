"""The type of data that came from outside. Owns its names and nothing else."""

from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = Any
"""What JSON can say; inside a template also what the template made of it."""
JsonObject: TypeAlias = Mapping[str, Json]
