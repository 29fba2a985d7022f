"""From a Harbor task folder to a task package. Owns the mapping; what cannot be mapped is refused with the reason.

`instruction.md`, `task.toml`, `environment/` (a Dockerfile or a compose file), `tests/test.sh` with its reward file and
`solution/` become `task.yaml` and a compose file with one service `main`, in which commands run.
"""

import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from runyard.client.errors import InvalidConfiguration

REWARDS: Final = "/logs/verifier"
_VERSION: Final = re.compile(r"\d+\.\d+\.\d+\Z")
_WORKDIR: Final = re.compile(r"^\s*WORKDIR\s+(\S+)", re.IGNORECASE | re.MULTILINE)
_COMPOSE: Final = ("docker-compose.yaml", "docker-compose.yml")
_VARIABLE: Final = re.compile(r"\$\{[A-Za-z_]\w*(?::?-([^}]*))?\}")
_Toml = Mapping[str, Any]


class BadTask(InvalidConfiguration):
    """The folder is no Harbor task that can be imported."""


def convert(source: Path, target: Path, name: str | None = None) -> Mapping[str, Any]:
    """Write the package of a Harbor task into an empty folder and return its manifest. Raises BadTask."""
    document = _read(source)
    environment = _table(document, "environment")
    compose = _compose(source / "environment", environment)
    for folder in ("environment", "tests", "solution"):
        if (source / folder).is_dir():
            shutil.copytree(source / folder, target / folder)
    manifest = _manifest(source, document, environment, compose, name or _name(source, document))
    _write(target / "task.yaml", manifest)
    _write(target / "docker-compose.yaml", compose)
    return manifest


