"""Reads `task.yaml`. Owns what its fields may be; looks at no other file.

Every problem is told at once, so that an author mends a task in one pass.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from runyard.environments.packages.egress import BadTarget, checked_targets
from runyard.environments.packages.errors import BadPackage
from runyard.environments.packages.model import NAME, VERSION, ModelRole, ScriptUse, TaskManifest, Version
from runyard.environments.packages.verification import read_verification, stays_inside, whole_number

MAX_MODELS: Final = 50
MAX_PORTS: Final = 100
SCRIPT_TIMEOUT: Final = 120
LONGEST_SCRIPT: Final = 3600
"""Seconds that a script of a task may ask for."""
_ROLE: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,63}\Z")
_SERVICE: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}\Z")
_RESERVED: Final = frozenset({"MODEL", "DREADNODE_LLM_API_KEY", "DREADNODE_LLM_BASE"})
_LONGEST: Final = {"instruction": 200_000, "description": 16 << 10}
T = TypeVar("T")


class Problem(Exception):
    """One field is wrong; the text begins with its name."""


def read_manifest(document: Mapping[str, Any]) -> TaskManifest:
    """Return the checked manifest. Raises BadPackage with every problem."""
    problems: list[str] = []

    def read(reader: Callable[[Mapping[str, Any]], T], default: T) -> T:
        try:
            return reader(document)
        except Problem as problem:
            problems.append(str(problem))
            return default

    manifest = TaskManifest(
        name=read(_name, ""),
        version=read(_version, Version(0, 0, 0)),
        instruction=read(lambda given: _text(given, "instruction", required=True) or "", ""),
        verification=read(_verification, _NO_VERIFICATION),
        ports=read(_ports, {}),
        provision=read(lambda given: _script(given, "provision"), None),
        teardown=read(lambda given: _script(given, "teardown"), None),
        solution=read(_solution, None),
        models=read(_roles, {}),
        model_ids=read(_ids, ()),
        egress=read(_egress, None),
        description=read(lambda given: _text(given, "description"), None),
        tags=read(_tags, ()),
        difficulty=read(lambda given: _word(given, "difficulty"), None),
        source=read(lambda given: _text(given, "source"), None),
        author=read(_author, None),
        license=read(lambda given: _text(given, "license"), None),
        repository=read(lambda given: _text(given, "repository"), None),
        max_agent_timeout_sec=read(_agent_timeout, None),
        document=document,
    )
    if problems:
        raise BadPackage("; ".join(problems))
    return manifest


_NO_VERIFICATION: Final = read_verification({"method": "script", "script": "-"})


def _name(given: Mapping[str, Any]) -> str:
    name = given.get("name")
    if not isinstance(name, str) or not NAME.match(name):
        raise Problem("name: must be kebab-case, such as my-task")
    return name


def _version(given: Mapping[str, Any]) -> Version:
    version = given.get("version")
    if not isinstance(version, str) or not VERSION.match(version):
        raise Problem("version: must be MAJOR.MINOR.PATCH, such as 0.1.0")
    return Version.parse(version)


def _text(given: Mapping[str, Any], name: str, *, required: bool = False) -> str | None:
    value = given.get(name)
    if value is None and not required:
        return None
    longest = _LONGEST.get(name, 1024)
    if not isinstance(value, str) or len(value) > longest or (required and not value.strip()):
        raise Problem(f"{name}: must be a text of at most {longest} characters")
    return value


def _word(given: Mapping[str, Any], name: str) -> str | None:
    """Return a short value; a number stands for itself."""
    value = given.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return _text({name: value}, name)


def _tags(given: Mapping[str, Any]) -> Sequence[str]:
    tags = given.get("tags")
    if tags is None:
        return ()
    values = [tags] if isinstance(tags, str) else tags
    if not isinstance(values, list) or len(values) > 100:
        raise Problem("tags: must be a list of at most 100 texts")
    found = [str(tag) for tag in values if isinstance(tag, str | int | float)]
    if len(found) != len(values) or any(not 0 < len(tag) <= 128 for tag in found):
        raise Problem("tags: must be texts of 1 to 128 characters")
    return tuple(dict.fromkeys(found))


def _author(given: Mapping[str, Any]) -> str | None:
    author = given.get("author", given.get("author_name"))
    if isinstance(author, dict):
        author = author.get("name")
    return _word({"author": author}, "author")


def _agent_timeout(given: Mapping[str, Any]) -> int | None:
    value = given.get("max_agent_timeout_sec")
    return None if value is None else _seconds("max_agent_timeout_sec", value, 30 * 86_400)


def _seconds(name: str, value: object, longest: int) -> int:
    seconds = whole_number(value)
    if seconds is None or not 1 <= seconds <= longest:
        raise Problem(f"{name}: must be a whole number of seconds from 1 to {longest}")
    return seconds


def _verification(given: Mapping[str, Any]) -> Any:  # noqa: ANN401  a Verification
    block = given.get("verification")
    if not isinstance(block, dict):
        raise Problem("verification: field required")
    try:
        return read_verification(block)
    except BadPackage as error:
        raise Problem(error.message) from None


def _ports(given: Mapping[str, Any]) -> Mapping[str, Sequence[int]]:
    block = given.get("ports")
    if block is None:
        return {}
    if not isinstance(block, dict):
        raise Problem("ports: must map services to lists of ports")
    found: dict[str, Sequence[int]] = {}
    for service, ports in block.items():
        if not _SERVICE.match(service):
            raise Problem(f"ports: {service[:64]!r} cannot be the name of a service")
        numbers = [whole_number(port) or 0 for port in ports] if isinstance(ports, list) else [0]
        if not all(1 <= number <= 65_535 for number in numbers):
            raise Problem(f"ports: {service}: must be a list of ports from 1 to 65535")
        found[service] = tuple(dict.fromkeys(numbers))
    if sum(len(ports) for ports in found.values()) > MAX_PORTS:
        raise Problem(f"ports: at most {MAX_PORTS}")
    return found


def _script(given: Mapping[str, Any], name: str) -> ScriptUse | None:
    block = given.get(name)
    if block is None:
        return None
    if not isinstance(block, dict):
        raise Problem(f"{name}: must be a mapping with a script")
    script = _path(f"{name}.script", block.get("script"))
    return ScriptUse(
        script, _seconds(f"{name}.timeout", block.get("timeout", SCRIPT_TIMEOUT), LONGEST_SCRIPT)
    )


def _solution(given: Mapping[str, Any]) -> str | None:
    block = given.get("solution")
    if block is None:
        return None
    if not isinstance(block, dict):
        raise Problem("solution: must be a mapping with a script")
    script = block.get("script")
    return None if script is None else _path("solution.script", script)


def _path(name: str, value: object) -> str:
    if not isinstance(value, str) or not stays_inside(value):
        raise Problem(f"{name}: must be the path of a file of the task")
    return value


def _roles(given: Mapping[str, Any]) -> Mapping[str, ModelRole]:
    block = given.get("models")
    if block is None or isinstance(block, list):
        return {}
    if not isinstance(block, dict) or len(block) > MAX_MODELS:
        raise Problem(f"models: must map at most {MAX_MODELS} roles to models")
    found: dict[str, ModelRole] = {}
    for role, use in block.items():
        if not _ROLE.match(role) or f"MODEL_{role.upper()}" in _RESERVED:
            raise Problem(f"models: {role[:64]!r} cannot be a role")
        spec = {"model": use} if isinstance(use, str) else use
        if not isinstance(spec, dict) or not set(spec) <= {"model", "overridable"}:
            raise Problem(f"models: {role}: must be a model, or a mapping with model and overridable")
        overridable = spec.get("overridable", True)
        if not isinstance(overridable, bool):
            raise Problem(f"models: {role}: overridable must be true or false")
        found[role] = ModelRole(_model(role, spec.get("model")), overridable)
    return found


def _ids(given: Mapping[str, Any]) -> Sequence[str]:
    block = given.get("models")
    if not isinstance(block, list):
        return ()
    if len(block) > MAX_MODELS:
        raise Problem(f"models: at most {MAX_MODELS}")
    return tuple(dict.fromkeys(_model("each", model) for model in block))


def _model(role: str, value: object) -> str:
    found = value.strip() if isinstance(value, str) else ""
    if not 0 < len(found) <= 256 or any(letter.isspace() for letter in found):
        raise Problem(f"models: {role}: must be the name of a model without spaces")
    return found


def _egress(given: Mapping[str, Any]) -> Sequence[str] | None:
    if given.get("egress") is None:
        return None
    try:
        return checked_targets(given["egress"])
    except BadTarget as error:
        raise Problem(f"egress: {error}") from None
