"""Writable layers in plain directories."""

import os
from pathlib import Path

import pytest

from runyard.kernel.errors import InvalidArgument, NotFound, Unavailable
from runyard.runtimes.isolation.engine import CannotEnforce
from runyard.runtimes.isolation.layers import LayerStore
from runyard.runtimes.isolation.options import IsolationOptions


def options(folder: Path) -> IsolationOptions:
    return IsolationOptions(data_dir=folder, disk_pool_bytes=0, uid_base=os.getuid())


@pytest.fixture
async def store(tmp_path: Path) -> LayerStore:
    store = LayerStore(options(tmp_path))
    await store.start()
    return store


async def test_prepare_makes_an_upper_and_a_work_folder_per_overlay(store: LayerStore) -> None:
    layer = await store.prepare("box")
    assert sorted(path.name for path in layer.path.iterdir()) == ["upper0", "upper1", "work0", "work1"]
    assert layer.upper(1).stat().st_mode & 0o777 == 0o755
    assert store.ids() == ["box"]
    await store.stop()


async def test_prepare_again_returns_the_kept_files(store: LayerStore) -> None:
    ((await store.prepare("box")).upper(0) / "file").write_text("kept")
    assert ((await store.prepare("box")).upper(0) / "file").read_text() == "kept"
    await store.stop()


async def test_prepare_with_a_limit_is_refused_and_says_why(store: LayerStore) -> None:
    assert not store.bounded
    with pytest.raises(CannotEnforce, match="switched off"):
        await store.prepare("box", disk_bytes=1 << 20)
    with pytest.raises(CannotEnforce):
        await store.set_limit("box", 1 << 20)
    capability = store.capability()
    assert not capability.enforced
    assert capability.fix
    await store.stop()


async def test_capture_keeps_modes_links_holes_and_names(store: LayerStore) -> None:
    upper = (await store.prepare("box")).upper(0)
    (upper / "tool").write_text("#!")
    (upper / "tool").chmod(0o4711)
    os.link(upper / "tool", upper / "twin")
    (upper / "link").symlink_to("/nowhere")
    os.mkfifo(upper / "pipe")
    (upper / "line\nbreak \udcff").write_text("odd")
    (upper / "sparse").touch()
    os.truncate(upper / "sparse", 64 << 20)
    assert await store.capture("box", "point") < 1 << 20
    (upper / "tool").write_text("changed")
    restored = (await store.prepare("other", restore_from="point")).upper(0)
    assert (restored / "tool").read_text() == "#!"
    assert (restored / "tool").stat().st_mode & 0o7777 == 0o4711
    assert (restored / "tool").stat().st_ino == (restored / "twin").stat().st_ino
    assert os.readlink(restored / "link") == "/nowhere"
    assert (restored / "pipe").is_fifo()
    assert (restored / "line\nbreak \udcff").read_text() == "odd"
    assert (restored / "sparse").stat().st_size == 64 << 20
    assert (restored / "sparse").stat().st_blocks < 1000
    await store.stop()


async def test_capture_replaces_a_checkpoint_of_the_same_id(store: LayerStore) -> None:
    upper = (await store.prepare("box")).upper(0)
    await store.capture("box", "point")
    (upper / "late").touch()
    await store.capture("box", "point")
    assert ((await store.prepare("other", restore_from="point")).upper(0) / "late").exists()
    await store.stop()


async def test_unknown_layers_and_checkpoints_are_not_found(store: LayerStore) -> None:
    with pytest.raises(NotFound):
        await store.capture("nobody", "point")
    with pytest.raises(NotFound):
        await store.prepare("box", restore_from="nothing")
    assert store.ids() == []
    assert await store.usage("nobody") is None
    await store.delete("nobody")
    await store.delete_checkpoint("nothing")
    await store.stop()


@pytest.mark.parametrize("name", ["", "..", ".part-x", "a/b", "x\0y", "y" * 300])
async def test_ids_that_are_no_plain_names_are_refused(store: LayerStore, name: str) -> None:
    with pytest.raises(InvalidArgument):
        await store.prepare(name)
    await store.stop()


async def test_rename_moves_a_layer(store: LayerStore) -> None:
    await store.prepare("blank")
    layer = await store.rename("blank", "box")
    assert layer.upper(0).is_dir()
    assert store.ids() == ["box"]
    await store.stop()


async def test_sweep_deletes_what_nobody_knows(store: LayerStore) -> None:
    for name in ("known", "unknown"):
        await store.prepare(name)
        await store.capture(name, f"{name}-point")
    assert await store.sweep(["known"], ["known-point"]) == 2
    assert store.ids() == ["known"]
    with pytest.raises(NotFound):
        await store.prepare("box", restore_from="unknown-point")
    await store.stop()


async def test_start_clears_half_made_copies_and_keeps_layers(tmp_path: Path, store: LayerStore) -> None:
    await store.prepare("box")
    (tmp_path / "layers/checkpoints/.part-point").mkdir()
    await store.stop()
    await store.start()
    assert store.ids() == ["box"]
    assert list((tmp_path / "layers/checkpoints").iterdir()) == []
    await store.stop()


async def test_start_beside_a_living_server_is_refused(tmp_path: Path, store: LayerStore) -> None:
    with pytest.raises(Unavailable, match="Another server"):
        await LayerStore(options(tmp_path)).start()
    await store.stop()
    second = LayerStore(options(tmp_path))
    await second.start()
    await second.stop()
