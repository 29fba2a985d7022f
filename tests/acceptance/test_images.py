"""Imported images from end to end: import by the command line, runtimes that see nothing else, removal."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.support.cli import Ran, environment_for, run_process
from tests.support.http import Api
from tests.support.images import files_layer, root_layer, write_layout
from tests.support.server import Server

IMAGES = "/runyard/v1/images"
Runyard = Callable[..., Ran]


@pytest.fixture
def runyard(server: Server, tmp_path: Path) -> Runyard:
    """Return a runner of command lines."""
    environment = environment_for(tmp_path, server.url, server.token)
    return lambda *arguments: run_process(environment, *arguments, timeout=60)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a layout of two layers."""
    folder = tmp_path_factory.mktemp("images") / "tiny"
    return write_layout(folder, root_layer(), files_layer({"etc/mark": "imported\n"}))


@pytest.fixture
def name(api: Api) -> Iterator[str]:
    """Return a name for an image that is gone after the test."""
    made = f"tests/{uuid.uuid4().hex[:8]}:1"
    yield made
    api.delete(f"{IMAGES}/{made.replace('/', '%2F')}")


def test_image_from_import_to_removal(runyard: Runyard, api: Api, layout: Path, name: str) -> None:
    made = runyard("image", "import", str(layout), "--name", name, "--json").expect(0).json()
    assert (made["name"], made["kind"], made["default"]) == (name, "image", False)
    assert made["digest"].startswith("sha256:")
    assert made["size_bytes"] > 100_000
    assert made["created_at"]
    assert name in runyard("image", "list", "--output", "name").expect(0).out.splitlines()
    assert name in [one["id"] for one in api.get("/v2/images").expect(200).json()["data"]]
    runtime = runyard("runtime", "create", "--image", name, "--output", "name").expect(0).out.strip()
    try:
        assert runyard("exec", runtime, "-c", "cat /etc/mark").expect(0).out == "imported\n"
        seen = runyard("exec", runtime, "--", "/bin/ls", "/", "/bin", "/etc").expect(0).out.split()
        assert {"sh", "cat", "mark"} <= set(seen)
        assert not {"python3", "boot", "passwd", "shadow", "usr-merge", "var"} & set(seen)
        runyard("exec", runtime, "--", "/usr/bin/python3", "-V").expect(127)
        runyard("exec", runtime, "-c", "echo kept > /srv.txt").expect(0)
        assert runyard("runtime", "get", runtime, "--json").expect(0).json()["base"] == name
        runyard("image", "remove", name, "--yes").expect(0)
        assert runyard("exec", runtime, "-c", "cat /srv.txt").expect(0).out == "kept\n", "it goes on"
    finally:
        runyard("runtime", "delete", runtime, "--yes").expect(0)
    runyard("image", "remove", name, "--yes").expect(3)
    assert name not in runyard("image", "list", "--output", "name").expect(0).out
    assert runyard("runtime", "create", "--image", name, "--json").expect(2).error()["http_status"] == 422


def test_runta_runtime_is_made_from_an_imported_image(api: Api, layout: Path, name: str) -> None:
    api.post(IMAGES, {"name": name, "path": str(layout)}).expect(201)
    made = api.post("/v2/runtimes", {"image": {"id": name}}).expect(201).json()["data"]
    try:
        assert made["image_id"] == name
        assert api.exec(made["id"], "cat", ["/etc/mark"])["stdout"] == "imported\n"
    finally:
        api.delete(f"/v2/runtimes/{made['id']}")


