"""Images from a registry that the operator allows: fetched once, checked, and never from anywhere else."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.support.environments import create, ready, upload
from tests.support.images import files_layer, root_layer, write_layout

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """A registry that serves one layout, and remembers what it was asked."""

    def __init__(self, layout: Path) -> None:
        """Serve a layout."""
        self.asked: list[str] = []
        self.spoiled = False
        index = json.loads((layout / "index.json").read_text())
        self.digest = index["manifests"][0]["digest"]
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                kind, _, name = self.path.partition("/v2/tests/tiny/")[2].partition("/")
                digest = registry.digest if kind == "manifests" and name == "1" else name
                path = layout / "blobs/sha256" / digest.removeprefix("sha256:")
                if not path.is_file():
                    self.send_error(404)
                    return
                body = path.read_bytes()
                if registry.spoiled and kind == "blobs":
                    body = body[:-1] + b"?"
                self.send_response(200)
                self.send_header("Content-Type", MANIFEST)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def host(self) -> str:
        """Return host and port."""
        return f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Serve a small image."""
    one = Registry(write_layout(tmp_path / "layout", root_layer(), files_layer({"etc/mark": "fetched\n"})))
    yield one
    one.server.shutdown()
    one.server.server_close()


def test_image_is_fetched_once_from_an_allowed_registry_only(
    fresh_server: ServerFactory, registry: Registry, tmp_path: Path
) -> None:
    one = fresh_server(environments__registries=json.dumps([f"http://{registry.host}"]))

    def task(name: str, image: str) -> str:
        compose = f"services:\n  main:\n    image: {image}\n    volumes: ['./carried:/data/carried']\n"
        return upload(api, tmp_path, name, {"docker-compose.yaml": compose, "carried/a/b": "inside\n"})

    with one.api() as api:
        elsewhere = create(api, task("elsewhere", "localhost:1/tests/tiny:1")).state("failed")
        assert "allow its registry" in elsewhere["error"]
        registry.spoiled = True
        fetched = task("fetched", f"{registry.host}/tests/tiny:1")
        assert "does not have its digest" in create(api, fetched).state("failed")["error"]
        registry.spoiled = False
        missing = create(api, task("missing", f"{registry.host}/tests/tiny:2")).state("failed")
        assert "the registry answered 404" in missing["error"]
        boxes = [ready(api, fetched) for _ in range(2)]
        for box in boxes:
            assert box.sh("cat /etc/mark /data/carried/a/b") == "fetched\ninside"
            assert box.execute("/bin/ls /usr/bin/python3").json()["exit_code"] != 0
        asked = len(registry.asked)
        ready(api, fetched)
        assert len(registry.asked) == asked
        names = [item["name"] for item in api.get("/runyard/v1/images").expect(200).json()["items"]]
        assert f"{registry.host}/tests/tiny:1" in names
