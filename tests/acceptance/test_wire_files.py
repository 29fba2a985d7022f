"""One file at a time over HTTP: bytes, parents, limits of the path, and every trick to leave the runtime."""

import os
from pathlib import Path

import pytest

from tests.support.http import Api

SENTINEL = "host-only-sentinel"


def test_file_round_trip_is_binary_safe_and_makes_parents(api: Api, runtime: str) -> None:
    content = os.urandom(3_000_000)
    api.write_file(runtime, "/root/a/b/c d é.bin", content).expect(204)
    answer = api.read_file(runtime, "/root/a/b/c d é.bin").expect(200)
    assert answer.body == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(content))


def test_file_write_replaces_and_may_be_empty(api: Api, runtime: str) -> None:
    for content in (b"long content", b"", b"x"):
        api.write_file(runtime, "/root/file", content).expect(204)
        assert api.read_file(runtime, "/root/file").expect(200).body == content


def test_file_path_may_be_relative_to_home(api: Api, runtime: str) -> None:
    api.write_file(runtime, "notes/today", b"here").expect(204)
    assert api.sh(runtime, "cat /root/notes/today") == "here"


def test_file_replaced_while_open_keeps_the_readers_view(api: Api, runtime: str) -> None:
    api.write_file(runtime, "/root/file", b"old").expect(204)
    api.sh(runtime, "exec 3</root/file; (sleep 1; cat <&3 > /root/seen) >/dev/null 2>&1 & true")
    api.write_file(runtime, "/root/file", b"new").expect(204)
    assert api.sh(runtime, "while [ ! -s /root/seen ]; do sleep 0.1; done; cat /root/seen") == "old"


def test_file_owner_is_root_inside(api: Api, runtime: str) -> None:
    api.write_file(runtime, "/root/file", b"x").expect(204)
    assert api.sh(runtime, "stat -c %u:%g /root/file") == "0:0\n"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/root/none", 404),
        ("/none/at/all", 404),
        ("/root", 422),
        ("/", 422),
        ("", 422),
        ("/dev/zero", 422),
        ("/dev/null", 422),
        ("/root/fifo", 422),
        ("/root/socket", 422),
        ("/root/\0x", 422),
        ("/etc/passwd/x", 404),
        ("/root/" + "x" * 300, 422),
        ("/root/loop", 422),
    ],
)
def test_file_read_of_something_else_is_refused(api: Api, shared: str, path: str, status: int) -> None:
    api.sh(
        shared,
        "cd /root; [ -p fifo ] || mkfifo fifo; ln -sfn loop loop;"
        "perl -e 'use IO::Socket::UNIX; IO::Socket::UNIX->new(Local => \"/root/socket\", Listen => 1)' || true",
    )
    answer = api.read_file(shared, path)
    if "socket" in path and answer.status == 404:
        return  # no perl inside, so no socket either
    allowed = {status, 404} if status == 422 and path.startswith("/root/") else {status}
    assert answer.status in allowed, answer.body


def test_file_read_without_path_is_refused(api: Api, shared: str) -> None:
    assert api.get(f"/v1/runtimes/{shared}/files").status == 422
    assert api.put(f"/v1/runtimes/{shared}/files", b"x").status == 422


@pytest.mark.parametrize(
    "path",
    [
        "/root",
        "/",
        "/dev/null",
        "/proc/self/mem",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
        "/root/fifo",
    ],
)
def test_file_write_over_something_else_is_refused(api: Api, runtime: str, path: str) -> None:
    api.sh(runtime, "mkfifo /root/fifo")
    assert 400 <= api.write_file(runtime, path, b"x").status < 500
    assert api.sh(runtime, "echo alive") == "alive\n"


@pytest.fixture
def host_secret(tmp_path: Path) -> Path:
    """Return a file of the host that no runtime may reach."""
    path = tmp_path / "secret"
    path.write_text(SENTINEL)
    path.chmod(0o644)
    return path


@pytest.mark.parametrize(
    "shape",
    [
        "/../../../../../../..{path}",
        "/root/link-file",
        "/root/link-up/..{path}",
        "/root/link-root{path}",
        "/proc/1/root{path}",
        "/proc/self/root{path}",
        "/proc/self/cwd/../..{path}",
        "/root/link-proc{path}",
        "/proc/1/cwd{path}",
        "//{path}",
    ],
)
def test_file_tricks_never_reach_the_host(api: Api, shared: str, host_secret: Path, shape: str) -> None:
    api.sh(
        shared,
        f"cd /root; ln -sfn {host_secret} link-file; ln -sfn ../../../../../.. link-up; ln -sfn / link-root;"
        "ln -sfn /proc/1/root link-proc",
    )
    path = shape.format(path=host_secret)
    answer = api.read_file(shared, path)
    assert SENTINEL.encode() not in answer.body
    assert answer.status in (403, 404, 422), answer.body
    written = api.write_file(shared, path, b"overwritten")
    assert host_secret.read_text() == SENTINEL
    assert written.status in (204, 403, 404, 409, 422), written.body
    shared_parent = str(host_secret.parent)
    api.exec(shared, f"rm -rf {shared_parent}; rm -f /root/link-*")


def test_file_link_inside_is_followed_inside(api: Api, runtime: str) -> None:
    api.write_file(runtime, "/root/target", b"inside").expect(204)
    api.sh(runtime, "ln -s /root/target /root/absolute; ln -s target /root/relative")
    for name in ("absolute", "relative"):
        assert api.read_file(runtime, f"/root/{name}").expect(200).body == b"inside"


def test_file_race_of_a_folder_and_a_link_stays_inside(api: Api, runtime: str, host_secret: Path) -> None:
    folder = host_secret.parent
    api.sh(
        runtime,
        f"mkdir -p /root/real /root/race; ln -sfn {folder} /root/out;"
        "(while :; do mv -T /root/race /root/kept 2>/dev/null; ln -sfn /root/out /root/race 2>/dev/null;"
        "rm -f /root/race; mv -T /root/kept /root/race 2>/dev/null; done) >/dev/null 2>&1 &",
    )
    for _ in range(150):
        assert SENTINEL.encode() not in api.read_file(runtime, "/root/race/secret").body
        api.write_file(runtime, "/root/race/planted", b"x")
    assert sorted(os.listdir(folder)) == ["secret"]


def test_files_of_a_stopped_runtime_are_refused_by_status(api: Api, runtime: str) -> None:
    api.post(f"/v1/runtimes/{runtime}/stop").expect(200)
    answer = api.read_file(runtime, "/etc/hostname")
    assert (answer.status, answer.error[0]) == (409, "failed_precondition")
