"""Checkout with the real git, of repositories on this host, over file and over http with a password."""

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import asyncssh
import pytest

from runyard.infrastructure.provisioner.git import EMPTY_TREE, Git
from runyard.infrastructure.provisioner.gitlimits import GitLimits
from runyard.infrastructure.runs.errors import CheckoutFailed
from runyard.infrastructure.runs.ports import RepositoryAccess
from runyard.kernel.errors import TooLarge
from tests.support.repositories import Repository, make_repository
from tests.support.sshd import SSHD, running_sshd


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make a repository with two commits."""
    made = make_repository(tmp_path / "repositories" / "infra")
    made.commit("First", {"main.tf": 'output "a" { value = 1 }\n', "gone.txt": "x\n"})
    made.commit(
        "Second commit", {"main.tf": 'output "a" { value = 2 }\n', "gone.txt": None, "new.txt": "n\n"}
    )
    return made


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """Return a git that may use the folder of repositories."""
    return Git(tmp_path / "git", local_roots=[tmp_path / "repositories"], timeout_secs=20)


async def test_checkout_gives_branch_commit_title_and_changes(
    git: Git, repository: Repository, tmp_path: Path
) -> None:
    """A branch is at its newest commit; the patch is that of this commit alone."""
    access = RepositoryAccess(url=repository.url)
    made = await git.checkout(access, tmp_path / "out", branch="main")
    assert (made.commit, made.title) == (repository.head(), "Second commit")
    assert (tmp_path / "out/main.tf").read_text() == 'output "a" { value = 2 }\n'
    patch = await git.changes(made, 1 << 20)
    assert b"+++ b/new.txt" in patch
    assert b"--- a/gone.txt" in patch
    with pytest.raises(TooLarge):
        await git.changes(made, 10)
    references = await git.references(access)
    assert references["HEAD"] == "main"
    assert references["refs/heads/main"] == made.commit


async def test_checkout_of_older_and_first_commits(git: Git, repository: Repository, tmp_path: Path) -> None:
    """A commit that is no tip is found; the first one is compared with nothing."""
    access = RepositoryAccess(url=repository.url)
    first = repository.git("rev-list", "--max-parents=0", "HEAD")
    made = await git.checkout(access, tmp_path / "out", branch="main", commit=first)
    assert (made.commit, made.base) == (first, EMPTY_TREE)
    assert b"+++ b/gone.txt" in await git.changes(made, 1 << 20)
    with pytest.raises(CheckoutFailed, match="fetch failed"):
        await git.checkout(access, tmp_path / "none", branch="nowhere")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc", "local_repositories"),
        ("file:///{roots}/../secret", "local_repositories"),
        ("ext::sh -c touch% /tmp/x", "https, http, ssh or file"),
        ("https://user:word@example.invalid/a.git", "credential"),
        ("--upload-pack=touch", "https, http, ssh or file"),
    ],
)
async def test_address_that_is_not_allowed_is_refused(git: Git, tmp_path: Path, url: str, said: str) -> None:
    """Nothing but plain addresses reaches git, and files only below the operator's folders."""
    wanted = url.replace("/{roots}", str(tmp_path / "repositories"))
    with pytest.raises(CheckoutFailed, match=said):
        await git.checkout(RepositoryAccess(url=wanted), tmp_path / "out", branch="main")
    with pytest.raises(CheckoutFailed):
        await git.checkout(RepositoryAccess(url="https://example.invalid/a"), tmp_path / "o", branch="-x")


