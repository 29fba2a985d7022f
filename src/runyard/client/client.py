"""The client: one object per server, one attribute per noun. Owns no calls itself, see the nouns' modules."""

from types import TracebackType
from typing import Self

from runyard.client.executions import Executions
from runyard.client.guardrails import Guardrails
from runyard.client.http import Request, Transport, path_of
from runyard.client.images import Images
from runyard.client.integrations import Integrations
from runyard.client.models import Health
from runyard.client.projects import Projects
from runyard.client.runtimes import Checkpoints, Runtimes
from runyard.client.secrets import Secrets
from runyard.client.states import States
from runyard.client.tasks import Tasks
from runyard.client.tokens import Tokens
from runyard.client.users import Users
from runyard.client.workspaces import Workspaces


class Client:
    """Talks to one Runyard server. Synchronous; may be used from several threads; close it, or use `with`."""

    def __init__(self, url: str, token: str | None = None, *, patience: float | None = None) -> None:
        """Take the address of the server and a token; nothing is sent yet. `patience` caps every wait, in seconds."""
        self.transport = Transport(url, token, patience=patience)
        self.runtimes = Runtimes(self.transport)
        self.checkpoints = Checkpoints(self.transport)
        self.executions = Executions(self.transport)
        self.images = Images(self.transport)
        self.secrets = Secrets(self.transport)
        self.projects = Projects(self.transport)
        self.states = States(self.transport)
        self.tasks = Tasks(self.transport)
        self.tokens = Tokens(self.transport)
        self.users = Users(self.transport)
        self.integrations = Integrations(self.transport)
        self.guardrails = Guardrails(self.transport)
        self.workspaces = Workspaces(self.transport)

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    def health(self) -> Health:
        """Ask whether the server is ready, and why not."""
        return self.transport.call(Request("GET", path_of("health", "ready"), repeatable=True), Health)
