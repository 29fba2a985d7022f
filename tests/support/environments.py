"""Tasks for tests of environments, and the plain HTTP calls on them. Owns how a package is written and pushed."""

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.dn import Dn
from tests.support.http import Answer, Api

BASE = "/api/v1/org/default/ws/default/environments"
FLAG = """verification:
  method: flag
  path: /tmp/result.txt
  value: "FLAG{a}"
"""
WAIT_SECONDS = 60.0


def write_task(folder: Path, name: str, files: Mapping[str, str], version: str = "0.1.0") -> Path:
    """Write a package; its `task.yaml` gets what every one needs and the given does not say."""
    home = folder / name
    given = files.get("task.yaml", "")
    lines = [f"name: {name}", f"version: {version}"]
    lines += [] if "instruction:" in given else ["instruction: Solve it."]
    lines += [] if "verification:" in given else [FLAG]
    for path, content in {**files, "task.yaml": "\n".join([*lines, given])}.items():
        target = home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        if content.startswith("#!"):
            target.chmod(0o755)
    return home


def push(dn: Dn, name: str, files: Mapping[str, str] | None = None, version: str = "0.1.0") -> str:
    """Write a package and push it by the real command, which takes seconds; return its name."""
    write_task(dn.home, name, files or {}, version)
    dn("task", "push", name).ok()
    return name


def upload(api: Api, folder: Path, name: str, files: Mapping[str, str] | None = None) -> str:
    """Write a package and push it with the calls that the command makes; return its name."""
    home = write_task(folder, name, files or {})
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path in sorted(home.rglob("*")):
            if path.is_file():
                archive.add(path, str(path.relative_to(home)))
    config = json.dumps(yaml.safe_load((home / "task.yaml").read_text()), sort_keys=True).encode()
    kinds = ("config.v1+json", "layer.v1.tar+gzip")
    blobs = [
        _upload(api, name, kind, data) for kind, data in zip(kinds, (config, packed.getvalue()), strict=True)
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blobs[0],
        "layers": blobs[1:],
        "annotations": {
            "io.dreadnode.type": "environment",
            "io.dreadnode.name": name,
            "io.dreadnode.version": "0.1.0",
        },
    }
    done = api.put(f"/api/v1/default/{name}/manifests/0.1.0", manifest)
    assert done.status < 300, done
    return name


def _upload(api: Api, name: str, kind: str, data: bytes) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    begun = api.post(f"/api/v1/default/{name}/blobs/uploads/")
    assert begun.status == 202, begun
    place = begun.headers["location"]
    place = place[place.index("/", 8) :] if place.startswith("http") else place
    mark = "&" if "?" in place else "?"
    done = api.put(f"{place}{mark}digest={digest}", data)
    assert done.status == 201, done
    return {"mediaType": f"application/vnd.dreadnode.{kind}", "digest": digest, "size": len(data)}


@dataclass(frozen=True)
class Made:
    """An environment of a test, and the calls on it."""

    api: Api
    id: str
    token: str
    first: Mapping[str, Any]
    """The answer of its create."""

    def path(self, *more: str) -> str:
        """Return the path of an operation on it."""
        return "/".join((BASE, self.id, *more))

    def get(self) -> Any:
        """Read it."""
        return self.api.get(self.path()).expect(200).json()

    def state(self, *wanted: str, seconds: float = WAIT_SECONDS, pause: float = 0.05) -> Any:
        """Wait for one of some states and return the status."""
        deadline = time.monotonic() + seconds
        while True:
            seen = self.api.get(self.path("status")).expect(200).json()
            if seen["state"] in wanted:
                return seen
            assert time.monotonic() < deadline, seen
            assert seen["state"] not in ("failed", "torn_down"), seen
            time.sleep(pause)

    def execute(self, command: str, *, token: str | None = None, **more: Any) -> Answer:
        """Run a command."""
        body = {"command": command, **more}
        headers = {"X-Environment-Token": f"Bearer {self.token if token is None else token}"}
        return self.api.request("POST", self.path("execute"), body, headers=headers)

    def sh(self, command: str, **more: Any) -> str:
        """Run a command that ends well and return its output without the last line break."""
        done = self.execute(command, **more).expect(200).json()
        assert done["exit_code"] == 0, done
        return str(done["output"]).rstrip("\n")

    def verify(self, **body: Any) -> Any:
        """Judge it."""
        return self.api.post(self.path("verify"), body).expect(200).json()

    def delete(self) -> None:
        """Tear it down."""
        self.api.delete(self.path()).expect(204)


def create(api: Api, task: str, **body: Any) -> Made:
    """Begin to provision a task."""
    made = api.post(BASE, {"task_ref": task, **body}).expect(201).json()
    return Made(api, made["id"], made["execute_token"], made)


def ready(api: Api, task: str, *, pause: float = 0.05, **body: Any) -> Made:
    """Provision a task and wait until it is ready."""
    made = create(api, task, **body)
    made.state("ready", pause=pause)
    return made
