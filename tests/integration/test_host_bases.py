"""Bases of this host, for real: an overlay over each shows the right files under the right owners."""

import asyncio
import os
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runyard.kernel.errors import NotFound
from runyard.runtimes.isolation import hostns, skeleton, syscalls
from runyard.runtimes.isolation.bases import Base, BaseStore
from runyard.runtimes.isolation.images import ImageStore
from runyard.runtimes.isolation.options import DEFAULT_UID_BASE, IsolationOptions
from runyard.runtimes.isolation.program import find_agent
from runyard.runtimes.isolation.scan import Scan
from tests.support.mounts import leave_host_mounts
from tests.unit.test_images import Layout, entry

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module", autouse=True)
def own_mounts() -> None:
    leave_host_mounts()


@pytest.fixture
def options(tmp_path: Path) -> IsolationOptions:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/tool").write_text("tool")
    os.chown(tree / "bin/tool", 1000, 1000)
    return IsolationOptions(
        data_dir=tmp_path / "data", directory_bases={"tree": tree}, nameservers=("192.0.2.53",)
    )


@pytest.fixture
async def store(options: IsolationOptions) -> AsyncIterator[BaseStore]:
    options.data_dir.mkdir()
    images = ImageStore(options)
    await images.start()
    store = BaseStore(options, images)
    await store.start()
    yield store
    await store.stop()
    await images.stop()
    assert str(options.data_dir) not in Path("/proc/self/mounts").read_text()


@contextmanager
def mounted(base: Base, folder: Path) -> Iterator[Path]:
    """Mount a base's overlays as a sandbox does, with an empty writable layer."""
    root = folder / "merged"
    root.mkdir()
    done = []
    try:
        for number, overlay in enumerate(base.overlays):
            upper, work = folder / f"upper{number}", folder / f"work{number}"
            for path in (upper, work):
                path.mkdir()
                os.chown(path, DEFAULT_UID_BASE, DEFAULT_UID_BASE)
            lowers = ":".join(str(lower) for lower in overlay.lowers)
            target = Path(f"{root}{overlay.target}")
            syscalls.mount(
                "overlay", target, "overlay", 0, f"lowerdir={lowers},upperdir={upper},workdir={work}"
            )
            done.append(target)
        yield root
    finally:
        for target in reversed(done):
            syscalls.umount(target, syscalls.MNT_DETACH)


def inside(root: Path, script: str) -> str:
    """Run a shell as root of a sandbox's user namespace in a mounted base; return what it prints."""
    fd = hostns.open_id_map(DEFAULT_UID_BASE)
    # The new root is entered by the host's root: the folders above it are closed to everybody else.
    enter = [
        "nsenter",
        f"--user=/proc/self/fd/{fd}",
        "--setuid",
        "0",
        "--setgid",
        "0",
        f"--root={root}",
        f"--wd={root}",
    ]
    clean = ["/usr/bin/env", "-i", "HOME=/root", "TERM=dumb", "/bin/bash", "-lc", script]
    try:
        done = subprocess.run(
            enter + clean, pass_fds=[fd], capture_output=True, text=True, check=False, cwd="/"
        )
    finally:
        os.close(fd)
    return done.stdout + done.stderr


async def test_host_base_has_the_tools_and_the_identity_of_a_fresh_system(
    store: BaseStore, tmp_path: Path
) -> None:
    base = await store.prepare("host")
    assert base.default_workdir == "/root"
    with mounted(base, tmp_path) as root:
        script = """
            cd; pwd; echo "$PATH"; id; getent passwd root; ls -A /usr/local/bin /usr/src
            for tool in bash tar awk mkfifo setsid timeout stdbuf ls; do command -v $tool >/dev/null || echo missing $tool; done
            /bin/kill -l >/dev/null && cat /etc/resolv.conf && touch /usr/bin/new && stat -c %u /usr/bin/new /bin/sh
            ls /etc/machine-id /etc/ssh /etc/ssl/private /etc/apt/auth.conf 2>/dev/null
        """
        lines = (await asyncio.to_thread(inside, root, script)).splitlines()
    assert lines == [
        "/root",
        skeleton.PATH,
        "uid=0(root) gid=0(root) groups=0(root)",
        "root:x:0:0:root:/root:/bin/bash",
        "/usr/local/bin:",
        "",
        "/usr/src:",
        "nameserver 192.0.2.53",
        "0",
        "0",
    ]