@pytest.fixture
def web(repository: Repository) -> Iterator[tuple[str, list[str]]]:
    """Serve the repository as plain files behind Basic authentication; gives the URL and the credentials seen."""
    repository.git("update-server-info")
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "")
            seen.append(given)
            wanted = base64.b64encode(b"robot:s3cret-token").decode()
            path = repository.folder / ".git" / self.path.split("?")[0].removeprefix("/infra.git/")
            if given != f"Basic {wanted}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
                self.end_headers()
            elif path.is_file():
                self.send_response(200)
                self.end_headers()
                self.wfile.write(path.read_bytes())
            else:
                self.send_response(404)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        yield f"{address}/infra.git", seen


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on a free port; gives the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_password_reaches_the_server_and_nothing_else(
    git: Git, web: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password is in no argument of any process and in no error."""
    url, seen = web
    started: list[list[str]] = []
    real = subprocess.Popen

    def spy(argv: list[str], **more: object) -> object:
        started.append([os.fspath(item) for item in argv])
        return real(argv, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", spy)
    right = RepositoryAccess(url=url, username="robot", password="s3cret-token")
    assert (await git.references(right))["refs/heads/main"]
    assert any(seen)
    with pytest.raises(CheckoutFailed) as failed:
        await git.references(RepositoryAccess(url=url, username="robot", password="wr0ng-token"))
    assert "wr0ng-token" not in failed.value.message
    assert started
    assert not any("token" in item for argv in started for item in argv)


async def test_password_is_not_given_to_where_a_host_redirects(git: Git, web: tuple[str, list[str]]) -> None:
    """A host that asks for a password after a redirect gets none, whoever sent git there."""
    url, seen = web

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{url}{self.path.removeprefix('/infra.git')}")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        access = RepositoryAccess(url=f"{address}/infra.git", username="robot", password="s3cret-token")
        with pytest.raises(CheckoutFailed):
            await git.references(access)
    assert seen
    assert not any(seen)


async def test_ssh_without_a_key_offers_none_of_the_host(git: Git, tmp_path: Path) -> None:
    """The keys of the server's own user are not for whoever names a host."""
    (tmp_path / "ssh").write_text('#!/bin/sh\necho "said: $*" >&2\nexit 1\n')
    (tmp_path / "ssh").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(CheckoutFailed, match=r"said: .*PubkeyAuthentication=no"):
            await git.references(RepositoryAccess(url="ssh://git@127.0.0.1/x.git"))


@pytest.mark.skipif(not Path(SSHD).exists(), reason="needs sshd (apt-get install openssh-server)")
async def test_checkout_over_ssh_knows_its_host(git: Git, repository: Repository, tmp_path: Path) -> None:
    """The key is in a file for as long as the call; a host whose key is another is refused."""
    with running_sshd(tmp_path) as sshd:
        url = f"ssh://root@127.0.0.1:{sshd.port}{repository.folder}"
        known = f"[127.0.0.1]:{sshd.port} {sshd.host_key}"
        access = RepositoryAccess(url=url, ssh_key=sshd.key, known_hosts=known)
        made = await git.checkout(access, tmp_path / "out", branch="main")
        assert made.commit == repository.head()
        other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
        wrong = RepositoryAccess(url=url, ssh_key=sshd.key, known_hosts=f"[127.0.0.1]:{sshd.port} {other}")
        with pytest.raises(CheckoutFailed, match="verification failed"):
            await git.references(wrong)
        with pytest.raises(CheckoutFailed, match="Permission denied"):
            await git.references(RepositoryAccess(url=url, known_hosts=known))
    assert not list((tmp_path / "git").glob("ssh-*"))


SMALL = GitLimits(
    checkout_bytes=64 << 20, entries=1000, fetched_bytes=8 << 20, memory_bytes=GitLimits().memory_bytes
)


@pytest.fixture
def small(tmp_path: Path) -> Git:
    """Return a git with small limits."""
    return Git(tmp_path / "git", local_roots=[tmp_path / "repositories"], timeout_secs=60, limits=SMALL)


async def refused(git: Git, repository: Repository, target: Path) -> None:
    """Check out and assert that it is refused and that next to nothing was written."""
    with pytest.raises(TooLarge, match=r"larger than|more than"):
        await git.checkout(RepositoryAccess(url=repository.url), target, branch="main")
    assert sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) < 16 << 20


async def test_checkout_of_a_small_pack_with_huge_files_is_refused_before_they_are_written(
    small: Git, repository: Repository, tmp_path: Path
) -> None:
    """Names cost nothing and zeros next to nothing: 20 files of one blob of 8 MiB are 160 MiB on the disk."""
    for number in range(20):
        with (repository.folder / f"zeros{number}").open("wb") as file:
            file.truncate(8 << 20)
    repository.commit("Bomb", {})
    await refused(small, repository, tmp_path / "out")


async def test_checkout_of_trees_within_each_other_is_refused_before_they_are_written(
    small: Git, repository: Repository, tmp_path: Path
) -> None:
    """Ten folders that are each the same ten folders: a kilobyte of pack is ten thousand million files."""
    tree = repository.git("rev-parse", "HEAD^{tree}")
    for _ in range(10):
        lines = "".join(f"040000 tree {tree}\tfolder{number}\n" for number in range(10))
        tree = repository.git("mktree", given=lines)
    repository.git("update-ref", "refs/heads/main", repository.git("commit-tree", "-m", "Bomb", tree))
    await refused(small, repository, tmp_path / "out")


async def test_fetch_of_more_than_is_allowed_is_cut_off(
    small: Git, repository: Repository, tmp_path: Path
) -> None:
    """What cannot be packed smaller is no larger on the disk than the limit, whatever the other side sends."""
    for number in range(150):
        (repository.folder / f"noise{number}").write_bytes(os.urandom(128 << 10))
    repository.commit("Noise", {})
    await refused(small, repository, tmp_path / "out")
