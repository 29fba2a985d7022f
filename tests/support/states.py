"""Terraform states for tests. Owns how one is made; no server."""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from runyard.database.engine import Database
from runyard.identity.service import IdentityService
from runyard.infrastructure.state.files import SealedFiles
from runyard.infrastructure.state.locks import LockService
from runyard.infrastructure.state.model import Writer
from runyard.infrastructure.state.service import StateService
from runyard.infrastructure.workspaces.model import NewWorkspace, Workspace
from runyard.infrastructure.workspaces.service import WorkspaceService
from runyard.kernel.blobs import BlobStore
from runyard.kernel.crypto import Vault

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

    async def place(self) -> Workspace:
        """Make a workspace."""
        identity = IdentityService(self.database)
        await identity.bootstrap("only-for-tests")
        caller = await identity.system_principal()
        new = NewWorkspace(name=f"w-{uuid.uuid4()}")
        return await WorkspaceService(self.database, identity).create(caller, new)

    def digests(self) -> set[str]:
        """Return the digests of all blobs on the disk."""
        return set(self.blobs.digests())
