"""Importing OCI image layouts: what good ones become and what hostile ones cannot do."""

import gzip
import hashlib
import io
import json
import os
import platform
import stat
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from runyard.kernel.errors import InvalidArgument, NotFound, TooLarge
from runyard.runtimes.isolation.images import Image, ImageStore
from runyard.runtimes.isolation.options import IsolationOptions
from runyard.runtimes.isolation.unpacking import BadImage, Budget

Entry = tuple[tarfile.TarInfo, bytes]
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **attributes: object) -> Entry:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.uid, info.gid = os.getuid(), os.getgid()
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def folder(name: str, **attributes: object) -> Entry:
    return entry(name, b"", tarfile.DIRTYPE, **attributes)


def link(name: str, target: str) -> Entry:
    return entry(name, b"", tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> Entry:
    return entry(name, b"", tarfile.LNKTYPE, linkname=target)


def tar(entries: Sequence[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Layout:
    """Writes an OCI image layout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        self.layers: list[dict[str, object]] = []

    def blob(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (self.path / "blobs/sha256" / digest).write_bytes(data)
        return f"sha256:{digest}"

    def layer(
        self, *entries: Entry, kind: str = GZIP, pack: Callable[[bytes], bytes] = gzip.compress
    ) -> None:
        data = pack(tar(entries))
        self.layers.append({"mediaType": kind, "digest": self.blob(data), "size": len(data)})

    def manifest(self, config: dict[str, object] | None = None) -> str:
        config_digest = self.blob(json.dumps({"config": config or {}}).encode())
        manifest = {"schemaVersion": 2, "config": {"digest": config_digest}, "layers": self.layers}
        return self.blob(json.dumps(manifest).encode())

    def finish(self, config: dict[str, object] | None = None) -> Path:
        return self.index([{"digest": self.manifest(config)}])

    def index(self, manifests: list[dict[str, object]]) -> Path:
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
        return self.path


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
async def store(tmp_path: Path) -> ImageStore:
    store = ImageStore(
        IsolationOptions(data_dir=tmp_path / "data"), lambda: Budget(bytes=64 << 20, entries=500)
    )
    await store.start()
    return store


async def test_import_notes_when_it_was_and_how_large(
    store: ImageStore, layout: Layout, tmp_path: Path
) -> None:
    layout.layer(entry("a", b"x" * 1000))
    layout.layer(entry("b", b"y" * 24))
    image = await store.import_layout(layout.finish(), "tools:1")
    assert image.size_bytes == 1024
    assert image.created_at is not None
    again = ImageStore(IsolationOptions(data_dir=tmp_path / "data"))
    await again.start()
    assert again.all() == [image]
    await again.stop()


async def test_image_of_an_older_server_is_read_without_time_and_size(
    store: ImageStore, layout: Layout, tmp_path: Path
) -> None:
    layout.layer(entry("a"))
    image = await store.import_layout(layout.finish(), "tools:1")
    facts = {"digest": image.digest, "env": {}, "workdir": "", "user": ""}
    (image.root.parent / "image.json").write_text(json.dumps(facts))
    again = ImageStore(IsolationOptions(data_dir=tmp_path / "data"))
    await again.start()
    assert (again.get("tools:1").created_at, again.get("tools:1").size_bytes) == (None, None)
    await again.stop()


async def load(store: ImageStore, layout: Layout) -> Image:
    return await store.import_layout(layout.finish(), "tools:1")


async def test_import_unpacks_layers_in_order_with_their_config(store: ImageStore, layout: Layout) -> None:
    layout.layer(folder("bin"), entry("bin/tool", b"old", mode=0o4755), entry("keep", b"kept"))
    layout.layer(
        entry("./bin/tool", b"new", mode=0o4755), link("tool", "bin/tool"), hard_link("twin", "bin/tool")
    )
    config: dict[str, object] = {"Env": ["PATH=/bin", "EMPTY=", "odd"], "WorkingDir": "/srv", "User": "app"}
    image = await store.import_layout(layout.finish(config), "tools:1")
    assert (image.root / "bin/tool").read_bytes() == b"new"
    assert stat.S_IMODE((image.root / "bin/tool").stat().st_mode) == 0o4755
    assert (image.root / "twin").stat().st_ino == (image.root / "bin/tool").stat().st_ino
    assert os.readlink(image.root / "tool") == "bin/tool"
    assert (image.root / "keep").read_bytes() == b"kept"
    assert (image.env, image.workdir, image.user) == ({"PATH": "/bin", "EMPTY": ""}, "/srv", "app")
    assert stat.S_IMODE(image.root.parents[1].stat().st_mode) == 0o700


async def test_import_applies_whiteouts_to_lower_layers_only(store: ImageStore, layout: Layout) -> None:
    layout.layer(entry("a"), folder("d"), entry("d/old"), folder("e"), entry("e/x"))
    layout.layer(
        entry("d/new"), entry("d/.wh..wh..opq"), entry(".wh.a"), entry("e/.wh.x"), entry("e/x", b"again")
    )
    root = (await load(store, layout)).root
    assert sorted(path.name for path in root.iterdir()) == ["d", "e"]
    assert [path.name for path in (root / "d").iterdir()] == ["new"]
    assert (root / "e/x").read_bytes() == b"again"


async def test_import_replaces_files_by_folders_and_back(store: ImageStore, layout: Layout) -> None:
    layout.layer(entry("x"), folder("y"), entry("y/in"), link("z", "y"))
    layout.layer(folder("x"), entry("x/in"), entry("y", b"file"), folder("z"))
    root = (await load(store, layout)).root
    assert (root / "x/in").is_file()
    assert (root / "y").read_bytes() == b"file"
    assert (root / "z").is_dir()
    assert not (root / "z").is_symlink()


async def test_import_follows_links_of_folders_inside_the_image(store: ImageStore, layout: Layout) -> None:
    layout.layer(folder("usr"), folder("usr/lib"), link("lib", "/usr/lib"), entry("lib/a", b"in"))
    assert ((await load(store, layout)).root / "usr/lib/a").read_bytes() == b"in"


async def test_absolute_paths_stay_inside(store: ImageStore, layout: Layout, tmp_path: Path) -> None:
    layout.layer(entry(f"{tmp_path}/escaped", b"x"))
    root = (await load(store, layout)).root
    assert not (tmp_path / "escaped").exists()
    assert (root / str(tmp_path).lstrip("/") / "escaped").is_file()


@pytest.mark.parametrize("target", ["{outside}", "../../../../../../../../../..{outside}"])
async def test_links_out_of_the_image_lead_nowhere(
    store: ImageStore, layout: Layout, tmp_path: Path, target: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    layout.layer(link("way", target.format(outside=outside)), entry("way/planted", b"x"))
    with pytest.raises(BadImage, match="dangling link"):
        await load(store, layout)
    assert [path.name for path in outside.iterdir()] == ["secret"]


async def test_hard_links_out_of_the_image_are_refused(
    store: ImageStore, layout: Layout, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    layout.layer(link("way", str(tmp_path)), hard_link("stolen", "way/secret"))
    with pytest.raises(BadImage, match="not in it"):
        await load(store, layout)
    assert (tmp_path / "secret").stat().st_nlink == 1


async def test_writing_over_a_link_replaces_it(store: ImageStore, layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("safe")
    layout.layer(link("a", str(tmp_path / "victim")))
    layout.layer(entry("a", b"written"))
    assert ((await load(store, layout)).root / "a").read_bytes() == b"written"
    assert (tmp_path / "victim").read_text() == "safe"


async def test_whiteouts_through_links_remove_nothing_outside(
    store: ImageStore, layout: Layout, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_text("safe")
    layout.layer(link("way", str(tmp_path)))
    layout.layer(entry("way/.wh.victim"), entry("way/.wh..wh..opq"))
    await load(store, layout)
    assert (tmp_path / "victim").exists()


async def test_devices_are_left_out_and_attributes_dropped(store: ImageStore, layout: Layout) -> None:
    layout.layer(
        entry("disk", kind=tarfile.BLKTYPE, devmajor=8),
        entry("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("pipe", kind=tarfile.FIFOTYPE),
        entry("f", pax_headers={"SCHILY.xattr.user.a": "1", "SCHILY.xattr.trusted.overlay.opaque": "y"}),
    )
    root = (await load(store, layout)).root
    assert sorted(path.name for path in root.iterdir()) == ["f", "pipe"]
    assert os.listxattr(root / "f") == []


@pytest.mark.parametrize(
    "bad",
    [
        entry("../up"),
        entry("a/../../up"),
        entry("/".join("d" * 400)),
        entry("x" * 300),
        entry("nul\0name"),
        entry(".wh."),
        entry(".wh..."),
        entry("owner", uid=70_000),
        entry("owner", gid=70_000),
        hard_link("a", "../../etc/passwd"),
        hard_link("a", "nowhere"),
        hard_link("a", "."),
    ],
)
async def test_bad_entries_are_refused_and_leave_nothing(
    store: ImageStore, layout: Layout, tmp_path: Path, bad: Entry
) -> None:
    layout.layer(entry("good"), bad)
    if "\0" in bad[0].name:
        await load(store, layout)  # tar ends a name at the zero
        return
    with pytest.raises(BadImage):
        await load(store, layout)
    assert list((tmp_path / "data/images").iterdir()) == []
    assert store.names() == []


async def test_file_used_as_a_folder_is_refused(store: ImageStore, layout: Layout) -> None:
    layout.layer(entry("file"), entry("file/inner"))
    with pytest.raises(BadImage, match="needs a folder"):
        await load(store, layout)


async def test_too_many_entries_or_bytes_are_refused(store: ImageStore, layout: Layout) -> None:
    layout.layer(*(entry(f"file{number}") for number in range(501)))
    with pytest.raises(TooLarge):
        await load(store, layout)


async def test_packed_bomb_is_refused_before_anything_is_written(store: ImageStore, layout: Layout) -> None:
    layout.layer(entry("zeros", bytes(65 << 20)))
    with pytest.raises(TooLarge):
        await load(store, layout)


async def test_oversized_headers_are_refused(store: ImageStore, layout: Layout) -> None:
    layout.layer(entry("a", pax_headers={"comment": "x" * (9 << 20)}))
    with pytest.raises(BadImage, match="headers"):
        await load(store, layout)


async def test_changed_blob_is_refused(store: ImageStore, layout: Layout) -> None:
    layout.layer(entry("a", b"one"))
    path = layout.finish()
    blob = path / "blobs/sha256" / str(layout.layers[0]["digest"]).removeprefix("sha256:")
    blob.write_bytes(gzip.compress(tar([entry("a", b"two")])))
    with pytest.raises(BadImage, match="does not have that digest"):
        await store.import_layout(path, "tools:1")
    blob.write_bytes(b"garbage")
    with pytest.raises(BadImage):
        await store.import_layout(path, "tools:1")


@pytest.mark.parametrize("digest", ["sha256:../../secret", "md5:abc", "sha256:" + "0" * 64])
async def test_digests_that_name_no_blob_are_refused(store: ImageStore, layout: Layout, digest: str) -> None:
    with pytest.raises(BadImage):
        await store.import_layout(layout.index([{"digest": digest}]), "tools:1")


async def test_blob_that_is_a_link_is_refused(store: ImageStore, layout: Layout, tmp_path: Path) -> None:
    layout.layer(entry("a"))
    path = layout.finish()
    blob = path / "blobs/sha256" / str(layout.layers[0]["digest"]).removeprefix("sha256:")
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadImage, match="lacks"):
        await store.import_layout(path, "tools:1")


@pytest.mark.parametrize("text", ["[]", "{}", "not json", '{"manifests": [3]}', "[" * 100_000])
async def test_broken_index_is_refused(store: ImageStore, layout: Layout, text: str) -> None:
    (layout.path / "index.json").write_text(text)
    with pytest.raises(BadImage):
        await store.import_layout(layout.path, "tools:1")


async def test_layer_packed_with_zstd_names_the_way_out(store: ImageStore, layout: Layout) -> None:
    layout.layer(entry("a"), kind="application/vnd.oci.image.layer.v1.tar+zstd")
    with pytest.raises(BadImage, match="convert it to gzip"):
        await load(store, layout)


async def test_plain_layer_is_accepted(store: ImageStore, layout: Layout) -> None:
    layout.layer(entry("a", b"x"), kind="application/vnd.oci.image.layer.v1.tar", pack=bytes)
    assert ((await load(store, layout)).root / "a").read_bytes() == b"x"


async def test_nested_index_chooses_this_machine(store: ImageStore, layout: Layout) -> None:
    layout.layer(entry("other"))
    other = layout.manifest()
    layout.layers.clear()
    layout.layer(entry("mine"))
    manifests: list[dict[str, object]] = [
        {"digest": other, "platform": {"os": "linux", "architecture": "s390x"}},
        {"digest": layout.manifest(), "platform": {"os": "linux", "architecture": MACHINE}},
    ]
    path = layout.index([{"digest": layout.blob(json.dumps({"manifests": manifests}).encode())}])
    assert ((await store.import_layout(path, "tools:1")).root / "mine").exists()
    with pytest.raises(BadImage, match="not made for"):
        await store.import_layout(layout.index(manifests[:1]), "tools:2")


@pytest.mark.parametrize("name", ["", "host", "dir:x", "../up", "UPPER", "a b", "x" * 300])
async def test_bad_names_are_refused(store: ImageStore, layout: Layout, name: str) -> None:
    layout.layer(entry("a"))
    with pytest.raises(InvalidArgument):
        await store.import_layout(layout.finish(), name)


async def test_images_survive_a_restart_and_replaced_ones_are_cleared(
    store: ImageStore, layout: Layout, tmp_path: Path
) -> None:
    layout.layer(entry("a"))
    first = await store.import_layout(layout.finish(), "registry.example/tools:1")
    await store.import_layout(layout.path, "registry.example/tools:1")
    await store.import_layout(layout.path, "gone")
    await store.remove("gone")
    await store.remove("gone")
    again = ImageStore(IsolationOptions(data_dir=tmp_path / "data"))
    await again.start()
    assert again.names() == ["registry.example/tools:1"]
    assert again.get("registry.example/tools:1").digest == first.digest
    assert len(list((tmp_path / "data/images").iterdir())) == 1
    with pytest.raises(NotFound):
        again.get("gone")