def test_import_under_a_known_name_serves_new_runtimes_only(
    api: Api, layout: Path, name: str, tmp_path: Path
) -> None:
    api.post(IMAGES, {"name": name, "path": str(layout)}).expect(201)
    older = api.post("/runyard/v1/runtimes", {"base": name}).expect(201).json()["id"]
    second = write_layout(tmp_path / "second", root_layer(), files_layer({"etc/mark": "second\n"}))
    api.post(IMAGES, {"name": name, "path": str(second)}).expect(201)
    newer = api.post("/runyard/v1/runtimes", {"base": name}).expect(201).json()["id"]
    try:
        read = [
            api.post(f"/runyard/v1/runtimes/{one}/exec", {"command": "cat /etc/mark"}).expect(200).json()
            for one in (older, newer)
        ]
        assert [one["stdout"] for one in read] == ["imported\n", "second\n"]
    finally:
        for one in (older, newer):
            api.delete(f"/runyard/v1/runtimes/{one}").expect(204)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "x", "path": "/no/such/folder"}, 422, "bad_image"),
        ({"name": "x", "path": "relative"}, 422, "invalid_argument"),
        ({"name": "x", "path": "/\0"}, 422, "invalid_argument"),
        ({"name": "host", "path": "/tmp"}, 422, "invalid_argument"),
        ({"name": "dir:x", "path": "/tmp"}, 422, "invalid_argument"),
        ({"name": "Ünsafe", "path": "/tmp"}, 422, "invalid_argument"),
        ({"path": "/tmp"}, 422, "invalid_argument"),
    ],
)
def test_import_of_what_is_no_image_is_refused(
    api: Api, body: dict[str, object], status: int, code: str
) -> None:
    answer = api.post(IMAGES, body)
    assert (answer.status, answer.json()["code"]) == (status, code)


def test_import_of_a_changed_blob_is_refused(api: Api, name: str, tmp_path: Path) -> None:
    folder = write_layout(tmp_path / "layout", files_layer({"etc/mark": "x"}))
    for one in (folder / "blobs/sha256").iterdir():
        one.write_bytes(one.read_bytes() + b" ")
    assert api.post(IMAGES, {"name": name, "path": str(folder)}).json()["code"] == "bad_image"


def test_host_base_is_listed_as_default_and_stays(api: Api) -> None:
    host = api.get(IMAGES).expect(200).json()["items"][0]
    assert (host["name"], host["kind"], host["default"], host["digest"]) == ("host", "host", True, None)
    assert api.delete(f"{IMAGES}/host").expect(409).json()["code"] == "base_kept"
    assert api.delete(f"{IMAGES}/no-such").expect(404).json()["code"] == "not_found"


def test_only_admins_import_and_remove(api: Api, layout: Path) -> None:
    made = api.post("/runyard/v1/tokens", {"name": "reader", "scopes": ["runtimes:read", "runtimes:write"]})
    reader = api.clone(made.expect(201).json()["secret"])
    reader.get(IMAGES).expect(200)
    reader.post(IMAGES, {"name": "x", "path": str(layout)}).expect(403)
    reader.delete(f"{IMAGES}/host").expect(403)


def test_default_base_survives_a_restart_and_cannot_be_removed(
    fresh_server: ServerFactory, layout: Path
) -> None:
    server = fresh_server()
    with server.api() as api:
        api.post(IMAGES, {"name": "tiny", "path": str(layout)}).expect(201)
    server.settings = {**server.settings, "RUNYARD_RUNTIMES__DEFAULT_BASE": "tiny"}
    server.restart()
    with server.api() as api:
        listed = {one["name"]: one for one in api.get(IMAGES).expect(200).json()["items"]}
        assert listed["tiny"]["default"]
        assert listed["tiny"]["created_at"]
        assert api.delete(f"{IMAGES}/tiny").expect(409).json()["code"] == "base_kept"
        made = api.post("/runyard/v1/runtimes", {}).expect(201).json()
        done = api.post(f"/runyard/v1/runtimes/{made['id']}/exec", {"command": "cat /etc/mark"}).json()
        assert (made["base"], done["stdout"]) == ("tiny", "imported\n")
        replaced = write_layout(server.folder / "two", root_layer(), files_layer({"etc/mark": "two\n"}))
        api.post(IMAGES, {"name": "tiny", "path": str(replaced)}).expect(201)
        made = api.post("/runyard/v1/runtimes", {}).expect(201).json()
        done = api.post(f"/runyard/v1/runtimes/{made['id']}/exec", {"command": "cat /etc/mark"}).json()
        assert done["stdout"] == "two\n", "the blank sandboxes of the old image were dropped"


def test_process_engine_has_no_images(fresh_server: ServerFactory, layout: Path) -> None:
    server = fresh_server(runtimes__engine="process")
    with server.api() as api:
        assert [one["name"] for one in api.get(IMAGES).expect(200).json()["items"]] == ["host"]
        answer = api.post(IMAGES, {"name": "tiny", "path": str(layout)}).expect(501)
        assert answer.json()["code"] == "unimplemented"
