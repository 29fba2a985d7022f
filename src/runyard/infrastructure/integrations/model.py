"""Integrations and the addresses they make of repositories. Owns the types and the pure rules; no I/O."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

import msgspec

from runyard.infrastructure.integrations.errors import InvalidIntegration
from runyard.infrastructure.workspaces.model import VCS_TYPES
from runyard.kernel.ids import AccountId, HexId, ProjectId

PUBLIC: Final = {
    "github": "https://github.com",
    "gitlab": "https://gitlab.com",
    "bitbucket": "https://bitbucket.org",
    "azuredevops": "https://dev.azure.com",
}
"""Where repositories of a kind are when no integration says otherwise."""
_COMMITS: Final = {
    "github": "/commit/",
    "gitlab": "/-/commit/",
    "bitbucket": "/commits/",
    "bitbucketdc": "/commits/",
    "azuredevops": "/commit/",
}
_SSH: Final = re.compile(r"(?:ssh://)?git@(github\.com|gitlab\.com|bitbucket\.org)[:/](.+?)(?:\.git)?\Z")
"""Addresses by ssh of hosts that show the same repository under the same name."""
SCHEMES: Final = ("https", "http", "ssh", "file")
_SCP: Final = re.compile(
    r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!//)[^\s:-][^\s]*\Z|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:\Z"
)
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9_.~-][A-Za-z0-9_.~ /-]{0,511}\Z")
_BRANCH: Final = re.compile(
    r"(?![-/.])(?!.*(?:\.\.|//|@\{|\\|\.lock(?:/|\Z)))[^\x00-\x20\x7f~^:?*\[]{1,255}(?<![./])\Z"
)


class IntegrationId(HexId):
    """Names an integration."""

    __slots__ = ()
    kind = "integration"


class Integration(msgspec.Struct, frozen=True, kw_only=True):
    """Where repositories are, without the credential."""

    id: IntegrationId
    account_id: AccountId
    project_id: ProjectId
    project_path: str
    name: str
    """Unique in the account."""
    type: str
    """One of the kinds of version control."""
    url: str
    """What stands before the name of a repository: `https://host`, `ssh://git@host`, `git@host:`, `file:///folder`."""
    username: str = ""
    known_hosts: str = ""
    repositories: Sequence[str] = ()
    """Those to offer, where the server cannot list them by itself."""
    has_credential: bool = False
    created_at: datetime
    updated_at: datetime
    fetched_at: datetime | None = None
    """When it last answered."""
    fetch_error: str = ""
    """Why the last try failed; empty after a success."""


class NewIntegration(msgspec.Struct, frozen=True, kw_only=True):
    """What an integration shall be."""

    name: str
    type: str
    url: str = ""
    """Empty means the public host of the kind."""
    username: str = ""
    password: str = ""
    """A token or password for http(s)."""
    ssh_key: str = ""
    known_hosts: str = ""
    repositories: Sequence[str] = ()


class Credential(msgspec.Struct, frozen=True):
    """What is sealed of an integration."""

    password: str = ""
    ssh_key: str = ""

    def __repr__(self) -> str:
        """Never show it."""
        return "Credential(***)"


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """A repository of an integration."""

    full_name: str
    default_branch: str
    description: str = ""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A folder or file of a repository."""

    name: str
    path: str
    is_file: bool
    children: Sequence["Node"] = ()


def check(new: NewIntegration) -> str:
    """Refuse what no integration can be; return its address. Raises InvalidIntegration."""
    if not 1 <= len(new.name.strip()) <= 256 or "\0" in new.name:
        raise InvalidIntegration("Name must have 1 to 256 characters")
    if new.type not in VCS_TYPES:
        raise InvalidIntegration(f"Type must be one of {', '.join(VCS_TYPES)}")
    url = (new.url or PUBLIC.get(new.type, "")).strip()
    if not url:
        raise InvalidIntegration("Url is required")
    check_url(url)
    for one in new.repositories:
        check_repository(one)
    if any(
        "\0" in text or len(text) > 65_536
        for text in (new.username, new.password, new.ssh_key, new.known_hosts)
    ):
        raise InvalidIntegration("a credential has at most 65536 characters")
    return url


