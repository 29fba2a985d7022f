"""Verbs of integrations: make, list, look into repositories, and how a run reaches its code. Owns which addresses this
server may read.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from runyard.database.engine import Database
from runyard.database.errors import UniqueViolation
from runyard.identity.model import Permission, Principal
from runyard.infrastructure.integrations import folders, store
from runyard.infrastructure.integrations.errors import (
    IntegrationExists,
    IntegrationNotFound,
    InvalidIntegration,
    RepositoryNotFound,
    RepositoryRefused,
)
from runyard.infrastructure.integrations.model import (
    PUBLIC,
    Credential,
    Integration,
    IntegrationId,
    NewIntegration,
    Node,
    Repository,
    address,
    check,
    check_branch,
    check_url,
    nested,
    page_of,
)
from runyard.infrastructure.runs.ports import RepositoryAccess
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import RunyardError
from runyard.kernel.events import Event
from runyard.kernel.jsons import encode_json

MOST_REPOSITORIES: Final = 1000
AT_ONCE: Final = 4


class Git(Protocol):
    """What is asked of git."""

    async def default_branch(self, access: RepositoryAccess) -> str:
        """Return the branch that the remote's HEAD names. Raises RunyardError with the reason."""
        ...

    async def files(self, access: RepositoryAccess, branch: str) -> Sequence[tuple[str, bool]]:
        """Return every path of a branch with whether it is a file. Raises RunyardError with the reason."""
        ...


