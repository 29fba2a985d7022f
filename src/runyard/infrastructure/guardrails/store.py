"""Statements on guardrails and verdicts. Owns the SQL; decides nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, delete, func, insert, select, update

from runyard.database.engine import Transaction
from runyard.identity.model import Scope
from runyard.identity.scoping import scoped, visible
from runyard.infrastructure.guardrails.model import (
    Blocked,
    Criteria,
    Guardrail,
    GuardrailId,
    RuleResult,
    RuleScope,
    RuleType,
    Severity,
    Verdict,
    Violation,
)
from runyard.infrastructure.guardrails.tables import guardrails, verdicts, violations
from runyard.infrastructure.plans.model import Subject
from runyard.kernel.ids import AccountId, ProjectId

_g, _v, _x = guardrails.c, verdicts.c, violations.c
_BATCH: Final = 500


async def in_scope(tx: Transaction, scope: Scope) -> Sequence[Guardrail]:
    """Read the guardrails of a scope, newest first."""
    statement = scoped(select(guardrails), guardrails, scope)
    return [_rule(row) for row in await tx.all(statement.order_by(_g.created_at.desc(), _g.id.desc()))]


async def enabled(tx: Transaction, account: AccountId) -> Sequence[Guardrail]:
    """Read all guardrails of an account that are switched on, oldest first."""
    wanted = (_g.account_id == account) & _g.enabled.is_(True)
    return [_rule(row) for row in await tx.all(select(guardrails).where(wanted).order_by(_g.id))]


async def count(tx: Transaction, account: AccountId) -> int:
    """Count the guardrails of an account."""
    counted = select(func.count()).select_from(guardrails).where(_g.account_id == account)
    return int(await tx.scalar(counted) or 0)


async def find(tx: Transaction, scope: Scope, rule_id: str, *, locked: bool = False) -> Guardrail | None:
    """Read a guardrail, to be changed in this transaction when it is `locked`."""
    statement = scoped(select(guardrails), guardrails, scope).where(_g.id == rule_id)
    row = await tx.one_or_none(statement.with_for_update() if locked else statement)
    return None if row is None else _rule(row)


async def add(tx: Transaction, rule: Guardrail) -> None:
    """Write a new guardrail."""
    await tx.execute(
        insert(guardrails).values(
            id=rule.id,
            account_id=rule.account_id,
            project_id=rule.project_id,
            project_path=rule.project_path,
            created_at=rule.created_at,
            **_values(rule),
        )
    )


async def change(tx: Transaction, scope: Scope, rule: Guardrail) -> int:
    """Write a changed guardrail; return how many there were."""
    wanted = visible(guardrails, scope) & (_g.id == rule.id)
    return (await tx.execute(update(guardrails).where(wanted).values(_values(rule)))).rowcount


async def remove(tx: Transaction, scope: Scope, rule_id: str) -> int:
    """Remove a guardrail; return how many there were."""
    return (
        await tx.execute(delete(guardrails).where(visible(guardrails, scope) & (_g.id == rule_id)))
    ).rowcount


async def put_verdict(tx: Transaction, subject: Subject, verdict: Verdict) -> None:
    """Write the verdict of a run in the place of one that it had."""
    await tx.execute(delete(verdicts).where(_v.run_id == verdict.run_id))
    await tx.execute(
        insert(verdicts).values(
            run_id=verdict.run_id,
            account_id=subject.account_id,
            project_path=subject.project_path,
            workspace_id=subject.workspace_id,
            task_id=subject.task_id,
            blocked=verdict.blocked.value,
            rules=msgspec.to_builtins(verdict.rules, enc_hook=str),
            judged_at=verdict.judged_at,
        )
    )
    rows = [
        {"run_id": verdict.run_id, "number": number, **msgspec.to_builtins(one, enc_hook=str)}
        for number, one in enumerate(verdict.violations)
    ]
    for start in range(0, len(rows), _BATCH):
        await tx.execute(insert(violations), rows[start : start + _BATCH])


async def verdict_of(tx: Transaction, run_id: str, scope: Scope | None, limit: int) -> Verdict | None:
    """Read the verdict of a run with its first violations; None as the scope is the server itself."""
    statement = select(verdicts).where(_v.run_id == run_id)
    if scope is not None:
        statement = scoped(statement, verdicts, scope)
    row = await tx.one_or_none(statement)
    if row is None:
        return None
    found = select(violations).where(_x.run_id == run_id).order_by(_x.number).limit(limit)
    return Verdict(
        run_id=row.run_id,
        task_id=row.task_id,
        workspace_id=row.workspace_id,
        blocked=Blocked(row.blocked),
        rules=msgspec.convert(row.rules, tuple[RuleResult, ...]),
        violations=[_violation(one) for one in await tx.all(found)],
        judged_at=row.judged_at,
        acknowledged_by=row.acknowledged_by,
        acknowledged_at=row.acknowledged_at,
        acknowledged_reason=row.acknowledged_reason,
    )


async def of_positions(
    tx: Transaction, run_id: str, positions: Sequence[int]
) -> Mapping[int, Sequence[Violation]]:
    """Read the violations of some resources of a run by their place in the plan."""
    found: dict[int, list[Violation]] = {}
    for start in range(0, len(positions), _BATCH):
        wanted = (_x.run_id == run_id) & _x.position.in_(positions[start : start + _BATCH])
        for row in await tx.all(select(violations).where(wanted).order_by(_x.number)):
            found.setdefault(row.position, []).append(_violation(row))
    return found


async def acknowledge(tx: Transaction, run_id: str, actor: str, reason: str | None, now: datetime) -> int:
    """Note who accepted what a verdict found; return whether there was such a one, once."""
    wanted = (_v.run_id == run_id) & (_v.blocked == Blocked.FLEXIBLE.value) & _v.acknowledged_by.is_(None)
    values = {"acknowledged_by": actor, "acknowledged_at": now, "acknowledged_reason": reason}
    return (await tx.execute(update(verdicts).where(wanted).values(values))).rowcount


def _values(rule: Guardrail) -> dict[str, Any]:
    return {
        "created_by": rule.created_by,
        "name": rule.name,
        "type": rule.type.value,
        "scope": rule.scope_document,
        "criteria": rule.criteria_document,
        "enabled": rule.enabled,
        "severity": int(rule.severity),
        "enforce_on_no_op": rule.enforce_on_no_op,
        "notification_id": rule.notification_id,
        "updated_at": rule.updated_at,
    }


def _rule(row: Row[Any]) -> Guardrail:
    return Guardrail(
        id=GuardrailId(row.id),
        account_id=AccountId(row.account_id),
        project_id=ProjectId(row.project_id),
        project_path=row.project_path,
        created_by=row.created_by,
        name=row.name,
        type=RuleType(row.type),
        scope=msgspec.convert(row.scope, RuleScope),
        criteria=msgspec.convert(row.criteria, Criteria),
        scope_document=row.scope,
        criteria_document=row.criteria,
        enabled=row.enabled,
        severity=Severity(row.severity),
        enforce_on_no_op=row.enforce_on_no_op,
        notification_id=row.notification_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _violation(row: Row[Any]) -> Violation:
    return Violation(
        rule_id=row.rule_id,
        rule_name=row.rule_name,
        type=RuleType(row.type),
        severity=Severity(row.severity),
        position=row.position,
        address=row.address,
        message=row.message,
    )
