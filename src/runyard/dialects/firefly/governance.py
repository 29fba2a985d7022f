"""Governance policies in Rego, and the packages that they share."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from runyard.dialects.door import Call, Route
from runyard.dialects.firefly import reading
from runyard.dialects.firefly.declaring import route
from runyard.dialects.firefly.replies import send_json, send_nothing
from runyard.dialects.firefly.rulewire import (
    MessageOut,
    PackageIn,
    PackageItem,
    PolicyIn,
    PolicyItem,
    PolicyListIn,
    PolicyPage,
)
from runyard.dialects.firefly.services import FireflyServices
from runyard.identity.model import Permission
from runyard.infrastructure.policies.model import LEVELS, Policy, PolicyFields, PolicyFilter, PolicyPackage
from runyard.kernel.errors import InvalidArgument

_list: Final = msgspec.json.Decoder(PolicyListIn)
_policy: Final = msgspec.json.Decoder(PolicyIn)
_package: Final = msgspec.json.Decoder(PackageIn)
_PAGE_SIZE: Final = 50
_LONGEST: Final = 256
_MOST: Final = 500
_SORTS: Final = {
    "name": "name",
    "severity": "severity",
    "category": "category",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
}


class GovernanceHandlers:
    """Policies and packages."""

    def __init__(self, services: FireflyServices) -> None:
        """Take the services."""
        self._policies = services.policies

    async def list(self, call: Call) -> None:
        """List policies; pages count from 1."""
        body = await reading.read(call, _list)
        page, size = _bounded(body.page, 1, "page"), _bounded(body.page_size, _PAGE_SIZE, "pageSize")
        wanted = PolicyFilter(
            query=body.query or "",
            ids=body.id or (),
            labels=body.labels or (),
            frameworks=body.frameworks or (),
            category=body.category or "",
            types=body.type or (),
            severities=body.severity or (),
            providers=body.providers or (),
            only_enabled=bool(body.only_enabled),
            sorting=_sorting(body.sorting),
        )
        if body.is_default:
            # None of the policies here comes with the product.
            await send_json(call, PolicyPage(hits=[], total=0, page=page, page_size=size))
            return
        found, total = await self._policies.list(call.caller.scope, wanted, (page - 1) * size, size)
        hits = [policy_item(one) for one in found]
        await send_json(call, PolicyPage(hits=hits, total=total, page=page, page_size=size))

    async def create(self, call: Call) -> None:
        """Add a policy."""
        fields = _fields(await reading.read(call, _policy), None)
        await send_json(call, policy_item(await self._policies.create(call.caller, fields)))

    async def change(self, call: Call) -> None:
        """Replace a policy: clients send it whole and leave out what is empty. Whether it counts, and how much, stays
        unless they say so.
        """
        body = await reading.read(call, _policy)
        before = await self._policies.get(call.caller.scope, call.params["policyId"])
        changed = await self._policies.change(call.caller, before.id, _fields(body, before))
        await send_json(call, policy_item(changed))

    async def delete(self, call: Call) -> None:
        """Remove a policy."""
        await self._policies.delete(call.caller, call.params["policyId"])
        await send_json(call, MessageOut(status=200, message="Policy deleted successfully"))

    async def packages(self, call: Call) -> None:
        """List shared packages."""
        found = await self._policies.packages(call.caller.scope.account_id)
        await send_json(call, [_package_item(one) for one in found])

    async def put_package(self, call: Call) -> None:
        """Set the code of a shared package."""
        body = await reading.read(call, _package)
        code = reading.required(body.code, "code")
        made = await self._policies.put_package(call.caller, call.params["package"], code)
        await send_json(call, _package_item(made))

    async def delete_package(self, call: Call) -> None:
        """Remove a shared package."""
        await self._policies.delete_package(call.caller, call.params["package"])
        await send_nothing(call)


def policy_item(policy: Policy) -> PolicyItem:
    """Show a policy; its code byte for byte as it came."""
    return PolicyItem(
        id=policy.id,
        account_id=policy.account_id,
        name=policy.name,
        description=policy.description,
        rego=policy.code,
        type=list(policy.types),
        provider_ids=list(policy.provider_ids),
        labels=list(policy.labels),
        severity=policy.severity,
        category=policy.category,
        frameworks=list(policy.frameworks),
        is_enabled=policy.enabled,
        is_default=False,
        created_at=policy.created_at,
        updated_at=policy.updated_at,
    )


def _package_item(package: PolicyPackage) -> PackageItem:
    return PackageItem(
        name=package.name, code=package.code, updated_by=package.updated_by, updated_at=package.updated_at
    )


def _fields(body: PolicyIn, before: PolicyFields | None) -> PolicyFields:
    """Return what a policy says after a request."""
    given: dict[str, Any] = {
        "name": body.name,
        "description": body.description,
        "code": body.code,
        "types": _texts(body.type, "type"),
        "provider_ids": _texts(body.provider_ids, "providerIds"),
        "labels": _texts(body.labels, "labels"),
        "severity": None if body.severity is None else _severity(body.severity),
        "category": body.category,
        "frameworks": _texts(body.frameworks, "frameworks"),
        "enabled": body.is_enabled,
    }
    kept = {} if before is None else {"enabled": before.enabled, "severity": before.severity}
    merged = {**kept, **{name: value for name, value in given.items() if value is not None}}
    merged["name"] = _short(reading.required(merged.get("name"), "name"), "name")
    merged["category"] = _short(merged.get("category") or "", "category")
    reading.required(merged.get("code"), "code")
    if "\0" in (merged.get("description") or ""):
        raise InvalidArgument("Description is not valid: a NUL character is in it")
    return PolicyFields(**merged)


def _texts(value: Any, field: str) -> Sequence[str] | None:  # noqa: ANN401  any JSON
    """Read a list of texts; a single text is a list of one, an empty one is none."""
    if value is None:
        return None
    if isinstance(value, str):
        value = [value] if value else []
    fits = isinstance(value, list) and all(isinstance(one, str) and len(one) <= _LONGEST for one in value)
    if not fits or len(value) > _MOST or any("\0" in one for one in value):
        raise InvalidArgument(f"{reading.title(field)} is not valid: expected a list of short texts")
    return list(value)


def _severity(value: Any) -> int:  # noqa: ANN401  any JSON
    if isinstance(value, str) and value.lower() in LEVELS:
        return LEVELS.index(value.lower()) + 1
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= len(LEVELS):
        return value
    raise InvalidArgument(f"Severity is not valid: 1 to {len(LEVELS)}, for {', '.join(LEVELS)}")


def _short(text: str, field: str) -> str:
    if len(text) > _LONGEST or "\0" in text:
        raise InvalidArgument(f"{reading.title(field)} is not valid: at most {_LONGEST} characters")
    return text


def _bounded(value: int | None, default: int, field: str) -> int:
    most = reading.MAX_PAGE if field == "pageSize" else reading.FARTHEST
    if value is None:
        return default
    if not 1 <= value <= most:
        raise InvalidArgument(f"{reading.title(field)} is not valid: expected 1 to {most}")
    return value


def _sorting(given: Any) -> Sequence[tuple[str, bool]]:  # noqa: ANN401  any JSON
    """Read an order: names, a minus before those that descend, or objects as elsewhere."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list) and all(isinstance(one, str) for one in given):
        named = [(one.lstrip("-+"), one.startswith("-")) for one in given]
        return [(_SORTS[reading.one_of(name, _SORTS, "sorting")], down) for name, down in named]
    return [(_SORTS[name], down) for name, down in reading.sorting(given, _SORTS)]