class IntegrationService:
    """Integrations over one database."""

    def __init__(
        self, database: Database, vault: Vault, git: Git, roots: Sequence[Path], now: Now = utc_now
    ) -> None:
        """Take the parts; repositories in files are read below `roots` only."""
        self._database = database
        self._vault = vault
        self._git = git
        self._roots = tuple(Path(os.path.realpath(root)) for root in roots)
        self._now = now

    async def create(self, caller: Principal, new: NewIntegration) -> Integration:
        """Make an integration. Raises IntegrationExists, InvalidIntegration, RepositoryRefused, PermissionDenied."""
        caller.require(Permission.ADMIN)
        url, now, scope = check(new), self._now(), caller.scope
        if url.startswith("file:"):
            self._below_roots(url)
        credential = Credential(new.password, new.ssh_key)
        made = Integration(
            id=IntegrationId.new(),
            account_id=scope.account_id,
            project_id=scope.project_id,
            project_path=scope.project_path,
            name=new.name,
            type=new.type,
            url=url,
            username=new.username,
            known_hosts=new.known_hosts,
            repositories=tuple(new.repositories),
            has_credential=bool(new.password or new.ssh_key),
            created_at=now,
            updated_at=now,
        )
        sealed = None
        if made.has_credential:
            sealed = self._vault.seal(encode_json(credential), _context(made.id))
        try:
            async with self._database.transaction() as tx:
                await store.add(tx, made, sealed)
                await tx.record(self._event(caller, made, "integration.created"))
        except UniqueViolation:
            raise IntegrationExists(f"an integration named {new.name!r} already exists") from None
        return made

    async def list(self, caller: Principal) -> Sequence[Integration]:
        """List the integrations of the caller's part of the tree."""
        async with self._database.read() as tx:
            return await store.listing(tx, caller.scope)

    async def usable_by(self, caller: Principal) -> Sequence[Integration]:
        """List the integrations that workspaces of the caller's part of the tree may name: its own and those above it."""
        async with self._database.read() as tx:
            return await store.usable(tx, caller.scope)

    async def usable(self, account_id: str, project_path: str, reference: str) -> Integration:
        """Return the one of this id or name by which workspaces of a project reach repositories: it is of that project or
        one above. Raises IntegrationNotFound.
        """
        async with self._database.read() as tx:
            found = await store.look_up(tx, account_id, reference)
        if found is None or not project_path.startswith(found.project_path):
            raise IntegrationNotFound(reference)
        return found

    async def delete(self, caller: Principal, reference: str) -> None:
        """Remove an integration, by id or name; workspaces that use it can be checked out no more.
        Raises IntegrationNotFound.
        """
        caller.require(Permission.ADMIN)
        async with self._database.transaction() as tx:
            found = await store.look_up(tx, caller.scope.account_id, reference)
            if found is None or not found.project_path.startswith(caller.scope.project_path):
                raise IntegrationNotFound(reference)
            await store.remove(tx, found.id)
            await tx.record(self._event(caller, found, "integration.deleted"))

    async def repositories(self, caller: Principal, kind: str, integration_id: str) -> Sequence[Repository]:
        """List the repositories of an integration: those that it names, else those below its folder.
        Raises IntegrationNotFound, RepositoryRefused.
        """
        found, credential = await self._visible(caller, kind, integration_id)
        names = found.repositories
        if not names and found.url.startswith("file:"):
            top = self._below_roots(found.url)
            names = await asyncio.to_thread(folders.repositories, top, MOST_REPOSITORIES)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> Repository | None:
            async with gate:
                try:
                    access = self._access(found, credential, name)
                    return Repository(full_name=name, default_branch=await self._git.default_branch(access))
                except RunyardError as error:
                    failures.append(f"{name}: {error.message}")
                    return None

        failures: list[str] = []
        answered = await asyncio.gather(*(one(name) for name in names))
        await self._note(found, failures[0] if failures and not any(answered) else "")
        return [repository for repository in answered if repository is not None]

    async def tree(
        self, caller: Principal, kind: str, integration_id: str, repository: str, branch: str, *, files: bool
    ) -> Node:
        """Return the folders of a branch, and with `files` its files. Raises IntegrationNotFound, RepositoryNotFound."""
        found, credential = await self._visible(caller, kind, integration_id)
        try:
            access = self._access(found, credential, repository)
            if branch:
                check_branch(branch)
            paths = await self._git.files(access, branch or await self._git.default_branch(access))
        except RunyardError as error:
            await self._note(found, error.message)
            raise RepositoryNotFound(
                f"repository {repository[:200]!r} or branch {branch[:200]!r} not found: {error.message}"
            ) from None
        await self._note(found, "")
        return nested(paths, include_files=files)

    async def access(self, workspace: Workspace) -> RepositoryAccess:
        """Return how to reach the repository of a workspace: by its integration, else by its own address, else at the
        public host of its kind. Raises InvalidIntegration, RepositoryRefused with the reason.
        """
        code = workspace.code
        if code.vcs_integration_id:
            async with self._database.read() as tx:
                found = await store.of_account(tx, workspace.account_id, code.vcs_integration_id)
            if found is not None and workspace.project_path.startswith(found[0].project_path):
                return self._access(found[0], self._opened(*found), code.repository)
        url = code.repository_url or address(_public(code.vcs_type), code.repository)
        check_url(url)
        if url.startswith("file:"):
            self._below_roots(url)
        return RepositoryAccess(url=url)

    async def pages(self, workspaces: Sequence[Workspace]) -> Sequence[str]:
        """Return for each of some workspaces of one account the page of its repository; empty when none is known."""
        named = {one.code.vcs_integration_id for one in workspaces if one.code.vcs_integration_id}
        known: dict[str, Integration] = {}
        if named:
            async with self._database.read() as tx:
                found = await store.some_of_account(tx, workspaces[0].account_id, named)
            known = {str(one.id): one for one in found}
        return [_page(one, known.get(one.code.vcs_integration_id)) for one in workspaces]

    async def _visible(
        self, caller: Principal, kind: str, integration_id: str
    ) -> tuple[Integration, Credential]:
        scope = caller.scope
        async with self._database.read() as tx:
            found = await store.of_account(tx, scope.account_id, integration_id)
        if found is None or found[0].type != kind:
            raise IntegrationNotFound(integration_id)
        if not found[0].project_path.startswith(scope.project_path):
            if not scope.project_path.startswith(found[0].project_path):
                raise IntegrationNotFound(integration_id)
            # What is above is looked into by whom could make a workspace of it.
            caller.require(Permission.WORKSPACES_WRITE)
        return found[0], self._opened(*found)

    def _opened(self, integration: Integration, sealed: bytes | None) -> Credential:
        if sealed is None:
            return Credential()
        return msgspec.json.decode(self._vault.open(sealed, _context(integration.id)), type=Credential)

    def _access(self, integration: Integration, credential: Credential, repository: str) -> RepositoryAccess:
        url = address(integration.url, repository)
        if url.startswith("file:"):
            url = self._below_roots(url, bare=True).as_uri()
        return RepositoryAccess(
            url=url,
            username=integration.username,
            password=credential.password,
            ssh_key=credential.ssh_key,
            known_hosts=integration.known_hosts,
        )

    def _below_roots(self, url: str, *, bare: bool = False) -> Path:
        """Return the folder of a file address, every link resolved. Raises RepositoryRefused outside the roots."""
        path = unquote(urlsplit(url).path)
        if bare and not os.path.isdir(path) and os.path.isdir(f"{path}.git"):
            path = f"{path}.git"
        folder = Path(os.path.realpath(path))
        if not any(folder == root or root in folder.parents for root in self._roots):
            raise RepositoryRefused(
                "repositories in files are read only below the folders of the setting infrastructure.local_repositories"
            )
        return folder

    async def _note(self, integration: Integration, error: str) -> None:
        async with self._database.transaction() as tx:
            await store.note_fetch(tx, integration.id, self._now(), error)

    async def seal_again(self) -> int:
        """Seal every credential with the current key after a rotation; return how many needed it."""
        async with self._database.transaction() as tx:
            old = [pair for pair in await store.sealed_rows(tx) if self._vault.needs_reseal(pair[1])]
            for integration_id, sealed in old:
                fresh = self._vault.reseal(sealed, _context(integration_id))
                await store.seal_again(tx, integration_id, sealed, fresh)
        return len(old)

    def _event(self, caller: Principal, integration: Integration, name: str) -> Event:
        return Event(
            account_id=integration.account_id,
            subject_kind="integration",
            subject_id=integration.id,
            type=name,
            actor=caller.actor,
            at=self._now(),
            body={"name": integration.name, "url": integration.url},
        )


def _page(workspace: Workspace, integration: Integration | None) -> str:
    """Return the page of a repository as a run would reach it."""
    code = workspace.code
    if integration is None or not workspace.project_path.startswith(integration.project_path):
        if code.repository_url:
            return code.repository_url
        base = PUBLIC.get(code.vcs_type, "")
    else:
        base = integration.url
    try:
        return page_of(address(base, code.repository)) if base else ""
    except InvalidIntegration:
        return ""


def _public(kind: str) -> str:
    found = PUBLIC.get(kind)
    if found is None:
        raise InvalidIntegration(
            f"the workspace needs an integration of the kind {kind!r}, or the repository's address"
        )
    return found


def _context(integration_id: str) -> bytes:
    return f"integration:{integration_id}".encode()
