"""The text of policies. Owns how a policy and a shared package become modules of the interpreter. Pure."""

import base64
import binascii
import re
from typing import Final

from runyard.infrastructure.policies.errors import PolicyInvalid
from runyard.infrastructure.policies.hoisting import hoisted

RULE: Final = "firefly"
"""Name of the rule whose truth is the violation."""
MAX_CODE: Final = 256 << 10
PACKAGE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_PACKAGE_LINE: Final = re.compile(r"^[ \t]*package[ \t]+[^\n]*\n?", re.MULTILINE)
_RULE_HEAD: Final = re.compile(rf"^[ \t]*(default[ \t]+)?{RULE}\b", re.MULTILINE)
_TEXTS: Final = re.compile(r'"(?:\\.|[^"\\\n])*"|`[^`]*`|#[^\n]*')


def decoded(code: str) -> str:
    """Return the text of base64. Raises PolicyInvalid."""
    try:
        text = base64.b64decode(code, validate=True).decode()
    except (binascii.Error, ValueError):
        raise PolicyInvalid("Code is not valid: expected Rego as base64") from None
    if not text.strip():
        raise PolicyInvalid("Code is required")
    if len(text) > MAX_CODE:
        raise PolicyInvalid(f"Code is not valid: it has more than {MAX_CODE} characters")
    if "\0" in text:
        raise PolicyInvalid("Code is not valid: it has a NUL character")
    return text


def has_rule(text: str) -> bool:
    """Tell whether a policy has the rule that is asked for; without it, it could never be violated."""
    return _RULE_HEAD.search(_TEXTS.sub('""', text)) is not None


def policy_module(index: int, text: str) -> str:
    """Return a policy as a module in a package of its own, whatever package it names itself."""
    return f"package runyard.policies.p{index}\n{hoisted(_without_package(text))}\n"


def shared_module(name: str, text: str) -> str:
    """Return a shared package as the module that policies import."""
    return f"package firefly.packages.{name}\n{hoisted(_without_package(text))}\n"


def entrypoint(index: int) -> str:
    """Return how the rule of a policy is asked for."""
    return f"runyard/policies/p{index}/{RULE}"


def _without_package(text: str) -> str:
    """Take out a package line before the first rule; the lines keep their numbers but for it."""
    found = _PACKAGE_LINE.search(text)
    if found is None or _TEXTS.sub("", text[: found.start()]).strip():
        return text
    return text[: found.start()] + text[found.end() :]
