"""What Terraform needs beside a plan to draw it for people. Owns the schemas of its resources; pure.

Terraform draws a resource by the schema of its type. Those of the providers are not kept: they are larger than any plan.
So each attribute that the plan has is said to be of any type, which draws nested blocks as attributes.
"""

from collections.abc import Mapping
from typing import Any, Final

_ANY: Final = {"type": "dynamic", "optional": True, "computed": True}
_SCHEMAS: Final = {"managed": "resource_schemas", "data": "data_source_schemas"}


class Schemas:
    """Collects the attributes of resources by provider, kind and type."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[str, dict[str, dict[str, set[str]]]] = {}

    def note(self, entry: Mapping[str, Any]) -> None:
        """Look at an entry of `resource_changes`."""
        provider = self._found.setdefault(entry.get("provider_name", ""), {})
        kind = _SCHEMAS.get(entry.get("mode", ""), "resource_schemas")
        names = provider.setdefault(kind, {}).setdefault(entry.get("type", ""), set())
        for part in ("before", "after", "after_unknown"):
            values = entry.get("change", {}).get(part)
            if isinstance(values, Mapping):
                names.update(values)

    def document(self) -> Mapping[str, Any]:
        """Return the members to put beside the plan."""
        providers = {
            provider: {
                kind: {
                    name: {"version": 0, "block": {"attributes": dict.fromkeys(sorted(attributes), _ANY)}}
                    for name, attributes in types.items()
                }
                for kind, types in kinds.items()
            }
            for provider, kinds in self._found.items()
        }
        return {
            "plan_format_version": "1.2",
            "provider_format_version": "1.0",
            "provider_schemas": providers,
        }
