"""Verbs of guardrails: the rules themselves. Owns what a rule must say; judges nothing."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from runyard.database.engine import Database, Transaction
from runyard.identity.model import Principal, Scope
from runyard.infrastructure.guardrails import store
from runyard.infrastructure.guardrails.documents import intersects, read_criteria, read_scope
from runyard.infrastructure.guardrails.errors import GuardrailNotFound
from runyard.infrastructure.guardrails.model import Guardrail, GuardrailId, RuleType, Severity
from runyard.infrastructure.notifications.model import NewNotification
from runyard.infrastructure.notifications.service import NotificationService
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import InvalidArgument, LimitExceeded
from runyard.kernel.events import Event

MAX_RULES: Final = 1000
"""Guardrails of one account."""
MAX_NAME: Final = 100


class NewGuardrail(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says of a rule. Scope and criteria are documents, as they came."""

    created_by: str
    name: str
    type: RuleType
    scope: Mapping[str, Any] | None = None
    criteria: Mapping[str, Any] | None = None
    enabled: bool
    severity: Severity
    enforce_on_no_op: bool = False
    notification_id: str | None = None
    notification: NewNotification | None = None


class GuardrailChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a rule; None leaves it."""

    created_by: str | None = None
    name: str
    type: RuleType
    scope: Mapping[str, Any] | None = None
    criteria: Mapping[str, Any] | None = None
    enabled: bool
    severity: Severity | None = None
    enforce_on_no_op: bool | None = None
    notification_id: str | None = None
    notification: NewNotification | None = None


class GuardrailFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which rules to list: any of each list, all that is given."""

    search: str = ""
    created_by: Sequence[str] = ()
    types: Sequence[str] = ()
    workspaces: Sequence[str] = ()
    repositories: Sequence[str] = ()
    branches: Sequence[str] = ()
    labels: Sequence[str] = ()
    sorting: Sequence[tuple[str, bool]] = ()
    """Fields of `SORTED` and whether each descends."""


SORTED: Final[Mapping[str, Callable[[Guardrail], Any]]] = {
    "createdAt": lambda one: (one.created_at, one.id),
    "accountId": lambda one: one.account_id,
    "createdBy": lambda one: one.created_by.lower(),
    "name": lambda one: one.name.lower(),
    "severity": lambda one: one.severity,
}


