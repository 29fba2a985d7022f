"""Verbs of task packages: find, list, publish, delete. How a package comes in is the registry's business."""

from runyard.environments.packages.errors import TaskNotFound
from runyard.environments.packages.model import TaskPackage
from runyard.identity.model import Scope


class PackageService:
    """The task packages of all accounts."""

    async def get(self, scope: Scope, reference: str) -> TaskPackage:
        """Find `[org/]name[@version]`: of the caller's own account, or a public one of another. Raises TaskNotFound."""
        del scope
        raise TaskNotFound(f"Task not found: {reference[:200]}")