def governance_routes(h: GovernanceHandlers) -> Iterator[Route]:
    """Yield the operations on policies and packages."""
    read, write = Permission.GUARDRAILS_READ, Permission.GUARDRAILS_WRITE
    base = "/governance/insights"
    one, package = f"{base}/{{policyId}}", "/governance/packages/{package}"
    yield route(
        "POST", base, "listPolicies", "List governance policies.", h.list,
        permission=read, request=PolicyListIn, response=PolicyPage,
    )  # fmt: skip
    yield route(
        "POST", f"{base}/create", "createPolicy", "Make a governance policy.", h.create,
        permission=write, request=PolicyIn, response=PolicyItem,
    )  # fmt: skip
    yield route(
        "PUT", one, "updatePolicy", "Change a governance policy.", h.change,
        permission=write, request=PolicyIn, response=PolicyItem,
    )  # fmt: skip
    yield route(
        "DELETE", one, "deletePolicy", "Delete a governance policy.", h.delete,
        permission=write, response=MessageOut,
    )  # fmt: skip
    yield route(
        "GET", "/governance/packages", "listPackages", "List Rego packages that policies share.", h.packages,
        permission=read, response=list[PackageItem],
    )  # fmt: skip
    yield route(
        "PUT", package, "setPackage", "Set the code of a shared Rego package.", h.put_package,
        permission=write, request=PackageIn, response=PackageItem,
    )  # fmt: skip
    yield route(
        "DELETE", package, "deletePackage", "Delete a shared Rego package.", h.delete_package,
        permission=write, status=204,
    )  # fmt: skip
