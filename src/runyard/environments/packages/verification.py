"""Reads the `verification` block of `task.yaml`. Owns which fields each method needs and forbids, and the forms of a
flag's hash.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from runyard.environments.packages.errors import BadPackage
from runyard.environments.packages.model import Verification

DIGITS: Final[Mapping[str, int]] = {"sha256": 64, "sha512": 128, "sha1": 40, "md5": 32}
"""Hexadecimal digits by algorithm of a flag's hash."""
LONGEST: Final = 8 * 3600
"""Seconds that a script may ask for to judge: no environment lives longer unless an operator lets it."""
_HEX: Final = re.compile(r"[0-9a-f]+\Z")
_ALIASES: Final = {"flag_hash": "hash", "submission_path": "path"}
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "flag": ("path",),
    "script": ("script",),
    "outcome_judge": ("judge",),
    "script_and_judge": ("script", "judge"),
    "flag_and_judge": ("path", "judge"),
}
_FORBIDS: Final[Mapping[str, tuple[str, ...]]] = {
    "flag": ("judge",),
    "script": ("judge",),
    "outcome_judge": ("script", "path", "value", "hash"),
    "script_and_judge": ("path", "value", "hash"),
    "flag_and_judge": ("script",),
}
_JUDGE: Final = {"kind", "model", "rubric", "max_steps", "system_prompt", "model_params", "task_context"}


def read_verification(block: Mapping[str, Any]) -> Verification:
    """Return the checked block; fields that are empty count as absent. Raises BadPackage."""
    given = {_ALIASES.get(name, name): value for name, value in block.items() if value not in (None, "")}
    method = _method(given)
    for name in _NEEDS[method]:
        if name not in given:
            raise BadPackage(f"verification: {name} is required when the method is {method}")
    for name in _FORBIDS[method]:
        if name in given:
            raise BadPackage(f"verification: {name} must not be set when the method is {method}")
    if method.startswith("flag") and ("value" in given) == ("hash" in given):
        raise BadPackage(f"verification: {method} needs exactly one of value and hash")
    return Verification(
        method=method,
        script=_text(given, "script"),
        where=_where(given),
        timeout_sec=_timeout(given),
        path=_text(given, "path"),
        value=_text(given, "value"),
        hash=None if "hash" not in given else read_hash(given["hash"]),
        judge=None if "judge" not in given else _judge(given["judge"], method),
    )


def read_hash(text: object) -> tuple[str, str]:
    """Return algorithm and digits of `algorithm:hex`; digits alone are SHA-256. Raises BadPackage."""
    if not isinstance(text, str):
        raise BadPackage("verification: hash must be algorithm:hex")
    algorithm, marked, digits = text.rpartition(":")
    algorithm, digits = (algorithm if marked else "sha256").lower(), digits.lower()
    if DIGITS.get(algorithm) != len(digits) or not _HEX.match(digits):
        raise BadPackage(f"verification: hash must be algorithm:hex with one of {', '.join(DIGITS)}")
    return algorithm, digits


def _method(given: Mapping[str, Any]) -> str:
    method = given.get("method")
    if method is not None:
        if not isinstance(method, str) or method not in _NEEDS:
            raise BadPackage(f"verification: method must be one of {', '.join(_NEEDS)}")
        return method
    if "judge" in given:
        if "script" in given:
            return "script_and_judge"
        return "flag_and_judge" if given.keys() & {"path", "hash", "value"} else "outcome_judge"
    if "script" in given:
        return "script"
    raise BadPackage(f"verification: method is required: one of {', '.join(_NEEDS)}")


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > 4096 or (name == "script" and not stays_inside(value)):
        raise BadPackage(f"verification: {name} must be a text, and a script one of the task's files")
    return value


def stays_inside(path: str) -> bool:
    """Tell whether a path as people write it names something below the folder that it is relative to."""
    parts = path.split("/")
    return bool(path.strip()) and len(path) <= 1024 and not path.startswith("/") and ".." not in parts


def _where(given: Mapping[str, Any]) -> str:
    where = given.get("where", "environment")
    if where not in ("environment", "agent"):
        raise BadPackage("verification: where must be environment or agent")
    return str(where)


def whole_number(value: object) -> int | None:
    """Return the whole number that a value is or spells, None for any other value: `"120"` and `120.0` are 120 to the
    published check, which runs before a push.
    """
    if isinstance(value, str) and len(value) <= 18 and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _timeout(given: Mapping[str, Any]) -> int:
    value = whole_number(given.get("timeout", 30))
    if value is None or not 1 <= value <= LONGEST:
        raise BadPackage(f"verification: timeout must be 1 to {LONGEST} seconds")
    return value


def _judge(block: object, method: str) -> Mapping[str, Any]:
    if not isinstance(block, dict) or not set(block) <= _JUDGE:
        raise BadPackage(f"verification: judge must be a mapping of {', '.join(sorted(_JUDGE))}")
    if block.get("kind", "trajectory") != "trajectory":
        raise BadPackage("verification: judge.kind must be trajectory")
    if not isinstance(block.get("model"), str) or not block["model"]:
        raise BadPackage("verification: judge.model is required")
    rubric, steps = block.get("rubric"), whole_number(block.get("max_steps", 50))
    if rubric is not None and (not isinstance(rubric, str) or not rubric):
        raise BadPackage("verification: judge.rubric must be a text")
    if rubric is None and method == "outcome_judge":
        raise BadPackage("verification: judge.rubric is required when the method is outcome_judge")
    if steps is None or not 1 <= steps <= 500:
        raise BadPackage("verification: judge.max_steps must be 1 to 500")
    for name in ("model_params", "task_context"):
        if not isinstance(block.get(name) or {}, dict):
            raise BadPackage(f"verification: judge.{name} must be a mapping")
    if not isinstance(block.get("system_prompt") or "", str):
        raise BadPackage("verification: judge.system_prompt must be a text")
    return block
