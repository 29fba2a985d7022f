"""The composition of states: versions, locks, uploaded code and the OpenID provider. A part of infrastructure's wing."""

from dataclasses import dataclass
from datetime import timedelta

from runyard.infrastructure.configurations.service import ConfigurationOptions, ConfigurationService
from runyard.infrastructure.oidc.access import OidcAccess
from runyard.infrastructure.oidc.service import OidcService
from runyard.infrastructure.projects.service import ProjectService
from runyard.infrastructure.state.access import StateAccess
from runyard.infrastructure.state.files import SealedFiles
from runyard.infrastructure.state.grants import GrantService
from runyard.infrastructure.state.locks import LockService
from runyard.infrastructure.state.model import StateVersion
from runyard.infrastructure.state.service import StateService
from runyard.infrastructure.workspaces.service import WorkspaceService
from runyard.kernel.blobs import BlobStore
from runyard.kernel.ids import WorkspaceId
from runyard.kernel.tarballs import TarballLimits
from runyard.server.actions import Shared
from runyard.settings import Settings


@dataclass(frozen=True, kw_only=True)
class StateHouse:
    """What keeps states and what runs need of it."""

    states: StateService
    locks: LockService
    grants: GrantService
    oidc: OidcService
    configurations: ConfigurationService
    archives: BlobStore
    """The code that clients uploaded: the store `configurations` of archives of runs."""
    access: StateAccess
    """The port of runs to states."""
    tokens: OidcAccess
    """The port of runs to the OpenID provider."""


def make_states(
    settings: Settings, shared: Shared, projects: ProjectService, workspaces: WorkspaceService
) -> StateHouse:
    """Put the services of states together."""
    chosen, database = settings.infrastructure, shared.database
    files = SealedFiles(BlobStore(settings.data_dir / "states"), shared.vault, "state")
    archives = BlobStore(settings.data_dir / "archives" / "configurations")
    locks, grants = LockService(database), GrantService(database)
    oidc = OidcService(
        database,
        shared.vault,
        token_lifetime=timedelta(seconds=chosen.oidc_token_secs),
        key_lifetime=timedelta(days=chosen.oidc_key_days),
    )
    uploads = ConfigurationOptions(
        upload_bytes=chosen.upload_bytes, unpacked=TarballLimits(bytes=chosen.archive_bytes)
    )

    async def note(version: StateVersion) -> None:
        await workspaces.note_resources(WorkspaceId(version.workspace_id), version.facts.resources)

    address = settings.public_url or f"http://{settings.host}:{settings.port}"
    return StateHouse(
        states=StateService(database, files, max_bytes=chosen.state_bytes, on_kept=note),
        locks=locks,
        grants=grants,
        oidc=oidc,
        configurations=ConfigurationService(database, archives, uploads),
        archives=archives,
        access=StateAccess(grants, locks),
        tokens=OidcAccess(oidc, projects, address, chosen.oidc_audience),
    )
