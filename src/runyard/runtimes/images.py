"""Verbs of bases and imported images. Owns who may see and change them; unpacking is the engine's.

Images belong to the installation, not to an account: they are files of the host, and runtimes of all accounts begin with
them. Who operates the installation brings and removes them.
"""

from collections.abc import Sequence
from pathlib import Path

from runyard.database.engine import Database
from runyard.identity.model import Principal
from runyard.identity.service import IdentityService
from runyard.kernel.clock import utc_now
from runyard.kernel.errors import InvalidArgument, NotFound
from runyard.kernel.events import Event
from runyard.runtimes.errors import BaseKept
from runyard.runtimes.isolation.engine import BaseFacts, BaseKind, Engine

MAX_PATH_BYTES = 4095


class ImageService:
    """Lists bases, imports and removes images."""

    def __init__(
        self, database: Database, identity: IdentityService, engine: Engine, default_base: str
    ) -> None:
        """Take the parts."""
        self._database = database
        self._identity = identity
        self._engine = engine
        self.default_base = default_base

    def listing(self) -> Sequence[BaseFacts]:
        """List all bases: the host, folders of the settings, images."""
        return self._engine.bases()

    async def import_layout(self, principal: Principal, name: str, path: str) -> BaseFacts:
        """Make a base of an OCI image layout in a folder of this host, replacing an image of that name; takes seconds
        to minutes. Raises PermissionDenied, InvalidArgument, BadImage, TooLarge, Unavailable, Unimplemented.
        """
        await self._identity.require_operator(principal)
        if not path.startswith("/") or "\0" in path or len(path.encode()) > MAX_PATH_BYTES:
            raise InvalidArgument("path must be an absolute path on the server's host")
        made = await self._engine.import_image(Path(path), name)
        await self._record(principal, made, "imported")
        return made

    async def remove(self, principal: Principal, name: str) -> None:
        """Forget an image. Runtimes that live on it go on; once stopped they start again only when an image of that
        name is there. Raises PermissionDenied, NotFound, BaseKept for the default base and for what is no image.
        """
        await self._identity.require_operator(principal)
        known = next((base for base in self._engine.bases() if base.name == name), None)
        if known is None:
            raise NotFound(f"there is no image '{name[:200]}'")
        if name == self.default_base:
            raise BaseKept(f"'{name}' is the default base of this server: change runtimes.default_base first")
        if known.kind is not BaseKind.IMAGE:
            raise BaseKept(f"'{name}' is no imported image: it comes with the host or from the settings")
        await self._engine.remove_image(name)
        await self._record(principal, known, "removed")

    async def _record(self, principal: Principal, base: BaseFacts, what: str) -> None:
        event = Event(
            account_id=principal.scope.account_id,
            subject_kind="image",
            # A name may be longer than the column of subjects, the digits of a digest fit.
            subject_id=(base.digest or base.name).removeprefix("sha256:")[:64],
            type=f"image.{what}",
            actor=principal.actor,
            at=utc_now(),
            body={"name": base.name, "digest": base.digest},
        )
        async with self._database.transaction() as tx:
            await tx.record(event)