class GuardrailService:
    """The guardrails of all accounts."""

    def __init__(self, database: Database, notifications: NotificationService, now: Now = utc_now) -> None:
        """Take the parts."""
        self._database = database
        self._notifications = notifications
        self._now = now

    async def search(
        self, scope: Scope, wanted: GuardrailFilter, offset: int, limit: int
    ) -> Sequence[Guardrail]:
        """List rules, newest first unless sorted otherwise."""
        async with self._database.read() as tx:
            found = [one for one in await store.in_scope(tx, scope) if _fits(one, wanted)]
        for field, descending in reversed(wanted.sorting):
            found.sort(key=SORTED[field], reverse=descending)
        return found[offset : offset + limit]

    async def get(self, scope: Scope, rule_id: str) -> Guardrail:
        """Return a rule. Raises GuardrailNotFound."""
        async with self._database.read() as tx:
            found = await store.find(tx, scope, rule_id)
        if found is None:
            raise GuardrailNotFound(rule_id)
        return found

    async def create(self, caller: Principal, new: NewGuardrail) -> tuple[Guardrail, str]:
        """Add a rule for the caller's project and all below it; return it with the key of its notification, when one was
        made for it. Raises InvalidArgument, DestinationRefused, LimitExceeded.
        """
        scope, scope_document = read_scope(new.scope)
        criteria, criteria_document = read_criteria(new.type, new.criteria)
        now = self._now()
        rule_id = GuardrailId.new()
        made = self._notifications.prepare(caller.scope.account_id, rule_id, new.notification)
        rule = Guardrail(
            id=rule_id,
            account_id=caller.scope.account_id,
            project_id=caller.scope.project_id,
            project_path=caller.scope.project_path,
            created_by=_text(new.created_by, "Created By", 256),
            name=_text(new.name, "Name", MAX_NAME),
            type=new.type,
            scope=scope,
            criteria=criteria,
            scope_document=scope_document,
            criteria_document=criteria_document,
            enabled=new.enabled,
            severity=new.severity,
            enforce_on_no_op=new.enforce_on_no_op,
            notification_id=new.notification_id or made.id,
            created_at=now,
            updated_at=now,
        )
        async with self._database.transaction() as tx:
            if await store.count(tx, rule.account_id) >= MAX_RULES:
                raise LimitExceeded(f"an account has at most {MAX_RULES} guardrails")
            await store.add(tx, rule)
            await self._notifications.put(tx, made)
            await tx.record(_event(rule, "guardrail.created", caller, now))
        return rule, made.secret

    async def change(self, caller: Principal, rule_id: str, changes: GuardrailChanges) -> Guardrail:
        """Change a rule. Raises GuardrailNotFound, InvalidArgument, DestinationRefused."""
        facts = _checked(changes)
        made = None
        if changes.notification is not None:
            made = self._notifications.prepare(caller.scope.account_id, rule_id, changes.notification)
            facts["notification_id"] = changes.notification_id or made.id

        async def work(tx: Transaction) -> Guardrail:
            before = await store.find(tx, caller.scope, rule_id, locked=True)
            if before is None:
                raise GuardrailNotFound(rule_id)
            if changes.criteria is None and changes.type is not before.type:
                facts["criteria"], facts["criteria_document"] = read_criteria(changes.type, None)
            now = self._now()
            rule = msgspec.structs.replace(before, type=changes.type, updated_at=now, **facts)
            await store.change(tx, caller.scope, rule)
            if made is not None:
                await self._notifications.remove(tx, rule.id)
                await self._notifications.put(tx, made)
            await tx.record(_event(rule, "guardrail.changed", caller, now))
            return rule

        return await self._database.run(work)

    async def delete(self, caller: Principal, rule_id: str) -> None:
        """Remove a rule and its notification. Raises GuardrailNotFound."""
        rule = await self.get(caller.scope, rule_id)
        async with self._database.transaction() as tx:
            if await store.remove(tx, caller.scope, rule_id) == 0:
                raise GuardrailNotFound(rule_id)
            await self._notifications.remove(tx, rule.id)
            await tx.record(_event(rule, "guardrail.deleted", caller, self._now()))


def _checked(changes: GuardrailChanges) -> dict[str, Any]:
    """Return what changes of a rule. Raises InvalidArgument."""
    facts: dict[str, Any] = {"name": _text(changes.name, "Name", MAX_NAME), "enabled": changes.enabled}
    if changes.created_by is not None:
        facts["created_by"] = _text(changes.created_by, "Created By", 256)
    if changes.scope is not None:
        facts["scope"], facts["scope_document"] = read_scope(changes.scope)
    if changes.criteria is not None:
        read = read_criteria(changes.type, changes.criteria)
        facts["criteria"], facts["criteria_document"] = read
    if changes.severity is not None:
        facts["severity"] = changes.severity
    if changes.enforce_on_no_op is not None:
        facts["enforce_on_no_op"] = changes.enforce_on_no_op
    if changes.notification_id is not None:
        facts["notification_id"] = changes.notification_id
    return facts


def _fits(rule: Guardrail, wanted: GuardrailFilter) -> bool:
    scope, text = rule.scope, wanted.search.lower()
    return (
        (not wanted.created_by or rule.created_by in wanted.created_by)
        and (not wanted.types or rule.type.value in wanted.types)
        and intersects(wanted.workspaces, scope.workspaces.include)
        and intersects(wanted.repositories, scope.repositories.include)
        and intersects(wanted.branches, scope.branches.include)
        and intersects(wanted.labels, scope.labels.include)
        and (not text or text in rule.name.lower() or text in rule.created_by.lower())
    )


def _text(value: str, named: str, longest: int) -> str:
    if not value.strip():
        raise InvalidArgument(f"{named} is required")
    if len(value) > longest or "\0" in value:
        raise InvalidArgument(f"{named} is not valid: at most {longest} characters")
    return value


def _event(rule: Guardrail, kind: str, caller: Principal, at: datetime) -> Event:
    return Event(
        account_id=rule.account_id,
        subject_kind="guardrail",
        subject_id=rule.id,
        type=kind,
        actor=caller.actor,
        at=at,
        body={"name": rule.name, "enabled": rule.enabled, "severity": int(rule.severity)},
    )
