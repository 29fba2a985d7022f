"""Task packages as a client makes them, and as nobody should. Owns their packing and their way over the wire."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tests.support.http import Answer, Api

CONFIG = "application/vnd.dreadnode.config.v1+json"
LAYER = "application/vnd.dreadnode.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TASK: dict[str, Any] = {
    "name": "demo",
    "version": "0.1.0",
    "instruction": "Find the flag.",
    "verification": {"method": "flag", "path": "/tmp/flag", "value": "FLAG{a}"},
}
"""The least that a task says."""


def digest_of(data: bytes) -> str:
    """Return the digest of bytes as the registry writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def packed(files: Mapping[str, bytes | str], members: Sequence[tarfile.TarInfo] = ()) -> bytes:
    """Pack files, and members without content of any kind, as the client does: no times, no owners."""
    raw = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for member in members:
            archive.addfile(member)
    return raw.getvalue()


def task(files: Mapping[str, bytes | str] | None = None, **fields: Any) -> bytes:
    """Pack a task whose `task.yaml` has some fields changed; None takes a field out."""
    document = {name: value for name, value in {**TASK, **fields}.items() if value is not None}
    return packed({"task.yaml": yaml.safe_dump(document), **(files or {})})


def manifest_of(layer: bytes, **changes: Any) -> bytes:
    """Return the manifest of a layer, some members changed."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_of(b"{}"), "size": 2},
        "layers": [{"mediaType": LAYER, "digest": digest_of(layer), "size": len(layer)}],
        "annotations": {"io.dreadnode.type": "environment"},
        **changes,
    }
    return json.dumps(document).encode()


def upload(
    api: Api, data: bytes, *, org: str = "default", name: str = "demo", digest: str | None = None
) -> Answer:
    """Upload one blob and return the last answer."""
    begun = api.post(f"/api/v1/{org}/{name}/blobs/uploads/")
    if begun.status != 202:
        return begun
    return api.put(f"{begun.headers['location']}?digest={digest or digest_of(data)}", data)


def push(
    api: Api,
    layer: bytes,
    *,
    org: str = "default",
    name: str = "demo",
    version: str = "0.1.0",
    manifest: bytes = b"",
) -> Answer:
    """Push a layer as a version of a task and return the answer to its manifest."""
    for blob in (b"{}", layer):
        upload(api, blob, org=org, name=name).expect(201)
    path = f"/api/v1/{org}/{name}/manifests/{version}"
    return api.put(path, manifest or manifest_of(layer))
