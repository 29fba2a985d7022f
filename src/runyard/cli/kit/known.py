"""What shell completion knows: ids and names asked from the server. Owns the short cache that keeps the Tab key quick.

Completion must never disturb: every failure means no proposals, and a slow server is given up on after a moment.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from runyard.client.errors import ClientError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from runyard.client.client import Client

FRESH_SECONDS = 10.0
MOST = 200

Proposal: TypeAlias = tuple[str, str]
"""A value and a word about it."""
Items: TypeAlias = "list[CompletionItem]"
Ask: TypeAlias = "Callable[[Client], Iterable[Proposal]]"
Completion: TypeAlias = "Callable[[click.Context, click.Parameter, str], Items]"


def _runtimes(client: "Client") -> Iterable[Proposal]:
    for runtime in client.runtimes.list(limit=MOST):
        yield runtime.name, runtime.status
        yield runtime.id, f"{runtime.name}, {runtime.status}"


def _executions(client: "Client") -> Iterable[Proposal]:
    for one in client.executions.list(limit=50):
        yield one.id, f"{one.status} {one.command or one.name or one.kind}"


def _checkpoints(client: "Client") -> Iterable[Proposal]:
    for checkpoint in client.checkpoints.list(limit=MOST):
        yield checkpoint.name, checkpoint.state
        yield checkpoint.id, checkpoint.name


def _tokens(client: "Client") -> Iterable[Proposal]:
    for token in client.tokens.list(limit=MOST):
        yield token.id, token.name or ""


def _images(client: "Client") -> Iterable[Proposal]:
    for image in client.images.list():
        yield image.name, image.kind


def _secrets(client: "Client") -> Iterable[Proposal]:
    for one in client.secrets.list():
        yield one.name, one.id


def _projects(client: "Client") -> Iterable[Proposal]:
    for one in client.projects.list():
        yield one.path, one.name or ""


def _workspaces(client: "Client") -> Iterable[Proposal]:
    for one in client.workspaces.list(limit=MOST):
        yield one.name, one.last_run_status


def _integrations(client: "Client") -> Iterable[Proposal]:
    for one in client.integrations.list():
        yield one.name, one.url


def _completion(kind: str, ask: Ask) -> Completion:
    """Make what click calls for proposals of one kind, from what a client is asked."""

    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
        return _propose(kind, ask, incomplete)

    return complete


complete_runtimes = _completion("runtimes", _runtimes)
complete_executions = _completion("executions", _executions)
complete_checkpoints = _completion("checkpoints", _checkpoints)
complete_images = _completion("images", _images)
complete_secrets = _completion("secrets", _secrets)
complete_projects = _completion("projects", _projects)
complete_tokens = _completion("tokens", _tokens)
complete_workspaces = _completion("workspaces", _workspaces)
complete_integrations = _completion("integrations", _integrations)


def complete_profiles(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    """Propose the names of profiles, from the file."""
    from click.shell_completion import CompletionItem

    from runyard.cli.kit.profiles import load_book

    try:
        book = load_book()
    except ClientError:
        return []
    return [
        CompletionItem(name, help=one.url)
        for name, one in book.profiles.items()
        if name.startswith(incomplete)
    ]


def _propose(kind: str, ask: Ask, incomplete: str) -> Items:
    """Return the proposals that begin with what was typed."""
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(value, help=about)
        for value, about in _known(kind, ask)
        if value.startswith(incomplete)
    ]


def _known(kind: str, ask: Ask) -> list[Proposal]:
    """Return the server's answer, or the cached one when it is fresh."""
    from runyard.cli.kit.profiles import choose_connection

    try:
        chosen = choose_connection(None)
        # The token is part of the key, so that one user's names never show up for another's credential.
        key = hashlib.sha256(f"{chosen.url}\0{chosen.token}\0{kind}".encode()).hexdigest()[:24]
        path = _cache_dir() / f"complete-{key}.json"
        if time.time() - _age_of(path) < FRESH_SECONDS:
            return [(str(value), str(about)) for value, about in json.loads(path.read_text())]
        with _quick_client(chosen.url, chosen.token) as client:
            found = list(ask(client))
        _store(path, found)
    except (ClientError, OSError, ValueError):
        return []
    return found


def _quick_client(url: str, token: str | None) -> "Client":
    """Open a client that gives up soon."""
    from runyard.client.client import Client

    return Client(url, token, patience=1.5)


def _cache_dir() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "runyard"


def _age_of(path: Path) -> float:
    """Return when a file was written, 0 for an absent one."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _store(path: Path, found: list[Proposal]) -> None:
    """Write the cache for its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    sibling = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(sibling, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(found, file)
    os.replace(sibling, path)
