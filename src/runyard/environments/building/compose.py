"""Reads compose files, as far as tasks commonly use them. Owns the grammar; what is beyond it is an error with its line.

A key that would change what a service may do, and that nothing here obeys, is refused; keys that only concern a
container daemon (`restart`, `labels`, `container_name` and the like) are read and mean nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from runyard.environments.building.model import Build, Carried, Health, ServicePlan
from runyard.environments.building.words import duration, processors, size, substituted, words
from runyard.environments.errors import BadCompose

MAX_BYTES: Final = 1 << 20
MAX_SERVICES: Final = 16
NAMES: Final = ("docker-compose.yaml", "docker-compose.yml")
_TOP: Final = frozenset({"services", "networks", "volumes", "version", "name"})
_WITHOUT_EFFECT: Final = frozenset(
    {
        "container_name", "restart", "labels", "init", "logging", "stop_signal", "stop_grace_period", "platform",
        "pull_policy", "tty", "stdin_open", "expose",
    }
)  # fmt: skip
_SERVICE: Final = frozenset(
    {
        "image", "build", "ports", "environment", "depends_on", "healthcheck", "command", "entrypoint", "volumes",
        "networks", "working_dir", "user", "hostname", "mem_limit", "cpus",
    }
)  # fmt: skip
_CONDITIONS: Final = {
    "service_started": "started",
    "service_healthy": "healthy",
    "service_completed_successfully": "completed",
}
_Path = tuple[str | int, ...]


def compose_file(root: Path) -> Path | None:
    """Return the compose file of a package."""
    return next((root / name for name in NAMES if (root / name).is_file()), None)


def read_compose(path: Path, root: Path, variables: Mapping[str, str]) -> Mapping[str, ServicePlan]:
    """Read the services, each after those that it depends on. Raises BadCompose."""
    return _Compose(path, root, variables).services()


class _Compose:
    def __init__(self, path: Path, root: Path, variables: Mapping[str, str]) -> None:
        self._file = path.name
        self._folder = path.parent
        self._root = root.resolve()
        self._variables = variables
        text = path.read_bytes()
        if len(text) > MAX_BYTES:
            raise BadCompose(f"{self._file} is larger than {MAX_BYTES} bytes")
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            self._document = yaml.safe_load(text)
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise BadCompose(f"{self._file}: {error}") from None
        self._lines: dict[_Path, int] = {}
        self._note(node, (), 0)

    def services(self) -> Mapping[str, ServicePlan]:
        """Read and order all services."""
        document = self._mapping((), self._document)
        for key in document:
            if key not in _TOP and not str(key).startswith("x-"):
                raise self._error((key,), "is not supported")
        services = self._mapping(("services",), document.get("services"))
        if not 0 < len(services) <= MAX_SERVICES:
            raise self._error(("services",), f"must hold 1 to {MAX_SERVICES} services")
        self._check_shared(document)
        plans = {str(name): self._service(str(name), value) for name, value in services.items()}
        self._refuse_shared_volumes(services)
        return self._ordered(plans)

    def _check_shared(self, document: Mapping[str, Any]) -> None:
        for part in ("networks", "volumes"):
            for name, value in self._mapping((part,), document.get(part) or {}).items():
                for key in self._mapping((part, name), value or {}):
                    if key not in ("internal", "driver", "name", "labels") or (
                        key == "driver" and value[key] not in ("bridge", "local")
                    ):
                        raise self._error((part, name, key), "is not supported")

    def _service(self, name: str, value: object) -> ServicePlan:
        at: _Path = ("services", name)
        given = self._mapping(at, value)
        for key in given:
            if key not in _SERVICE and key not in _WITHOUT_EFFECT and not str(key).startswith("x-"):
                raise self._error((*at, key), "is not supported")
        if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or len(name) > 63:
            raise self._error(at, "is no name of a service")
        image, build = self._text((*at, "image"), given.get("image")), self._build(at, given.get("build"))
        if image is None and build is None:
            raise self._error(at, "needs an image or a build")
        health, no_health = self._health(at, given.get("healthcheck"))
        working_dir = self._text((*at, "working_dir"), given.get("working_dir"))
        carried, folders = self._volumes(at, given.get("volumes"))
        return ServicePlan(
            name=name,
            image=image,
            build=build,
            command=self._command((*at, "command"), given.get("command")),
            entrypoint=self._command((*at, "entrypoint"), given.get("entrypoint")),
            environment=self._environment((*at, "environment"), given.get("environment")),
            working_dir=working_dir,
            user=self._text((*at, "user"), given.get("user")),
            hostname=self._text((*at, "hostname"), given.get("hostname")),
            ports=[
                self._port((*at, "ports", i), p)
                for i, p in enumerate(self._list((*at, "ports"), given.get("ports")))
            ],
            depends_on=self._depends(at, given.get("depends_on")),
            health=health,
            no_health=no_health,
            carried=carried,
            folders=[*folders, *((working_dir,) if working_dir and working_dir.startswith("/") else ())],
            networks=self._networks(at, given.get("networks")),
            memory_bytes=self._number((*at, "mem_limit"), given.get("mem_limit"), size),
            cpus=self._number((*at, "cpus"), given.get("cpus"), processors),
        )

    # --- parts of a service ----------------------------------------------------------------------------------------

    def _build(self, at: _Path, value: object) -> Build | None:
        if value is None:
            return None
        at = (*at, "build")
        if isinstance(value, str):
            return Build(context=self._inside(at, value))
        given = self._mapping(at, value)
        for key in given:
            if key not in ("context", "dockerfile", "args"):
                raise self._error((*at, key), "is not supported")
        return Build(
            context=self._inside((*at, "context"), given.get("context") or "."),
            dockerfile=self._text((*at, "dockerfile"), given.get("dockerfile")) or "Dockerfile",
            args=self._environment((*at, "args"), given.get("args")),
        )

    def _inside(self, at: _Path, value: object) -> Path:
        text = self._text(at, value) or "."
        if "://" in text:
            raise self._error(at, "must be a folder of the task")
        path = (self._folder / text).resolve()
        if path != self._root and not path.is_relative_to(self._root):
            raise self._error(at, f"leads out of the task: {text[:200]}")
        if not path.exists():
            raise self._error(at, f"there is no {text[:200]} in the task")
        return path

    def _command(self, at: _Path, value: object) -> Sequence[str] | None:
        if value is None:
            return None
        if isinstance(value, str):
            try:
                return words(self._substituted(at, value))
            except ValueError as error:
                raise self._error(at, str(error)) from None
        return [self._text((*at, i), item) or "" for i, item in enumerate(self._list(at, value))]

    def _environment(self, at: _Path, value: object) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if isinstance(value, list):
            for index, item in enumerate(value):
                name, given, text = (self._text((*at, index), item) or "").partition("=")
                found[name] = text if given else self._variables.get(name, "")
        else:
            for key, item in self._mapping(at, value or {}).items():
                missing = self._variables.get(str(key), "")
                found[str(key)] = missing if item is None else self._text((*at, key), item) or ""
        for name in found:
            if not name or "=" in name or "\0" in name + found[name] or any(char.isspace() for char in name):
                raise self._error(at, f"{name[:40]!r} is no name of a variable")
        return found

    def _port(self, at: _Path, value: object) -> int:
        target = value.get("target") if isinstance(value, dict) else value
        text = (self._text(at, target) or "").partition("/")[0].rpartition(":")[2]
        if not text.isdecimal() or not 0 < int(text) < 65_536:
            raise self._error(at, f"{str(target)[:40]!r} is no port (ranges are not supported)")
        return int(text)

    def _depends(self, at: _Path, value: object) -> Mapping[str, str]:
        at = (*at, "depends_on")
        if isinstance(value, list):
            return {str(item): "started" for item in value}
        found: dict[str, str] = {}
        for name, item in self._mapping(at, value or {}).items():
            given = self._mapping((*at, name), item or {})
            condition = given.get("condition", "service_started")
            if condition not in _CONDITIONS:
                raise self._error((*at, name, "condition"), f"{str(condition)[:40]!r} is not supported")
            found[str(name)] = _CONDITIONS[condition]
        return found

    def _health(self, at: _Path, value: object) -> tuple[Health | None, bool]:
        at = (*at, "healthcheck")
        given = self._mapping(at, value or {})
        if not given:
            return None, False
        for key in given:
            if key not in (
                "test",
                "interval",
                "timeout",
                "retries",
                "start_period",
                "start_interval",
                "disable",
            ):
                raise self._error((*at, key), "is not supported")
        test = given.get("test")
        if given.get("disable") is True or test in (["NONE"], "NONE"):
            return None, True
        if isinstance(test, str):
            argv: Sequence[str] = ("/bin/sh", "-c", self._substituted(at, test))
        else:
            kind, *rest = [
                self._text((*at, "test", i), item) or ""
                for i, item in enumerate(self._list((*at, "test"), test))
            ] or [""]
            if kind not in ("CMD", "CMD-SHELL") or not rest:
                raise self._error((*at, "test"), "must begin with CMD or CMD-SHELL")
            argv = ("/bin/sh", "-c", rest[0]) if kind == "CMD-SHELL" else rest
        try:
            return (
                Health(
                    argv=argv,
                    interval_secs=duration(given.get("interval", "30s")),
                    timeout_secs=duration(given.get("timeout", "30s")),
                    retries=int(given.get("retries", 3)),
                    start_period_secs=duration(given.get("start_period", "0s")),
                ),
                False,
            )
        except (ValueError, TypeError, OverflowError) as error:
            raise self._error(at, str(error)) from None

    def _volumes(self, at: _Path, value: object) -> tuple[Sequence[Carried], Sequence[str]]:
        """Return what is copied from the package, and the folders that other volumes are."""
        at = (*at, "volumes")
        carried: list[Carried] = []
        folders: list[str] = []
        for index, item in enumerate(self._list(at, value)):
            here = (*at, index)
            if isinstance(item, dict):
                if item.get("type") not in ("bind", "volume"):
                    raise self._error(here, f"the type {str(item.get('type'))[:20]!r} is not supported")
                source, target = str(item.get("source", "")), str(item.get("target", ""))
            else:
                source, _, rest = (self._text(here, item) or "").rpartition(":")
                if rest in ("ro", "rw", "z", "Z") and source:
                    source, _, rest = source.rpartition(":")
                target = rest
            if not target.startswith("/") or ".." in target.split("/"):
                raise self._error(here, "the target must be an absolute path")
            if source.startswith(("/", "~")):
                raise self._error(here, "files of the host are not supported")
            if source.startswith("."):
                carried.append(Carried(self._inside(here, source), target))
            else:
                folders.append(target)
        return carried, folders

    def _networks(self, at: _Path, value: object) -> Mapping[str, Sequence[str]]:
        at = (*at, "networks")
        if value is None:
            return {"default": ()}
        if isinstance(value, list):
            return {str(item): () for item in value}
        found: dict[str, Sequence[str]] = {}
        for name, item in self._mapping(at, value).items():
            given = self._mapping((*at, name), item or {})
            for key in given:
                if key != "aliases":
                    raise self._error((*at, name, key), "is not supported")
            found[str(name)] = [str(one) for one in self._list((*at, name, "aliases"), given.get("aliases"))]
        return found

    def _refuse_shared_volumes(self, services: Mapping[Any, Any]) -> None:
        owners: dict[str, str] = {}
        for name, value in services.items():
            for index, item in enumerate(value.get("volumes") or ()):
                source = item.get("source", "") if isinstance(item, dict) else str(item).partition(":")[0]
                if not source or source[0] in "./~" or (isinstance(item, str) and ":" not in item):
                    continue
                if owners.setdefault(str(source), name) != name:
                    raise self._error(
                        ("services", name, "volumes", index), "a volume of two services is not supported"
                    )

    def _ordered(self, plans: Mapping[str, ServicePlan]) -> Mapping[str, ServicePlan]:
        ordered: dict[str, ServicePlan] = {}
        while len(ordered) < len(plans):
            ready = [
                plan for name, plan in plans.items()
                if name not in ordered and all(one in ordered for one in plan.depends_on)
            ]  # fmt: skip
            for plan in plans.values():
                for needed in plan.depends_on:
                    if needed not in plans:
                        raise self._error(
                            ("services", plan.name, "depends_on"), f"there is no service {needed[:64]}"
                        )
            if not ready:
                raise self._error(("services",), "services depend on each other in a circle")
            ordered |= {plan.name: plan for plan in ready}
        return ordered

    # --- values ----------------------------------------------------------------------------------------------------

    def _mapping(self, at: _Path, value: object) -> Mapping[Any, Any]:
        if not isinstance(value, dict):
            raise self._error(at, "must be a mapping")
        return value

    def _list(self, at: _Path, value: object) -> Sequence[Any]:
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self._error(at, "must be a list")
        return value

    def _text(self, at: _Path, value: object) -> str | None:
        if value is None:
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str | int | float):
            raise self._error(at, "must be a text")
        return self._substituted(at, str(value))

    def _number(self, at: _Path, value: object, read: Any) -> Any:  # noqa: ANN401  an int or a float
        if value is None:
            return None
        try:
            return read(value)
        except (ValueError, TypeError) as error:
            raise self._error(at, str(error)) from None

    def _substituted(self, at: _Path, text: str) -> str:
        try:
            return substituted(text, self._variables)
        except ValueError as error:
            raise self._error(at, str(error)) from None

    def _note(self, node: yaml.Node | None, at: _Path, depth: int) -> None:
        """Remember the line of each place, as far as places are looked at."""
        if node is None or depth > 6 or len(self._lines) > 10_000:
            return
        self._lines.setdefault(at, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._lines.setdefault((*at, key.value), key.start_mark.line + 1)
                self._note(value, (*at, key.value), depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._note(value, (*at, index), depth + 1)

    def _error(self, at: _Path, what: str) -> BadCompose:
        known = at
        while known and known not in self._lines:
            known = known[:-1]
        line = self._lines.get(known, 1)
        return BadCompose(f"{self._file} line {line}: {'.'.join(map(str, at)) or 'the file'} {what}")