async def test_host_base_hides_what_nobody_could_not_read(
    store: BaseStore, options: IsolationOptions, tmp_path: Path
) -> None:
    def unreadable(root: Path, *skip: str) -> list[Path]:
        with Scan(find_agent(options), root, skip) as scan:
            return scan.unreadable()

    base = await store.prepare("host")
    with mounted(base, tmp_path) as root:
        assert unreadable(root / "usr") == []
        assert not (root / "usr/local/bin/anything").exists()
        for path in unreadable(Path("/usr"), "local", "src"):
            assert not (root / "usr" / path).exists()
        usr = (root / "usr").stat()
        assert (usr.st_uid, stat.S_IMODE(usr.st_mode)) == (DEFAULT_UID_BASE, 0o755)


async def test_host_files_cannot_be_changed_from_a_sandbox(store: BaseStore, tmp_path: Path) -> None:
    before = Path("/usr/bin/env").stat()
    base = await store.prepare("host")
    with mounted(base, tmp_path) as root:
        assert (
            await asyncio.to_thread(inside, root, "echo >> /usr/bin/env; chmod 777 /usr/bin/env; rm /bin/ls")
            == ""
        )
    after = Path("/usr/bin/env").stat()
    assert (before.st_size, before.st_mode, before.st_mtime) == (after.st_size, after.st_mode, after.st_mtime)
    assert Path("/bin/ls").exists()


async def test_directory_base_shows_the_tree_under_mapped_owners(store: BaseStore, tmp_path: Path) -> None:
    base = await store.prepare("dir:tree")
    with mounted(base, tmp_path) as root:
        assert (root / "bin/tool").read_text() == "tool"
        assert (root / "bin/tool").stat().st_uid == DEFAULT_UID_BASE + 1000
        assert (root / "etc/resolv.conf").read_text() == "nameserver 192.0.2.53\n"
        assert (root / "proc").is_dir()


async def test_image_base_takes_environment_and_folder_of_the_image(
    options: IsolationOptions, tmp_path: Path
) -> None:
    options.data_dir.mkdir()
    images = ImageStore(options)
    await images.start()
    layout = Layout(tmp_path / "layout")
    layout.layer(entry("hello", b"hi"))
    await images.import_layout(layout.finish({"Env": ["LANG=C"], "WorkingDir": "/srv"}), "hello:1")
    store = BaseStore(options, images)
    await store.start()
    try:
        assert [base.name for base in store.facts()] == ["host", "dir:tree", "hello:1"]
        base = await store.prepare("hello:1")
        assert base.default_env == {"PATH": skeleton.PATH, "LANG": "C"}
        assert base.default_workdir == "/srv"
        with mounted(base, tmp_path) as root:
            assert (root / "hello").stat().st_uid == DEFAULT_UID_BASE
    finally:
        await store.stop()
        await images.stop()


async def test_prepare_is_done_once_for_many_callers(store: BaseStore) -> None:
    one, two = await asyncio.gather(store.prepare("dir:tree"), store.prepare("dir:tree"))
    assert one is two
    store.forget("dir:tree")
    assert await store.prepare("dir:tree") is not one


async def test_unknown_base_is_not_found_and_may_come_later(store: BaseStore) -> None:
    for name in ("dir:nothing", "nothing:1"):
        with pytest.raises(NotFound):
            await store.prepare(name)


async def test_restart_clears_what_a_killed_server_built(options: IsolationOptions, store: BaseStore) -> None:
    await store.prepare("dir:tree")
    # A server without a mount namespace of its own dies and leaves its mounts.
    images = ImageStore(options)
    await images.start()
    second = BaseStore(options, images)
    await second.start()
    assert str(options.data_dir) not in Path("/proc/self/mounts").read_text()
    assert (options.directory_bases["tree"] / "bin/tool").exists()
    await second.stop()
