"""What runs need of the OpenID provider: a token for a phase of a run. Implements the port of runs."""

from typing import Final

from runyard.infrastructure.oidc.model import Subject
from runyard.infrastructure.oidc.service import OidcService
from runyard.infrastructure.projects.service import ProjectService
from runyard.infrastructure.runs.model import Run
from runyard.infrastructure.workspaces.model import Workspace

ISSUER: Final = "/v2"
"""The path of the issuer on this server."""


class OidcAccess:
    """Tokens for runs."""

    def __init__(self, oidc: OidcService, projects: ProjectService, server_url: str, audience: str) -> None:
        """Sign as the issuer below an address of the server."""
        self._oidc = oidc
        self._issuer = f"{server_url.rstrip('/')}{ISSUER}"
        self._audience = audience
        self._projects = projects

    async def token(self, workspace: Workspace, run: Run, phase: str) -> str | None:
        """Make a token for the phase `plan` or `apply`; None when neither the workspace nor a project above asks for it."""
        wanted = workspace.oidc
        if wanted is None:
            wanted = (await self._projects.inherited(workspace.project_path)).oidc
        if not wanted:
            return None
        subject = Subject(
            account_id=run.account_id,
            project_id=run.project_id,
            project_path=run.project_path,
            workspace_id=workspace.id,
            workspace_name=workspace.name,
            run_id=run.id,
            phase=phase,
        )
        return await self._oidc.token(self._issuer, self._audience, subject)
