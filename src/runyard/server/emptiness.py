"""Tells whether a project is empty. Owns the list of what may hang on one that no constraint of the tables keeps there."""

from runyard.environments.model import LIVING
from runyard.environments.service import EnvironmentService
from runyard.identity.errors import StillInUse
from runyard.identity.model import Scope
from runyard.runtimes.checkpoints import CheckpointService
from runyard.runtimes.secrets import SecretService
from runyard.runtimes.service import RuntimeService


class Emptiness:
    """Looks into the domains below infrastructure."""

    def __init__(
        self,
        runtimes: RuntimeService,
        checkpoints: CheckpointService,
        secrets: SecretService,
        environments: EnvironmentService,
    ) -> None:
        """Take the services."""
        self._runtimes = runtimes
        self._checkpoints = checkpoints
        self._secrets = secrets
        self._environments = environments

    async def check(self, scope: Scope) -> None:
        """Raise StillInUse while something hangs on a project or below it."""
        if (await self._runtimes.page(scope, (), 1)).items:
            raise StillInUse("a runtime is in this project: delete it first")
        if (await self._checkpoints.page(scope, 1, None)).items:
            raise StillInUse("a checkpoint is in this project: delete it first")
        if await self._secrets.listing(scope):
            raise StillInUse("a secret is in this project: delete it first")
        if (await self._environments.page(scope, LIVING, 0, 1)).items:
            raise StillInUse("an environment is in this project: tear it down first")
