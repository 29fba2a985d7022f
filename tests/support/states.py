"""Terraform states for tests. Owns how one is made; no server."""

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from runyard.database.engine import Database
from runyard.infrastructure.state.files import SealedFiles
from runyard.infrastructure.state.locks import LockService
from runyard.infrastructure.state.model import Writer
from runyard.infrastructure.state.service import StateService
from runyard.kernel.blobs import BlobStore
from runyard.kernel.crypto import Vault
from runyard.kernel.ids import AccountId, ProjectId

ANN = Writer(actor="ann", user_id="a" * 24)
BOB = Writer(actor="bob", user_id="b" * 24)


def state(serial: int, lineage: str = "lineage", secret: str = "plain", padding: int = 0) -> bytes:
    """Return a state with one output; `padding` bytes make it long."""
    document = {
        "version": 4,
        "terraform_version": "1.11.4",
        "serial": serial,
        "lineage": lineage,
        "outputs": {"secret": {"value": secret, "type": "string", "sensitive": True}},
        "resources": [],
        "check_results": "x" * padding or None,
    }
    return json.dumps(document).encode()


@dataclass(frozen=True)
class Place:
    """A workspace, as far as state is concerned."""

    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    account_id: AccountId = field(default_factory=AccountId.new)
    project_id: ProjectId = field(default_factory=ProjectId.new)

    @property
    def project_path(self) -> str:
        """Return a path of one component."""
        return f"/{self.project_id}/"


@dataclass
class States:
    """The services of state over one database."""

    database: Database
    folder: Path
    max_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        """Put them together."""
        self.vault = Vault(self.folder / "keys")
        self.blobs = BlobStore(self.folder / "state")
        self.files = SealedFiles(self.blobs, self.vault, "state")
        self.versions = StateService(self.database, self.files, max_bytes=self.max_bytes)
        self.locks = LockService(self.database)

    def digests(self) -> set[str]:
        """Return the digests of all blobs on the disk."""
        return set(self.blobs.digests())