def _read(source: Path) -> _Toml:
    for needed in ("task.toml", "instruction.md", "tests/test.sh"):
        if not (source / needed).is_file():
            raise BadTask(f"{source} is no Harbor task: it has no {needed}")
    try:
        document = tomllib.loads((source / "task.toml").read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadTask(f"{source / 'task.toml'} cannot be read: {error}") from None
    if document.get("steps"):
        raise BadTask("tasks of several steps are not supported")
    if _table(document, "environment").get("os", "linux") != "linux":
        raise BadTask("only tasks for Linux are supported")
    if _table(document, "environment").get("gpus") or _table(document, "environment").get("tpu"):
        raise BadTask("tasks with GPUs or TPUs are not supported")
    for name, what in (
        ("environment", "a verifier with an environment of its own"),
        ("collect", "verifier.collect"),
    ):
        if _table(document, "verifier").get(name):
            raise BadTask(f"{what} is not supported: the judge works in a copy of the task's own environment")
    return document


def _manifest(
    source: Path, document: _Toml, environment: _Toml, compose: Mapping[str, Any], name: str
) -> dict[str, Any]:
    task, verifier, metadata = (_table(document, part) for part in ("task", "verifier", "metadata"))
    version = str(task.get("version", ""))
    manifest: dict[str, Any] = {
        "name": name,
        "version": version if _VERSION.match(version) else "0.1.0",
        "instruction": (source / "instruction.md").read_text("utf-8"),
        "verification": {
            "method": "script",
            "script": "tests/test.sh",
            "timeout": int(verifier.get("timeout_sec", 600)),
        },
        "reward_folder": REWARDS,
        "verifier_files": {"tests": "/tests"},
        "outputs": _artifacts(document) or [_workdir(source, environment, compose)],
        "hidden": ["tests", "solution"],
        "source": "harbor",
    }
    if (source / "solution" / "solve.sh").is_file():
        manifest["solution"] = {"script": "solution/solve.sh"}
    if verifier.get("env"):
        manifest["verifier_env"] = _defaults(verifier["env"])
    agent = _table(document, "agent")
    allowed = _allowed(agent, environment)
    if allowed is not None:
        manifest["egress"] = {"allow": allowed}
    timeout = agent.get("timeout_sec")
    if timeout:
        manifest["max_agent_timeout_sec"] = int(timeout)
    difficulty = metadata.get("difficulty")
    if difficulty in ("easy", "medium", "hard"):
        manifest["difficulty"] = difficulty
    tags = [str(tag) for tag in (*metadata.get("tags", ()), *task.get("keywords", ()))]
    if tags:
        manifest["tags"] = list(dict.fromkeys(tags))
    if description := task.get("description") or metadata.get("description"):
        manifest["description"] = str(description)
    return manifest


def _allowed(agent: _Toml, environment: _Toml) -> list[str] | None:
    """Return the only hosts that the agent may reach, None for all: what its own phase says counts before what the
    environment does. Raises BadTask.
    """
    scope = next((one for one in (agent, environment) if one.get("network_mode")), None)
    if scope is None:
        # The older form, and lists without a mode.
        hosts = agent.get("allowed_hosts") or environment.get("allowed_hosts")
        if environment.get("allow_internet") is False:
            return []
        return list(hosts) if hosts else None
    mode = scope["network_mode"]
    if mode not in ("no-network", "public", "allowlist"):
        raise BadTask(f"the network mode {mode!r} is not known")
    if mode == "public":
        return None
    return [] if mode == "no-network" else list(scope.get("allowed_hosts") or ())


def _artifacts(document: _Toml) -> list[str]:
    """Return the paths that the judge gets. Raises BadTask."""
    found: list[str] = []
    for one in document.get("artifacts") or ():
        entry = one if isinstance(one, dict) else {"source": one}
        if entry.get("service") not in (None, "main"):
            raise BadTask("artifacts of other services than main are not supported")
        found.append(str(entry.get("source", "")))
    return found


def _health(check: _Toml) -> dict[str, Any]:
    """Return the check of a task as compose files write it."""
    return {
        "test": ["CMD-SHELL", str(check.get("command", ""))],
        "interval": f"{check.get('interval_sec', 5)}s",
        "timeout": f"{check.get('timeout_sec', 30)}s",
        "start_period": f"{check.get('start_period_sec', 0)}s",
        "retries": int(check.get("retries", 3)),
    }


def _memory(environment: _Toml) -> str | None:
    if environment.get("memory_mb"):
        return f"{int(environment['memory_mb'])}m"
    # The older form, such as 2G.
    return str(environment["memory"]).strip().lower() if environment.get("memory") else None


def _compose(folder: Path, environment: _Toml) -> dict[str, Any]:
    """Return the compose file of the package, with paths that begin at the package."""
    import yaml

    path = next((folder / name for name in _COMPOSE if (folder / name).is_file()), None)
    compose: Any = {"services": {}}
    if path is not None:
        try:
            compose = yaml.safe_load(path.read_text("utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise BadTask(f"{path} cannot be read: {error}") from None
        if not isinstance(compose, dict) or not isinstance(compose.get("services"), dict):
            raise BadTask(f"{path} has no services")
        for service in compose["services"].values():
            _move_paths(service)
    main = compose["services"].setdefault("main", {})
    if "image" not in main and "build" not in main:
        if environment.get("docker_image"):
            main["image"] = str(environment["docker_image"])
        elif (folder / "Dockerfile").is_file():
            main["build"] = "./environment"
        else:
            raise BadTask("the environment has neither a Dockerfile nor an image")
    main.setdefault("command", ["sleep", "infinity"])
    if environment.get("env"):
        main["environment"] = {**_defaults(environment["env"]), **_mapping(main.get("environment"))}
    if environment.get("workdir"):
        main.setdefault("working_dir", str(environment["workdir"]))
    if memory := _memory(environment):
        main.setdefault("mem_limit", memory)
    if check := _table(environment, "healthcheck"):
        main.setdefault("healthcheck", _health(check))
    if environment.get("cpus"):
        main.setdefault("cpus", float(environment["cpus"]))
    return dict(compose)


def _move_paths(service: dict[str, Any]) -> None:
    build = service.get("build")
    if isinstance(build, str):
        service["build"] = _moved(build)
    elif isinstance(build, dict):
        build["context"] = _moved(str(build.get("context", ".")))
    service["volumes"] = [
        _moved(item) if isinstance(item, str) and item.startswith(".") else item
        for item in service.get("volumes") or ()
    ]


def _moved(path: str) -> str:
    return "./environment" if path in (".", "./") else f"./environment/{path.removeprefix('./')}"


def _workdir(source: Path, environment: _Toml, compose: Mapping[str, Any]) -> str:
    """Return the folder in which the agent works, whose content its judge gets."""
    chosen = environment.get("workdir") or compose["services"]["main"].get("working_dir")
    dockerfile = source / "environment" / "Dockerfile"
    if not chosen and dockerfile.is_file():
        found = _WORKDIR.findall(dockerfile.read_text("utf-8", "replace"))
        chosen = found[-1] if found else None
    return str(chosen) if chosen and str(chosen).strip("/") and str(chosen).startswith("/") else "/app"


def _name(source: Path, document: _Toml) -> str:
    text = str(_table(document, "task").get("name") or source.resolve().name).rpartition("/")[2].lower()
    name = re.sub(r"[^a-z0-9]+", "-", text).strip("-")
    if not name:
        raise BadTask("the task has no name that can be used: give one")
    return name


def _defaults(env: object) -> dict[str, str]:
    """Return variables with the defaults that they name; nothing of this host is looked at."""
    return {
        str(name): _VARIABLE.sub(lambda found: found[1] or "", str(value))
        for name, value in _mapping(env).items()
    }


def _mapping(value: object) -> dict[str, Any]:
    if isinstance(value, list):
        return {name: text for name, _, text in (str(item).partition("=") for item in value)}
    return dict(value) if isinstance(value, dict) else {}


def _table(document: _Toml, name: str) -> _Toml:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _write(path: Path, document: Mapping[str, Any]) -> None:
    import yaml

    path.write_text(yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True), "utf-8")
