"""What a task may say about where it connects to. Owns the forms of a target; whether one can be enforced is decided
where an environment is built.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

MAX_TARGETS: Final = 50
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})+\Z")
_ENDPOINT: Final = re.compile(r"tcp://(\[[0-9a-f:.]+\]|[^/:\s\[\]]+):([0-9]{1,5})\Z")


class BadTarget(ValueError):
    """A target is none of the known forms."""


def checked_targets(block: object) -> Sequence[str]:
    """Return the targets of an `egress` block in one spelling each. Raises BadTarget."""
    if not isinstance(block, dict) or set(block) != {"allow"}:
        raise BadTarget("must be a mapping with one key, allow: what it does not list is denied anyway")
    listed = block["allow"]
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise BadTarget("allow must be a list")
    found = tuple(dict.fromkeys(_checked(target) for target in listed))
    if len(found) > MAX_TARGETS:
        raise BadTarget(f"allow has at most {MAX_TARGETS} targets")
    return found


def _checked(target: object) -> str:
    if not isinstance(target, str) or not target.strip() or len(target) > 300:
        raise BadTarget("every target must be a text")
    text = target.strip().lower()
    if text.startswith("tcp://"):
        return _endpoint(text)
    return _host(text, target)


def _endpoint(text: str) -> str:
    found = _ENDPOINT.match(text)
    if found is None or not 1 <= int(found.group(2)) <= 65_535:
        raise BadTarget(f"{text!r} is not tcp://host:port")
    host = _host(found.group(1).strip("[]"), text)
    return f"tcp://[{host}]:{int(found.group(2))}" if ":" in host else f"tcp://{host}:{int(found.group(2))}"


def _host(text: str, shown: str) -> str:
    if text.startswith("*.") and _DOMAIN.match(text[2:]):
        return text
    try:
        if "/" in text:
            return str(ipaddress.ip_network(text, strict=True))
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        if "/" in text:
            raise BadTarget(f"{shown!r} is no host, and no address range: {error}") from None
    if _DOMAIN.match(text) and len(text) <= 253:
        return text
    raise BadTarget(f"{shown!r} is no dotted host name, no *.suffix, no address and no address range")
