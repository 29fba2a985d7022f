"""Judging plans. Owns which rules look at a run, how a verdict comes about and what follows from it.

Rules fail closed: a policy that cannot be evaluated counts as violated, with the reason.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from runyard.database.engine import Database, Transaction
from runyard.identity.model import Scope
from runyard.infrastructure.guardrails import store
from runyard.infrastructure.guardrails.errors import NotAcknowledgeable, VerdictNotFound
from runyard.infrastructure.guardrails.judging import cost_message, looks_at, messages, policy_input
from runyard.infrastructure.guardrails.model import (
    Blocked,
    Guardrail,
    PolicyCriteria,
    RuleResult,
    RuleType,
    Verdict,
    Violation,
    blocked_by,
)
from runyard.infrastructure.guardrails.wildcards import matches
from runyard.infrastructure.notifications.model import Told
from runyard.infrastructure.notifications.service import NotificationService
from runyard.infrastructure.plans.model import Cost, PlannedResource, PlanSummary, Subject
from runyard.infrastructure.plans.service import PlanService
from runyard.infrastructure.policies.evaluation import Document, Finding
from runyard.infrastructure.policies.model import LEVELS, Policy
from runyard.infrastructure.policies.service import PolicyService
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.events import Event

KEPT: Final = 1000
"""Violations of one rule in one run that are kept one by one."""
SHOWN: Final = 200
"""Violations that come with a verdict when it is read."""


class JudgeService:
    """Judges plans by the guardrails of their account."""

    def __init__(
        self,
        database: Database,
        plans: PlanService,
        policies: PolicyService,
        notifications: NotificationService,
        now: Now = utc_now,
    ) -> None:
        """Take the parts."""
        self._database = database
        self._plans = plans
        self._policies = policies
        self._notifications = notifications
        self._now = now

    async def judge(self, subject: Subject, summary: PlanSummary) -> Verdict:
        """Judge the plan of a run that was ingested, keep the verdict and tell of it. Judging again replaces a verdict."""
        rules = await self._rules(subject)
        docket = _Docket(rules)
        docket.judge_cost(summary.cost)
        await self._judge_resources(subject, docket)
        results = docket.results()
        verdict = Verdict(
            run_id=str(subject.run_id),
            task_id=str(subject.task_id),
            workspace_id=str(subject.workspace_id),
            blocked=blocked_by(results),
            rules=results,
            violations=docket.violations,
            judged_at=self._now(),
        )
        async with self._database.transaction() as tx:
            await store.put_verdict(tx, subject, verdict)
            await tx.record(_event(subject, "guardrails.judged", "system:guardrails", verdict))
            await self._tell(tx, subject, verdict)
        return msgspec.structs.replace(verdict, violations=verdict.violations[:SHOWN])

    async def _rules(self, subject: Subject) -> Sequence[Guardrail]:
        """Return the rules for a run: of its project or one above, whose scope covers it."""
        async with self._database.read() as tx:
            found = await store.enabled(tx, subject.account_id)
        return [
            rule
            for rule in found
            if subject.project_path.startswith(rule.project_path)
            and rule.scope.covers(subject.workspace_name, subject.repository, subject.branch, subject.labels)
        ]

    async def _judge_resources(self, subject: Subject, docket: "_Docket") -> None:
        """Judge resource by resource in one walk over the plan; policies evaluate one batch while the next is read."""
        wanted = docket.policy_rules
        chosen: Sequence[Policy] = ()
        packages: Mapping[str, str] = {}
        if wanted:
            found, packages = await self._policies.judging(subject.account_id, subject.project_path)
            chosen = [one for one in found if any(_selects(criteria, one) for _, criteria in wanted)]
        if not chosen and not docket.needs_resources:
            return
        bench = _Bench(wanted, chosen)
        async with self._policies.court(chosen, packages) as court:
            async for batch in self._plans.walk(subject.run_id):
                docket.judge_resources(batch)
                documents = bench.documents(batch)
                if documents:
                    docket.add(bench.violations(await court.feed(documents)))
            docket.add(bench.violations(await court.rest()))
            docket.add(bench.broken(court.broken))

    async def verdict(self, scope: Scope, run_id: str) -> Verdict:
        """Return the verdict of a run, with its first 200 violations. Raises VerdictNotFound."""
        async with self._database.read() as tx:
            found = await store.verdict_of(tx, run_id, scope, SHOWN)
        if found is None:
            raise VerdictNotFound
        return found

    async def of_positions(self, run_id: str, positions: Sequence[int]) -> Mapping[int, Sequence[Violation]]:
        """Return the violations of some resources of a run that the caller may see, by their place in the plan."""
        async with self._database.read() as tx:
            return await store.of_positions(tx, run_id, positions)

    async def acknowledge(
        self, tx: Transaction, subject: Subject, actor: str, reason: str | None = None
    ) -> Verdict:
        """Note that somebody who may accepted what flexible rules found, in the transaction that lets the run go on.
        Raises NotAcknowledgeable when a strict rule was violated, none was, or somebody did so before.
        """
        now = self._now()
        changed = await store.acknowledge(
            tx, subject.run_id, actor, None if reason is None else reason[:1024], now
        )
        verdict = await store.verdict_of(tx, subject.run_id, None, SHOWN)
        if changed == 0 or verdict is None:
            blocked = Blocked.NONE if verdict is None else verdict.blocked
            raise NotAcknowledgeable(_REFUSALS[blocked])
        await tx.record(_event(subject, "guardrails.acknowledged", actor, verdict, reason))
        for rule in verdict.violated:
            await self._notifications.tell(
                tx, rule.rule_id, Told.ACKNOWLEDGED, subject.run_id, _message(subject, verdict, rule)
            )
        return verdict

    async def _tell(self, tx: Transaction, subject: Subject, verdict: Verdict) -> None:
        for rule in verdict.violated:
            body = _message(subject, verdict, rule)
            await self._notifications.tell(tx, rule.rule_id, Told.VIOLATED, subject.run_id, body)
            if blocked_by([rule]) is not Blocked.NONE:
                await self._notifications.tell(tx, rule.rule_id, Told.BLOCKED, subject.run_id, body)


class _Docket:
    """What the rules for one run have found so far."""

    def __init__(self, rules: Sequence[Guardrail]) -> None:
        self._rules = rules
        self._counts: dict[str, int] = {str(rule.id): 0 for rule in rules}
        self.violations: list[Violation] = []

    @property
    def policy_rules(self) -> Sequence[tuple[Guardrail, PolicyCriteria]]:
        return [(rule, rule.criteria.policy) for rule in self._rules if rule.criteria.policy is not None]

    @property
    def needs_resources(self) -> bool:
        return any(rule.type in (RuleType.RESOURCE, RuleType.TAG) for rule in self._rules)

    def judge_cost(self, cost: Cost) -> None:
        for rule in self._rules:
            if rule.criteria.cost is not None:
                message = cost_message(rule.criteria.cost, cost)
                if message is not None:
                    self.add([_violation(rule, None, message)])

    def judge_resources(self, resources: Sequence[PlannedResource]) -> None:
        for rule in self._rules:
            self.add(_violation(rule, *found) for found in messages(rule, resources))

    def add(self, found: Iterable[Violation]) -> None:
        for one in found:
            self._counts[one.rule_id] += 1
            if self._counts[one.rule_id] <= KEPT:
                self.violations.append(one)

    def results(self) -> Sequence[RuleResult]:
        return [
            RuleResult(
                rule_id=str(rule.id),
                rule_name=rule.name,
                type=rule.type,
                severity=rule.severity,
                violations=self._counts[rule.id],
            )
            for rule in self._rules
        ]


class _Bench:
    """The policies that some rules chose, and which resources each looks at."""

    def __init__(self, rules: Sequence[tuple[Guardrail, PolicyCriteria]], policies: Sequence[Policy]) -> None:
        self._policies = policies
        self._rules_of = [
            [rule for rule, criteria in rules if _selects(criteria, policy)] for policy in policies
        ]
        self._seen: list[PlannedResource] = []
        self._first = 0
        self._latest = 0
        self._asked: set[int] = set()

    def documents(self, resources: Sequence[PlannedResource]) -> Sequence[Document]:
        """Return what is to be evaluated of a batch. Findings may come one batch later."""
        documents = []
        seen = []
        for resource in resources:
            looking = self._looking(resource)
            shown = policy_input(resource) if looking else None
            if shown is not None:
                seen.append(resource)
                self._asked.update(looking)
                documents.append(Document(shown, looking))
        if documents:
            self._first += len(self._seen) - self._latest
            self._seen = [*self._seen[len(self._seen) - self._latest :], *seen]
            self._latest = len(seen)
        return documents

    def _looking(self, resource: PlannedResource) -> list[int]:
        return [
            index
            for index, policy in enumerate(self._policies)
            if any(looks_at(rule, resource) for rule in self._rules_of[index])
            and (not policy.types or any(matches(one, resource.type) for one in policy.types))
        ]

    def violations(self, findings: Sequence[Finding]) -> Iterator[Violation]:
        for finding in findings:
            policy, resource = self._policies[finding.policy], self._seen[finding.number - self._first]
            text = f"{resource.address} violates {policy.name}"
            if finding.failed:
                text = f"{policy.name} could not be evaluated for {resource.address}: {finding.message}"
            elif finding.message:
                text = f"{text}: {finding.message}"
            for rule in self._rules_of[finding.policy]:
                if looks_at(rule, resource):
                    yield _violation(rule, resource, text)

    def broken(self, reasons: Mapping[int, str]) -> Iterator[Violation]:
        for index in sorted(self._asked & reasons.keys()):
            reason = reasons[index]
            text = f"{self._policies[index].name} could not be evaluated: {reason}"
            for rule in self._rules_of[index]:
                yield _violation(rule, None, text)


_REFUSALS: Final = {
    Blocked.NONE: "no guardrail blocks the run",
    Blocked.FLEXIBLE: "the violation was acknowledged before",
    Blocked.STRICT: "a strict guardrail is violated: nobody may override it, only a new plan helps",
}


def _selects(criteria: PolicyCriteria, policy: Policy) -> bool:
    """Tell whether criteria choose a policy: severe enough, and in the selection by name or id."""
    least = LEVELS.index(criteria.severity.lower()) + 1
    return policy.severity >= least and criteria.policies.has_any((policy.name, policy.id))


def _violation(rule: Guardrail, resource: PlannedResource | None, message: str) -> Violation:
    return Violation(
        rule_id=str(rule.id),
        rule_name=rule.name,
        type=rule.type,
        severity=rule.severity,
        position=None if resource is None else resource.position,
        address="" if resource is None else resource.address,
        message=message.replace("\0", "\ufffd")[:1024],
    )


def _event(subject: Subject, kind: str, actor: str, verdict: Verdict, reason: str | None = None) -> Event:
    return Event(
        account_id=subject.account_id,
        subject_kind="run",
        subject_id=subject.run_id,
        type=kind,
        actor=actor,
        at=verdict.acknowledged_at or verdict.judged_at,
        reason=reason or verdict.sentence() or None,
        body={
            "workspace_id": str(subject.workspace_id),
            "blocked": verdict.blocked.value,
            "rules": [
                {"id": one.rule_id, "name": one.rule_name, "violations": one.violations}
                for one in verdict.violated[:50]
            ],
        },
    )


def _message(subject: Subject, verdict: Verdict, rule: RuleResult) -> Mapping[str, object]:
    """Return what a notification says of one rule: names and counts, no value of a resource."""
    found = [one for one in verdict.violations if one.rule_id == rule.rule_id]
    return {
        "accountId": str(subject.account_id),
        "workspaceId": str(subject.workspace_id),
        "workspaceName": subject.workspace_name,
        "repository": subject.repository,
        "branch": subject.branch,
        "runId": str(subject.run_id),
        "taskId": str(subject.task_id),
        "rule": {
            "id": rule.rule_id,
            "name": rule.rule_name,
            "type": rule.type.value,
            "severity": rule.severity.name.lower(),
        },
        "violations": rule.violations,
        "first": [{"address": one.address, "message": one.message} for one in found[:10]],
        "blocked": verdict.blocked.value,
        "acknowledgedBy": verdict.acknowledged_by,
    }
