"""What the StackStorm door needs of the house. The composition root hands over anything that has these."""

import asyncio
from typing import Protocol

from runyard.actions.access.service import AccessService
from runyard.actions.apikeys import ApiKeyService
from runyard.actions.catalogue import Catalogue
from runyard.actions.datastore import DatastoreService
from runyard.actions.followups.service import FollowupService
from runyard.actions.packs.service import PackService
from runyard.actions.runs.changes import RunChanges
from runyard.actions.runs.service import RunService
from runyard.actions.traces import TraceService
from runyard.database.engine import Database
from runyard.executions.output.log import OutputLog
from runyard.executions.service import ExecutionService
from runyard.identity.service import IdentityService


class StackStormServices(Protocol):
    """The domain services behind the door."""

    @property
    def identity(self) -> IdentityService:
        """Users and tokens."""
        ...

    @property
    def database(self) -> Database:
        """For its broker of events."""
        ...

    @property
    def executions(self) -> ExecutionService:
        """The ledger."""
        ...

    @property
    def output(self) -> OutputLog:
        """The output logs."""
        ...

    @property
    def access(self) -> AccessService:
        """Roles."""
        ...

    @property
    def catalogue(self) -> Catalogue:
        """Packs and actions."""
        ...

    @property
    def packs(self) -> PackService:
        """Packs with their files."""
        ...

    @property
    def runs(self) -> RunService:
        """Executions of actions."""
        ...

    @property
    def changes(self) -> RunChanges:
        """Changes of those."""
        ...

    @property
    def followups(self) -> FollowupService:
        """Notifications and the trigger instances that they leave."""
        ...

    @property
    def datastore(self) -> DatastoreService:
        """Keys."""
        ...

    @property
    def traces(self) -> TraceService:
        """Traces."""
        ...

    @property
    def api_keys(self) -> ApiKeyService:
        """API keys."""
        ...

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the server begins to stop."""
        ...
