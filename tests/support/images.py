"""Small OCI image layouts made of the host's own programs. Owns the packing; asserts nothing."""

import gzip
import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

PROGRAMS = ("/bin/dash", "/bin/cat", "/bin/ls")
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def loaded_by(program: str) -> list[str]:
    """Return the libraries and the loader of a program."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]


def root_layer(programs: Sequence[str] = PROGRAMS) -> bytes:
    """Pack programs with what they load, and `/bin/sh`, as an archive."""
    paths = dict.fromkeys(path for program in programs for path in (program, *loaded_by(program)))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in paths:
            archive.addfile(_file(path, 0o755, os.path.getsize(path)), io.BytesIO(Path(path).read_bytes()))
        shell = tarfile.TarInfo("bin/sh")
        shell.type, shell.linkname = tarfile.SYMTYPE, "dash"
        archive.addfile(shell)
    return buffer.getvalue()


def files_layer(files: Mapping[str, str]) -> bytes:
    """Pack texts as files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, text in files.items():
            archive.addfile(_file(path, 0o644, len(text.encode())), io.BytesIO(text.encode()))
    return buffer.getvalue()


def _file(path: str, mode: int, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path.lstrip("/"))
    info.mode, info.size = mode, size
    return info


def write_layout(folder: Path, *layers: bytes) -> Path:
    """Write an OCI image layout of these archives and return its folder."""
    (folder / "blobs/sha256").mkdir(parents=True)

    def blob(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (folder / "blobs/sha256" / digest).write_bytes(data)
        return f"sha256:{digest}"

    described = []
    for layer in layers:
        packed = gzip.compress(layer, 1)
        described.append({"mediaType": LAYER, "digest": blob(packed), "size": len(packed)})
    config = blob(json.dumps({"architecture": MACHINE, "os": "linux", "config": {}}).encode())
    manifest = {"schemaVersion": 2, "config": {"digest": config}, "layers": described}
    entry = {
        "digest": blob(json.dumps(manifest).encode()),
        "platform": {"os": "linux", "architecture": MACHINE},
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder
