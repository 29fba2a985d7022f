"""The variables that commands of an environment find. Owns their names and their order of precedence; pure."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from runyard.runtimes.injection import BASE_ENVIRONMENT

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_PLACEHOLDER: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
VALUE_LIMIT: Final = 65_536


def text_of(value: Any) -> str:  # noqa: ANN401  any JSON
    """Write a value as templates and shells expect it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def service_variables(service_urls: Mapping[str, Any]) -> dict[str, str]:
    """Return the template variables that stand for the services of an environment."""
    found: dict[str, str] = {}
    for service, facts in service_urls.items():
        found |= {
            f"{service}_url": facts["url"],
            f"{service}_host": facts["host"],
            f"{service}_port": str(facts["port"]),
        }
        for port, url in facts["urls"].items():
            _, _, place = url.partition("://")
            # The published rule: with a port in their names, the host has its port in it and the port is the task's own.
            found |= {
                f"{service}_url_{port}": url,
                f"{service}_host_{port}": place,
                f"{service}_port_{port}": str(port),
            }
    return found


def filled(template: str, variables: Mapping[str, Any]) -> str:
    """Put variables into a template with `{{name}}` in it; what has no value stays as it is."""
    return _PLACEHOLDER.sub(
        lambda found: text_of(variables[found[1]]) if found[1] in variables else found[0], template
    )


def command_variables(
    *, templates: Mapping[str, Any], models: Mapping[str, str], secrets: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables over the basic ones: what templates know in both spellings, models by role, secrets.
    A template variable never takes the place of a basic one, nor of one that the loader of programs reads.
    """
    found: dict[str, str] = {}
    for name, value in templates.items():
        for spelled in (name, name.upper()):
            if _NAME.match(spelled) and spelled not in BASE_ENVIRONMENT and not spelled.startswith("LD_"):
                found[spelled] = text_of(value).replace("\0", "")[:VALUE_LIMIT]
    found |= {f"MODEL_{role.upper()}": model for role, model in models.items()}
    return found | dict(secrets)
