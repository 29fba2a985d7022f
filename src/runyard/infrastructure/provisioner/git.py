"""git, as a program of this host. Owns how credentials reach it, what it may do, and its end.

Credentials go by the environment to a helper that git asks for the repository's own host alone, or in a file of mode
0600 to ssh: never in an argument, a URL or an error, nor to where a host redirects. git runs with a configuration of
our own, no hooks, no other protocols, limits of time, memory and disk, and in a process group that is killed with
whoever waited for it.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from runyard.infrastructure.provisioner.gitlimits import (
    LISTING_BYTES,
    GitLimits,
    check_listing,
    hold,
    refuse_cut_off,
)
from runyard.infrastructure.runs.errors import CheckoutFailed
from runyard.infrastructure.runs.ports import RepositoryAccess
from runyard.kernel.errors import TooLarge

DEPTH: Final = 5
EMPTY_TREE: Final = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_OUTPUT_BYTES: Final = 64 << 20
_ERROR_BYTES: Final = 4096
_SCP_FORM: Final = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9._-]+:(?!/)[^\x00-\x20]+\Z")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_IN_URL: Final = re.compile(r"://[^/@\s]+@")
_FETCH: Final = (
    "fetch", "--quiet", "--no-tags", "--update-head-ok", "--no-auto-maintenance", "--no-recurse-submodules",
)  # fmt: skip
_HELPER: Final = """#!/bin/sh
[ "$1" = get ] || exit 0
printf 'username=%s\\npassword=%s\\n' "$RUNYARD_GIT_USERNAME" "$RUNYARD_GIT_PASSWORD"
"""
_CONFIG: Final = """[safe]
\tdirectory = *
[core]
\thooksPath = /dev/null
\tfsmonitor = false
[credential]
\thelper =
[protocol]
\tallow = never
[protocol "https"]
\tallow = always
[protocol "http"]
\tallow = always
[protocol "ssh"]
\tallow = always
[protocol "file"]
\tallow = always
[uploadpack]
\tallowAnySHA1InWant = true
[gc]
\tauto = 0
[advice]
\tdetachedHead = false
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A commit that was checked out."""

    folder: Path
    commit: str
    title: str
    base: str
    """The commit before it, or the empty tree when that is not known."""


class Git:
    """Runs git."""

    def __init__(
        self,
        folder: Path,
        *,
        local_roots: Sequence[Path] = (),
        timeout_secs: float = 300.0,
        limits: GitLimits | None = None,
    ) -> None:
        """Keep the helper and its configuration in a folder of the server's own. `local_roots` are the folders below
        which `file://` repositories may be.
        """
        self._limits = limits or GitLimits()
        self._folder = folder
        self._local_roots = tuple(root.resolve() for root in local_roots)
        self._timeout = timeout_secs

    def start(self) -> None:
        """Remove what a killed server left: keys of calls that were under way, looks into repositories."""
        shutil.rmtree(self._folder, ignore_errors=True)

    async def references(self, access: RepositoryAccess) -> Mapping[str, str]:
        """Return the heads and tags of a repository with their commits; `HEAD` gives the name of the default branch
        when the repository says it. Raises CheckoutFailed.
        """
        arguments = (
            "ls-remote",
            "--symref",
            "--",
            self.address(access),
            "HEAD",
            "refs/heads/*",
            "refs/tags/*",
        )
        found: dict[str, str] = {}
        for line in (await self.run(arguments, access=access)).decode("utf-8", "replace").splitlines():
            value, _, name = line.partition("\t")
            if value.startswith("ref: "):
                found["HEAD"] = value.removeprefix("ref: refs/heads/")
            elif name != "HEAD":
                found[name] = value
        return found

    async def checkout(
        self,
        access: RepositoryAccess,
        target: Path,
        *,
        branch: str = "",
        commit: str = "",
        depth: int = DEPTH,
    ) -> Checkout:
        """Fetch the last few commits of a branch (or tag), or one commit, into the new folder `target` and check it
        out. Raises CheckoutFailed with git's own words, TooLarge.
        """
        wanted = _wanted(branch, commit)
        await asyncio.to_thread(_make_repository, target)
        address = self.address(access)
        tries = [(wanted, depth)]
        if commit and branch:
            # A server that gives no single commits away may give the history in which it is.
            tries.append((f"refs/heads/{branch}", 0))
        if not commit and branch:
            tries.append((f"refs/tags/{branch}", depth))
        for number, (reference, deep) in enumerate(tries, 1):
            limit = ("--depth", str(deep)) if deep else ()
            try:
                await self.run(
                    (*_FETCH, *limit, "--", address, reference),
                    folder=target,
                    access=access,
                )
                break
            except CheckoutFailed:
                if number == len(tries):
                    raise
        found = commit or "FETCH_HEAD"
        listing, log = await asyncio.gather(
            self.run(("ls-tree", "-r", "-l", "-z", found), folder=target, limit=LISTING_BYTES),
            self.run(("log", "-1", "--format=%H%x00%P%x00%s", found), folder=target),
        )
        check_listing(listing, self._limits)
        await self.run(("checkout", "--quiet", "--detach", found), folder=target)
        found, parents, title = log.decode("utf-8", "replace").rstrip("\n").split("\0", 2)
        base = parents.split(" ")[0]
        # At the edge of a shallow history git shows no parents, so that this is there when it is named.
        return Checkout(folder=target, commit=found, title=title[:512], base=base or EMPTY_TREE)

    async def changes(self, checkout: Checkout, limit: int) -> bytes:
        """Return the patch of a commit against the one before it. Raises CheckoutFailed, TooLarge."""
        arguments = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--full-index", "-M")
        return await self.run(
            (*arguments, checkout.base, checkout.commit), folder=checkout.folder, limit=limit
        )

    async def run(
        self,
        arguments: Sequence[str],
        *,
        folder: Path | None = None,
        access: RepositoryAccess | None = None,
        limit: int = _OUTPUT_BYTES,
    ) -> bytes:
        """Run git and return what it prints. Raises CheckoutFailed (git failed, took too long, is not installed),
        TooLarge.
        """
        program = shutil.which("git")
        if program is None:
            raise CheckoutFailed("git is not installed on this server")
        async with self._environment(access) as environment:
            argv = [program, *(("-C", os.fspath(folder)) if folder else ()), *arguments]
            return await self._run(argv, environment, access, limit)

    async def _run(
        self, argv: Sequence[str], environment: Mapping[str, str], access: RepositoryAccess | None, limit: int
    ) -> bytes:
        process = await asyncio.to_thread(_start, argv, environment, self._limits)
        ended = asyncio.ensure_future(asyncio.to_thread(_collect, process, limit))
        try:
            code, out, err = await asyncio.wait_for(asyncio.shield(ended), self._timeout)
        except TimeoutError:
            raise CheckoutFailed(f"git {_verb(argv)} took longer than {self._timeout:g} seconds") from None
        finally:
            if not ended.done():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await asyncio.wait((ended,))
        if code is None:
            raise TooLarge(f"git {_verb(argv)} printed more than {limit} bytes")
        if code != 0:
            refuse_cut_off(err, self._limits)
            text = _clean(err.decode("utf-8", "replace").strip(), access)
            raise CheckoutFailed(f"git {_verb(argv)} failed: {text or f'it ended with code {code}'}")
        return out

    def address(self, access: RepositoryAccess) -> str:
        """Return the URL that git gets. Raises CheckoutFailed for one that is not allowed."""
        url = access.url
        if _SCP_FORM.match(url):
            return url
        parts = urlsplit(url)
        if parts.scheme == "file":
            return self._local(parts.path)
        if parts.scheme not in ("https", "http", "ssh") or not parts.hostname:
            raise CheckoutFailed("a repository is reached by https, http, ssh or file")
        if parts.password is not None or (parts.username is not None and parts.scheme != "ssh"):
            raise CheckoutFailed("the URL of a repository must not carry a credential")
        return url

    def _local(self, path: str) -> str:
        resolved = Path(path).resolve()
        if not any(resolved.is_relative_to(root) for root in self._local_roots):
            raise CheckoutFailed(
                "file repositories are allowed below the folders of the setting infrastructure.local_repositories only"
            )
        return f"file://{resolved}"

    @asynccontextmanager
    async def _environment(self, access: RepositoryAccess | None) -> AsyncIterator[Mapping[str, str]]:
        """Give the environment of one call, with the files that it needs for as long as that."""
        helper, config = await asyncio.to_thread(self._helpers)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.fspath(self._folder),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.fspath(config),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
        }
        environment |= {
            name: os.environ[name]
            for name in (
                "SSL_CERT_FILE",
                "SSL_CERT_DIR",
                "https_proxy",
                "http_proxy",
                "no_proxy",
                "HTTPS_PROXY",
            )
            if name in os.environ
        }
        if access is None:
            yield environment
            return
        if access.password:
            environment |= _credential(access, helper)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="ssh-") as name:
            environment["GIT_SSH_COMMAND"] = _ssh(Path(name), access)
            yield environment

    def _own_folder(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._folder

    def _helpers(self) -> tuple[Path, Path]:
        helper, config = self._folder / "credential", self._folder / "config"
        if not helper.exists() or not config.exists():
            self._own_folder()
            _write(config, _CONFIG, 0o600)
            _write(helper, _HELPER, 0o700)
        return helper, config


def _credential(access: RepositoryAccess, helper: Path) -> Mapping[str, str]:
    """Return what makes git ask the helper for the host of a repository; nothing for an address without a host. Of a host
    to which that one redirects git asks nobody, so that it never learns the credential.
    """
    parts = urlsplit(access.url)
    if parts.scheme not in ("https", "http"):
        return {}
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"credential.{parts.scheme}://{parts.netloc}.helper",
        "GIT_CONFIG_VALUE_0": os.fspath(helper),
        "RUNYARD_GIT_USERNAME": access.username or "git",
        "RUNYARD_GIT_PASSWORD": access.password,
    }


def _ssh(folder: Path, access: RepositoryAccess) -> str:
    """Return the command line of ssh; key and host keys are in files of a folder that goes away with the call."""
    hosts = folder / "known_hosts"
    _write(hosts, access.known_hosts, 0o600)
    checking = "yes" if access.known_hosts else "accept-new"
    options = ["-F", "/dev/null", "-o", "BatchMode=yes", "-o", f"StrictHostKeyChecking={checking}"]
    options += ["-o", f"UserKnownHostsFile={hosts}", "-o", "ConnectTimeout=20"]
    if access.ssh_key:
        key = folder / "key"
        _write(key, access.ssh_key.rstrip("\n") + "\n", 0o600)
        options += ["-o", "IdentitiesOnly=yes", "-i", os.fspath(key)]
    else:
        # Else ssh would offer the keys of the server's own user to whatever host a workspace names.
        options += ["-o", "PubkeyAuthentication=no"]
    return " ".join(["ssh", *(f"'{option}'" for option in options)])


def _write(path: Path, text: str, mode: int) -> None:
    """Write a small file whole, so that whoever runs beside never sees half of it."""
    fd, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        os.fchmod(fd, mode)
        os.write(fd, text.encode())
    finally:
        os.close(fd)
    os.replace(temporary, path)


def _make_repository(folder: Path) -> None:
    """Make an empty repository as `git init` does, which takes a process more than these few files need."""
    inside = folder / ".git"
    for name in ("objects", "refs"):
        (inside / name).mkdir(parents=True)
    (inside / "HEAD").write_text("ref: refs/heads/none\n")
    (inside / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = false\n")


def _start(
    argv: Sequence[str], environment: Mapping[str, str], limits: GitLimits
) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        argv,
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    hold(process.pid, limits)
    return process


def _collect(process: "subprocess.Popen[bytes]", limit: int) -> tuple[int | None, bytes, bytes]:
    """Read everything up to a limit; no code when there was more, after its end."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        errors: list[bytes] = []
        reader = threading.Thread(target=_read_errors, args=(process.stderr, errors))
        reader.start()
        out = process.stdout.read(limit + 1)
        if len(out) > limit:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.stdout.read()
        reader.join()
        code = process.wait()
    return (None if len(out) > limit else code), out, b"".join(errors)


def _read_errors(stream: IO[bytes], kept: list[bytes]) -> None:
    size = 0
    while data := stream.read(_ERROR_BYTES):
        if size < _ERROR_BYTES:
            kept.append(data[: _ERROR_BYTES - size])
            size += len(data)


def _wanted(branch: str, commit: str) -> str:
    if commit:
        if _COMMIT.match(commit) is None:
            raise CheckoutFailed("a commit is named by its 40 hexadecimal digits")
        return commit
    if not branch:
        return "HEAD"
    if branch.startswith("-") or any(part in ("", ".", "..") for part in branch.split("/")) or " " in branch:
        raise CheckoutFailed(f"{branch[:100]!r} is no name of a branch")
    return f"refs/heads/{branch}"


def _verb(argv: Sequence[str]) -> str:
    rest = argv[1:]
    return rest[2] if rest[0] == "-C" else rest[0]


def _clean(text: str, access: RepositoryAccess | None) -> str:
    text = _IN_URL.sub("://", text)
    if access is not None and access.password:
        text = text.replace(access.password, "***")
    return text