def check_url(url: str) -> None:
    """Refuse an address that is none, has a credential in it, or could be taken for an option. Raises InvalidIntegration."""
    if len(url) > 1024 or any(ord(one) < 33 or ord(one) == 127 for one in url) or url.startswith("-"):
        raise InvalidIntegration("Url has at most 1024 printable characters and no spaces")
    if "://" not in url:
        if _SCP.match(url) is None:
            raise InvalidIntegration(
                f"Url must begin with one of {', '.join(SCHEMES)}, or look like git@host:path"
            )
        return
    try:
        parts = urlsplit(url)
        password, host = parts.password, parts.hostname
    except ValueError:
        raise InvalidIntegration("Url is not valid") from None
    if parts.scheme not in SCHEMES:
        raise InvalidIntegration(
            f"Url must begin with one of {', '.join(SCHEMES)}, or look like git@host:path"
        )
    if password is not None or (parts.username and parts.scheme != "ssh"):
        raise InvalidIntegration("Url must not contain a credential")
    if parts.scheme != "file" and (not host or host.startswith("-")):
        raise InvalidIntegration("Url needs a host")
    if parts.scheme == "file" and (host or ".." in parts.path.split("/")):
        raise InvalidIntegration("Url of files must be file:///absolute/folder")


def check_repository(name: str) -> None:
    """Refuse a name that leaves its place or could be taken for an option. Raises InvalidIntegration."""
    if _REPOSITORY.match(name) is None or name.startswith("-") or {"", ".", ".."} & set(name.split("/")):
        raise InvalidIntegration(f"Repository {name[:80]!r} is not valid: expected owner/name")


def check_branch(name: str) -> None:
    """Refuse what is no name of a branch or tag. Raises InvalidIntegration."""
    if _BRANCH.match(name) is None:
        raise InvalidIntegration(f"Branch {name[:80]!r} is not valid")


def address(base: str, repository: str) -> str:
    """Return the address of a repository below a base; clients name it by its whole address too."""
    repository = repository.removeprefix(f"{base.rstrip('/')}/")
    check_repository(repository)
    if base.endswith(":"):
        return f"{base}{repository}.git"
    suffix = (
        "" if base.startswith("file:") or repository.endswith(".git") or "dev.azure.com" in base else ".git"
    )
    return f"{base.rstrip('/')}/{repository}{suffix}"


def page_of(url: str) -> str:
    """Return the page on which people see a repository; empty when its address tells none."""
    if url.startswith(("https://", "http://")):
        return url.removesuffix(".git")
    found = _SSH.match(url)
    return f"https://{found[1]}/{found[2]}" if found is not None else ""


def commit_page(kind: str, page: str, commit: str) -> str:
    """Return the page of a commit; empty when the repository has none."""
    return f"{page}{_COMMITS[kind]}{commit}" if page and commit and kind in _COMMITS else ""


def nested(paths: Sequence[tuple[str, bool]], *, include_files: bool) -> Node:
    """Return a tree of paths, each with whether it is a file, folders first, by name."""
    root: dict[str, dict[str, object]] = {}
    for path, is_file in paths:
        parts = path.split("/")
        folder: dict[str, object] = root  # type: ignore[assignment]
        for part in parts[:-1]:
            folder = folder.setdefault(part, {})  # type: ignore[assignment]
        if not is_file:
            folder.setdefault(parts[-1], {})
        elif include_files:
            folder[parts[-1]] = None
    return _node("", "", root)


def _node(name: str, path: str, content: object) -> Node:
    if not isinstance(content, dict):
        return Node(name=name, path=path, is_file=True)
    children = [_node(one, f"{path}/{one}".lstrip("/"), inner) for one, inner in content.items()]
    children.sort(key=lambda node: (node.is_file, node.name))
    return Node(name=name, path=path, is_file=False, children=tuple(children))
