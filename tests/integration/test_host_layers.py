"""Writable layers in the btrfs image, for real: limits, checkpoints, restarts, crashes."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runyard.kernel.errors import NotFound, Unavailable
from runyard.runtimes.isolation import btrfs, loopdev, syscalls
from runyard.runtimes.isolation.layers import LayerStore
from runyard.runtimes.isolation.options import IsolationOptions
from tests.support.mounts import leave_host_mounts

MIB = 1 << 20
CRASHER = """
import asyncio, sys
from pathlib import Path
from runyard.runtimes.isolation import hostns
from runyard.runtimes.isolation.layers import LayerStore
from runyard.runtimes.isolation.options import IsolationOptions

async def main():
    store = LayerStore(IsolationOptions(data_dir=Path(sys.argv[1]), disk_pool_bytes=1 << 30))
    await store.start()
    layer = await store.prepare("box", disk_bytes=64 << 20)
    (layer.upper(0) / "before").write_text("kept")
    await store.capture("box", "point")
    await store.prepare("unknown")
    print("ready", flush=True)
    with open(layer.upper(0) / "growing", "wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
            await asyncio.sleep(0)

assert hostns.enter_private_mounts()
asyncio.run(main())
"""


@pytest.fixture(scope="module", autouse=True)
def own_mounts() -> None:
    leave_host_mounts()


def options(folder: Path) -> IsolationOptions:
    return IsolationOptions(data_dir=folder, disk_pool_bytes=1 << 30)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LayerStore]:
    store = LayerStore(options(tmp_path))
    await store.start()
    if not store.bounded:
        await store.stop()
        pytest.skip(store.capability().how)
    yield store
    await store.stop()
    image = tmp_path / "layers/pool.img"
    await released(image)
    assert not os.path.ismount(tmp_path / "layers/pool")


async def released(image: Path) -> None:
    # The kernel lets go of the loop device a moment after the last mount.
    def wait() -> None:
        deadline = time.monotonic() + 10
        while loopdev.is_attached(image) and time.monotonic() < deadline:
            time.sleep(0.01)

    await asyncio.to_thread(wait)
    assert not loopdev.is_attached(image)


def fill(path: Path, size: int) -> int:
    """Write until `size` or an error; return the error's number, 0 without one."""
    try:
        with open(path, "wb", buffering=0) as file:
            file.writelines(os.urandom(MIB) for _ in range(size // MIB))
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno or -1
    return 0


def crash(folder: Path) -> None:
    """Run a server's store in another process and kill it in the middle of a write."""
    with subprocess.Popen([sys.executable, "-c", CRASHER, folder], stdout=subprocess.PIPE) as crasher:
        assert crasher.stdout is not None
        assert crasher.stdout.readline() == b"ready\n"
        crasher.send_signal(signal.SIGKILL)


def overwrite(image: Path, data: bytes) -> bytes:
    """Replace the beginning of a file and return what was there."""
    with open(image, "r+b") as file:
        before = file.read(len(data))
        file.seek(0)
        file.write(data)
    return before


async def test_limit_stops_the_filler_and_nobody_else(store: LayerStore) -> None:
    hog = await store.prepare("hog", disk_bytes=16 * MIB)
    other = await store.prepare("other", disk_bytes=16 * MIB)
    assert await asyncio.to_thread(fill, hog.upper(0) / "big", 64 * MIB) in (errno.EDQUOT, errno.ENOSPC)
    assert await asyncio.to_thread(fill, other.upper(0) / "small", 8 * MIB) == 0
    used = await store.usage("hog")
    assert used is not None
    assert 15 * MIB <= used <= 17 * MIB


async def test_deleting_files_gives_room_back_at_once(store: LayerStore) -> None:
    layer = await store.prepare("box", disk_bytes=16 * MIB)
    for _ in range(3):
        await asyncio.to_thread(fill, layer.upper(0) / "big", 64 * MIB)
        (layer.upper(0) / "big").unlink()
    assert await asyncio.to_thread(fill, layer.upper(0) / "again", 12 * MIB) == 0


async def test_many_small_files_are_bounded_too(store: LayerStore) -> None:
    layer = await store.prepare("box", disk_bytes=4 * MIB)

    def litter() -> int:
        for number in range(200_000):
            try:
                (layer.upper(0) / f"file-{number:06}-{'x' * 200}").touch()
            except OSError as error:
                return error.errno or -1
        return 0

    assert await asyncio.to_thread(litter) in (errno.EDQUOT, errno.ENOSPC)


async def test_raising_the_limit_of_a_full_layer_lets_it_grow(store: LayerStore) -> None:
    layer = await store.prepare("box", disk_bytes=8 * MIB)
    await asyncio.to_thread(fill, layer.upper(0) / "big", 32 * MIB)
    await store.set_limit("box", 32 * MIB)
    assert await asyncio.to_thread(fill, layer.upper(0) / "more", 16 * MIB) == 0


async def test_checkpoint_and_restore_keep_files_and_owners(store: LayerStore) -> None:
    layer = await store.prepare("box")
    (layer.upper(0) / "file").write_text("first")
    os.chown(layer.upper(0) / "file", 0x7000_0000 + 7, 0x7000_0000)
    size = await store.capture("box", "point")
    (layer.upper(0) / "file").write_text("second")
    await store.delete("box")
    restored = await store.prepare("new", restore_from="point")
    assert size > 0
    assert (restored.upper(0) / "file").read_text() == "first"
    assert (restored.upper(0) / "file").stat().st_uid == 0x7000_0000 + 7
    await store.delete_checkpoint("point")
    with pytest.raises(NotFound):
        await store.prepare("newer", restore_from="point")


async def test_a_chain_of_checkpoints_cannot_outgrow_the_limit(store: LayerStore) -> None:
    first = await store.prepare("first", disk_bytes=16 * MIB)
    await asyncio.to_thread(fill, first.upper(0) / "a", 10 * MIB)
    size = await store.capture("first", "point")
    second = await store.prepare("second", disk_bytes=16 * MIB, restore_from="point")
    assert size >= 10 * MIB
    assert (await store.usage("second") or 0) >= 10 * MIB
    assert await asyncio.to_thread(fill, second.upper(0) / "b", 10 * MIB) in (errno.EDQUOT, errno.ENOSPC)


async def test_delete_of_much_data_leaves_the_loop_free(store: LayerStore) -> None:
    layer = await store.prepare("big")
    assert await asyncio.to_thread(fill, layer.upper(0) / "big", 256 * MIB) == 0
    longest, running = 0.0, True

    async def watch() -> None:
        nonlocal longest
        while running:
            begun = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - begun)

    watcher = asyncio.create_task(watch())
    await store.delete("big")
    running = False
    await watcher
    assert longest < 1.0  # generous: the machine may be busy
    assert store.ids() == []


async def test_restart_finds_the_layers_again(store: LayerStore, tmp_path: Path) -> None:
    ((await store.prepare("box")).upper(0) / "file").write_text("kept")
    await store.stop()
    await store.start()
    assert ((await store.prepare("box")).upper(0) / "file").read_text() == "kept"
    assert await store.sweep(["box"], []) == 0


async def test_start_while_a_sandbox_holds_the_image_waits_for_it(store: LayerStore, tmp_path: Path) -> None:
    layer = await store.prepare("box")
    held = os.open(layer.upper(0), os.O_RDONLY)
    await store.stop()
    starting = asyncio.create_task(store.start())
    done, _ = await asyncio.wait({starting}, timeout=0.3)
    assert not done
    os.close(held)
    await asyncio.wait_for(starting, 10)
    assert store.ids() == ["box"]


async def test_killed_server_leaves_usable_layers_and_no_mount(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    await asyncio.to_thread(crash, tmp_path)
    assert not os.path.ismount(tmp_path / "layers/pool")
    store = LayerStore(options(tmp_path))
    await store.start()
    try:
        assert await store.sweep(["box"], ["point"]) == 1
        assert ((await store.prepare("box")).upper(0) / "before").read_text() == "kept"
        assert ((await store.prepare("new", restore_from="point")).upper(0) / "before").read_text() == "kept"
    finally:
        await store.stop()
        await released(tmp_path / "layers/pool.img")


async def test_damaged_image_is_reported_and_never_replaced(store: LayerStore, tmp_path: Path) -> None:
    image = tmp_path / "layers/pool.img"
    await store.prepare("box")
    await store.stop()
    await released(image)
    begin = overwrite(image, bytes(MIB))
    with pytest.raises(Unavailable, match=r"pool\.img cannot be used"):
        await store.start()
    overwrite(image, begin)
    await store.start()
    assert store.ids() == ["box"]


async def test_full_disk_below_the_image_stops_writers_without_breaking_it(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    syscalls.mount("tmpfs", disk, "tmpfs", 0, "size=700m")
    try:
        store = LayerStore(options(disk))
        await store.start()
        layer = await store.prepare("box")
        other = await store.prepare("other")
        (disk / "stranger").write_bytes(bytes(100 * MIB))
        store._backend.guard()
        assert await asyncio.to_thread(fill, layer.upper(0) / "big", 600 * MIB) == errno.EDQUOT
        assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > 100 * MIB
        assert await asyncio.to_thread(fill, other.upper(0) / "more", 600 * MIB) == errno.EDQUOT
        await store.delete("box")
        (disk / "stranger").unlink()

        def recover() -> int:
            deadline = time.monotonic() + 20
            while (error := fill(other.upper(0) / "again", 50 * MIB)) and time.monotonic() < deadline:
                store._backend.guard()
                time.sleep(0.1)
            return error

        assert await asyncio.to_thread(recover) == 0
        await store.stop()
        await released(disk / "layers/pool.img")
    finally:
        syscalls.umount(disk, syscalls.MNT_DETACH)


async def test_quota_groups_of_all_layers_are_listed(store: LayerStore, tmp_path: Path) -> None:
    for number in range(120):
        await store.prepare(f"box{number}")
    root = tmp_path / "layers/pool"
    btrfs.sync(root)
    usage = btrfs.quota_usage(root)
    wanted = {btrfs.subvolume_id(root / "live" / name) for name in store.ids()}
    assert wanted <= usage.keys()


async def test_restart_drops_quota_groups_of_what_is_gone(store: LayerStore, tmp_path: Path) -> None:
    root = tmp_path / "layers/pool"
    layer = await store.prepare("box")
    await asyncio.to_thread(fill, layer.upper(0) / "big", 4 * MIB)
    gone = btrfs.subvolume_id(layer.path)
    await store.capture("box", "point")
    await store.delete("box")
    await store.delete_checkpoint("point")
    deadline = time.monotonic() + 20
    while btrfs.quota_usage(root).get(gone, 0) and time.monotonic() < deadline:
        btrfs.sync(root)
        await asyncio.sleep(0.05)
    await store.stop()
    await released(tmp_path / "layers/pool.img")
    await store.start()
    btrfs.sync(root)
    assert gone not in btrfs.quota_usage(root)


def test_mount_errors_carry_their_number(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mount nosuchfs") as caught:
        syscalls.mount("none", tmp_path, "nosuchfs")
    assert caught.value.errno in (errno.ENODEV, errno.EPERM)
