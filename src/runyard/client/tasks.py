"""Task packages over the registry's API. Owns its paths, and the package as bytes."""

import gzip
import hashlib
import io
import json
import secrets
import tarfile
from pathlib import Path
from typing import Any

import msgspec

from runyard.client.http import Request, Transport

_LEFT_OUT = frozenset({".git", "__pycache__", ".DS_Store", "dist", ".venv", "node_modules"})
_TYPE = "application/vnd.dreadnode."
UPLOAD_SECONDS = 600.0


class PushedTask(msgspec.Struct):
    """A task that was pushed."""

    name: str
    version: str
    ref: str
    digest: str
    """Of the packed files."""


class Tasks:
    """Task packages."""

    def __init__(self, transport: Transport) -> None:
        """Use this transport."""
        self._transport = transport

    def push(self, folder: Path, manifest: dict[str, Any]) -> PushedTask:
        """Push the package in a folder whose manifest was read already."""
        name, version = str(manifest["name"]), str(manifest["version"])
        organizations = json.loads(
            self._transport.send(Request("GET", "/api/v1/user/organizations", repeatable=True))
        )
        org = str(organizations[0]["key"])
        config, layer = json.dumps(manifest, sort_keys=True).encode(), packed(folder)
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self._upload(org, name, f"{_TYPE}config.v1+json", config),
            "layers": [self._upload(org, name, f"{_TYPE}layer.v1.tar+gzip", layer)],
            "annotations": {
                "io.dreadnode.type": "environment",
                "io.dreadnode.name": name,
                "io.dreadnode.version": version,
            },
        }
        path = f"/api/v1/{org}/{name}/manifests/{version}"
        self._transport.send(Request("PUT", path, json=document, timeout=UPLOAD_SECONDS))
        digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
        return PushedTask(name, version, f"{org}/{name}@{version}", digest)

    def _upload(self, org: str, name: str, kind: str, data: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        path = f"/api/v1/{org}/{name}/blobs/uploads/{secrets.token_hex(16)}"
        self._transport.send(
            Request(
                "PUT",
                path,
                query={"digest": digest},
                content=data,
                headers={"Content-Type": "application/octet-stream"},
                timeout=UPLOAD_SECONDS,
            )
        )
        return {"mediaType": kind, "digest": digest, "size": len(data)}


def packed(folder: Path) -> bytes:
    """Return the files of a package as a tar, the same bytes for the same files."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w") as archive,
    ):
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_symlink() or not path.is_file() or _LEFT_OUT & set(inside.parts):
                continue
            entry = tarfile.TarInfo(str(inside))
            entry.size, entry.mode = path.stat().st_size, path.stat().st_mode & 0o777
            with path.open("rb") as content:
                archive.addfile(entry, content)
    return buffer.getvalue()
