"""Checks a task's files against what its `task.yaml` says. Owns the rules between files: compose, Dockerfiles, scripts,
addresses in the instruction. Reads below one folder that holds regular files and folders only.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final

from runyard.environments.packages.documents import read_yaml
from runyard.environments.packages.errors import BadPackage
from runyard.environments.packages.model import TaskManifest

COMPOSE_FILES: Final = ("docker-compose.yaml", "docker-compose.yml")
MAX_README_BYTES: Final = 256 << 10
_README: Final = re.compile(r"readme(\.(md|markdown|txt|rst))?\Z", re.IGNORECASE)
_URL: Final = re.compile(r"(?<!\{)\bhttps?://(?:[^\s/@]{0,256}@)?([A-Za-z0-9._-]+)[^\s\"'<>)]*")
"""Of the web only, as in the published check: an author may well tell how an agent reaches its own database."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "host.docker.internal"})
_PORTS: Final = re.compile(r"(?:.*:)?(\d{1,5})(?:-(\d{1,5}))?(?:/(?:tcp|udp))?\Z")


def check_files(manifest: TaskManifest, root: Path) -> None:
    """Check a task that is unpacked below `root`. Raises BadPackage with every problem."""
    try:
        services = read_services(root)
        problems = []
    except BadPackage as error:
        services, problems = {}, [error.message]
    else:
        problems += _compose_problems(manifest, services)
        problems += _build_problems(services or {}, root)
    problems += _script_problems(manifest, root)
    problems += _instruction_problems(manifest)
    if problems:
        raise BadPackage("; ".join(dict.fromkeys(problems)))


def read_services(root: Path) -> Mapping[str, Any] | None:
    """Return the services of the compose file at the task's root; None when there is no such file. Raises BadPackage."""
    for name in COMPOSE_FILES:
        path = root / name
        if path.is_file():
            services = read_yaml(path, name).get("services")
            if not isinstance(services, dict) or not services:
                raise BadPackage(f"{name}: must have services, a mapping by name")
            broken = [service for service, use in services.items() if not isinstance(use, dict)]
            if broken:
                raise BadPackage(f"{name}: service {broken[0][:64]!r} must be a mapping")
            return services
    return None


def read_readme(root: Path) -> str | None:
    """Return the text of the README at the task's root, cut when it is long; None when there is none."""
    names = sorted(entry.name for entry in root.iterdir() if entry.is_file() and _README.match(entry.name))
    if not names:
        return None
    with (root / names[0]).open("rb") as file:
        return file.read(MAX_README_BYTES).decode("utf-8", "replace").replace("\0", "")


def _compose_problems(manifest: TaskManifest, services: Mapping[str, Any] | None) -> Iterator[str]:
    if services is None:
        if manifest.ports:
            yield "compose: docker-compose.yaml is required when task.yaml declares ports"
        return
    for service, ports in manifest.ports.items():
        if service not in services:
            yield f"ports: service {service!r} is not in docker-compose.yaml"
            continue
        exposed = container_ports(services[service])
        for port in ports:
            if exposed and port not in exposed:
                listed = ", ".join(str(one) for one in sorted(exposed))
                yield f"ports: port {port} of service {service!r} is not among those in docker-compose.yaml: {listed}"


def container_ports(service: Mapping[str, Any]) -> AbstractSet[int]:
    """Return the container ports that a compose service lists; what cannot be read is left out."""
    found: set[int] = set()
    listed = service.get("ports")
    for entry in listed if isinstance(listed, list) else ():
        target = entry.get("target") if isinstance(entry, dict) else entry
        match = _PORTS.match(str(target))
        if match is not None:
            first = int(match.group(1))
            last = int(match.group(2) or first)
            found.update(port for port in range(first, min(last, first + 1000) + 1) if 1 <= port <= 65_535)
    return found


def _build_problems(services: Mapping[str, Any], root: Path) -> Iterator[str]:
    for service, use in services.items():
        build = use.get("build")
        if build is None:
            continue
        block = {"context": build} if isinstance(build, str) else build
        if not isinstance(block, dict):
            yield f"compose: build of service {service!r} must be a folder or a mapping"
            continue
        context, dockerfile = block.get("context", "."), block.get("dockerfile", "Dockerfile")
        if not isinstance(context, str) or not isinstance(dockerfile, str):
            yield f"compose: build of service {service!r} must name its context and Dockerfile as texts"
        elif "dockerfile_inline" not in block and "://" not in context and "$" not in context + dockerfile:
            yield from _dockerfile_problems(service, context, dockerfile, root)


def _dockerfile_problems(service: str, context: str, dockerfile: str, root: Path) -> Iterator[str]:
    path = posixpath.normpath(posixpath.join(context or ".", dockerfile))
    if path.startswith(("/", "../")) or "\0" in path:
        yield f"dockerfile: the build of service {service!r} leaves the task's folder"
    elif not _is_file(root, path):
        yield f"dockerfile: service {service!r} is built from {path[:200]!r}, which is not there"


def _script_problems(manifest: TaskManifest, root: Path) -> Iterator[str]:
    scripts: dict[str, str | None] = {
        "verification": manifest.verification.script,
        "solution": manifest.solution,
        "provision": manifest.provision.script if manifest.provision else None,
        "teardown": manifest.teardown.script if manifest.teardown else None,
    }
    for name, script in scripts.items():
        if script is not None and not _is_file(root, script):
            yield f"{name}: script {script[:200]!r} was not found in the task directory"


def _instruction_problems(manifest: TaskManifest) -> Iterator[str]:
    if not manifest.ports:
        return
    for found in _URL.finditer(manifest.instruction):
        host = found.group(1)
        if host in manifest.ports or host in _LOOPBACK:
            name = host if host in manifest.ports else next(iter(manifest.ports))
            url = found.group(0)[:200]
            yield f"instruction: {url} is another one in each environment; write {{{{{name}_url}}}} instead"


def _is_file(root: Path, path: str) -> bool:
    try:
        return (root / path).is_file()
    except (OSError, ValueError):
        return False
