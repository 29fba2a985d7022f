"""Verbs of governance policies and shared packages. Owns what is accepted: only code that the interpreter can run."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import msgspec

from runyard.database.engine import Database
from runyard.identity.model import Principal, Scope
from runyard.infrastructure.policies import store
from runyard.infrastructure.policies.errors import PackageNotFound, PolicyInvalid, PolicyNotFound
from runyard.infrastructure.policies.evaluation import Document, Evaluation, EvaluationOptions, Finding
from runyard.infrastructure.policies.model import (
    Policy,
    PolicyFields,
    PolicyFilter,
    PolicyId,
    PolicyPackage,
)
from runyard.infrastructure.policies.needs import Reads, attributes_read, narrowed
from runyard.infrastructure.policies.source import PACKAGE_NAME, RULE, decoded, has_rule
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import InvalidArgument, LimitExceeded, PermissionDenied
from runyard.kernel.events import Event
from runyard.kernel.ids import AccountId
from runyard.runtimes.isolation.workers import Workers

MAX_POLICIES: Final = 1000
"""Policies of one account."""
_SAMPLE: Final = {
    "resource_type": "",
    "configuration": {},
    "action": "create",
    "actions": ["create"],
    "address": "",
}


class PolicyService:
    """The policies of all accounts."""

    def __init__(self, database: Database, options: EvaluationOptions, now: Now = utc_now) -> None:
        """Take the parts; at most 2 evaluations run at once, the others wait."""
        self._database = database
        self._options = options
        self._now = now
        self._workers = Workers("policies", 2)

    def close(self) -> None:
        """Wait for running evaluations."""
        self._workers.close()

    async def list(
        self, scope: Scope, wanted: PolicyFilter, offset: int, limit: int
    ) -> tuple[Sequence[Policy], int]:
        """List policies, newest first unless sorted otherwise, and count all that the filter matches."""
        async with self._database.read() as tx:
            found = [one for one in await store.all_policies(tx, scope) if _fits(one, wanted)]
        for field, descending in reversed(wanted.sorting):
            found.sort(key=lambda one: _sortable(one, field), reverse=descending)
        return found[offset : offset + limit], len(found)

    async def get(self, scope: Scope, policy_id: str) -> Policy:
        """Return a policy. Raises PolicyNotFound."""
        async with self._database.read() as tx:
            found = await store.find(tx, scope, policy_id)
        if found is None:
            raise PolicyNotFound
        return found

    async def create(self, caller: Principal, fields: PolicyFields) -> Policy:
        """Add a policy in the caller's project. Raises PolicyInvalid, LimitExceeded."""
        await self._check(caller.scope.account_id, fields.code)
        now = self._now()
        policy = Policy(
            id=PolicyId.new(),
            account_id=caller.scope.account_id,
            project_id=caller.scope.project_id,
            project_path=caller.scope.project_path,
            created_by=caller.actor,
            created_at=now,
            updated_at=now,
            **msgspec.structs.asdict(fields),
        )
        async with self._database.transaction() as tx:
            if await store.count(tx, policy.account_id) >= MAX_POLICIES:
                raise LimitExceeded(f"an account has at most {MAX_POLICIES} policies")
            await store.add(tx, policy)
            await tx.record(_event(policy.account_id, policy.id, "policy.created", caller, now))
        return policy

    async def change(self, caller: Principal, policy_id: str, fields: PolicyFields) -> Policy:
        """Replace what a client says of a policy. Raises PolicyNotFound, PolicyInvalid."""
        before = await self.get(caller.scope, policy_id)
        if fields.code != before.code:
            await self._check(caller.scope.account_id, fields.code)
        now = self._now()
        after = msgspec.structs.replace(before, updated_at=now, **msgspec.structs.asdict(fields))
        async with self._database.transaction() as tx:
            if await store.change(tx, caller.scope, after) == 0:
                raise PolicyNotFound
            await tx.record(_event(after.account_id, after.id, "policy.changed", caller, now))
        return after

    async def delete(self, caller: Principal, policy_id: str) -> None:
        """Remove a policy. Raises PolicyNotFound."""
        async with self._database.transaction() as tx:
            if await store.remove(tx, caller.scope, policy_id) == 0:
                raise PolicyNotFound
            account = caller.scope.account_id
            await tx.record(_event(account, policy_id, "policy.deleted", caller, self._now()))

    async def packages(self, account: AccountId) -> Sequence[PolicyPackage]:
        """List the shared packages of an account, by name."""
        async with self._database.read() as tx:
            return await store.packages(tx, account)

    async def put_package(self, caller: Principal, name: str, code: str) -> PolicyPackage:
        """Set the code (base64) of a shared package. Raises PolicyInvalid, InvalidArgument, PermissionDenied."""
        _refuse_part(caller)
        if PACKAGE_NAME.match(name) is None:
            raise InvalidArgument("Name is not valid: expected letters, digits and underscores, at most 128")
        text = decoded(code)
        probe = f"import data.firefly.packages.{name}\n{RULE} {{ false }}"
        account = caller.scope.account_id
        shared = {**await self._shared(account), name: text}
        await self._refuse_broken([probe], shared)
        package = PolicyPackage(name=name, code=code, updated_by=caller.actor, updated_at=self._now())
        async with self._database.transaction() as tx:
            await store.put_package(tx, account, package)
            event = _event(account, name, "policy_package.changed", caller, package.updated_at)
            await tx.record(event)
        return package

    async def delete_package(self, caller: Principal, name: str) -> None:
        """Remove a shared package. Raises PackageNotFound, PermissionDenied."""
        _refuse_part(caller)
        account = caller.scope.account_id
        async with self._database.transaction() as tx:
            if await store.remove_package(tx, account, name) == 0:
                raise PackageNotFound
            await tx.record(_event(account, name, "policy_package.deleted", caller, self._now()))

    async def judging(
        self, account: AccountId, project_path: str
    ) -> tuple[Sequence[Policy], Mapping[str, str]]:
        """Return the policies that count for a project, those of the projects above included, and the shared packages
        by name.
        """
        async with self._database.read() as tx:
            found = await store.enabled(tx, account)
        return [one for one in found if project_path.startswith(one.project_path)], await self._shared(
            account
        )

    @asynccontextmanager
    async def court(self, policies: Sequence[Policy], packages: Mapping[str, str]) -> AsyncIterator["Court"]:
        """Hold an evaluation by some policies."""
        texts = [decoded(one.code) for one in policies]
        reads = attributes_read([*texts, *packages.values()])
        court = Court(Evaluation(texts, packages, self._options), self._workers, reads)
        try:
            yield court
        finally:
            await court.close()

    async def _shared(self, account: AccountId) -> dict[str, str]:
        return {one.name: decoded(one.code) for one in await self.packages(account)}

    async def _check(self, account: AccountId, code: str) -> None:
        text = decoded(code)
        if not has_rule(text):
            raise PolicyInvalid(f"Code is not valid: it has no rule that is named {RULE}")
        await self._refuse_broken([text], await self._shared(account))

    async def _refuse_broken(self, texts: Sequence[str], packages: Mapping[str, str]) -> None:
        """Try code on an empty resource, so that who writes it learns what the interpreter makes of it."""

        def tried() -> Mapping[int, str]:
            with Evaluation(texts, packages, self._options) as evaluation:
                evaluation.check(_SAMPLE)
                return evaluation.broken

        broken = await self._workers.run(tried)
        for reason in broken.values():
            raise PolicyInvalid(f"Code is not valid: {reason}")


class Court:
    """An evaluation that works on one batch while the next one is made."""

    def __init__(self, evaluation: Evaluation, workers: Workers, reads: Reads | None) -> None:
        """Feed an evaluation in threads; `reads` are the attributes that its policies look at, None for all."""
        self._evaluation = evaluation
        self._workers = workers
        self._reads = reads
        self._working: asyncio.Future[list[Finding]] | None = None

    @property
    def broken(self) -> Mapping[int, str]:
        """Policies that were dropped, and why."""
        return self._evaluation.broken

    async def feed(self, documents: Sequence[Document]) -> Sequence[Finding]:
        """Hand over a batch and return what was found in the one before."""
        found = await self.rest()
        narrow = [Document(narrowed(one.input, self._reads), one.policies) for one in documents]
        work = self._workers.run(self._evaluation.feed, narrow)
        self._working = asyncio.ensure_future(work)
        return found

    async def rest(self) -> Sequence[Finding]:
        """Return what was found in the last batch."""
        working, self._working = self._working, None
        return [] if working is None else await working

    async def close(self) -> None:
        """End the evaluation, once no thread works on it any more."""
        if self._working is not None:
            with contextlib.suppress(Exception):
                await self._working
        await self._workers.run(self._evaluation.close)


def _fits(policy: Policy, wanted: PolicyFilter) -> bool:
    text = wanted.query.lower()
    lists = (
        (wanted.frameworks, policy.frameworks),
        (wanted.types, policy.types),
        (wanted.providers, policy.provider_ids),
    )
    return (
        (not wanted.ids or policy.id in wanted.ids)
        and (not wanted.severities or policy.severity in wanted.severities)
        and (not wanted.category or policy.category.lower() == wanted.category.lower())
        and (policy.enabled or not wanted.only_enabled)
        and set(wanted.labels) <= set(policy.labels)
        and all(not asked or not set(asked).isdisjoint(has) for asked, has in lists)
        and (not text or text in policy.name.lower() or text in policy.description.lower())
    )


def _refuse_part(caller: Principal) -> None:
    """Let only who sees the whole account change what its policies share: whoever administers a project below would
    decide what the guardrails above that project find. Raises PermissionDenied.
    """
    if len(caller.scope.project_path.strip("/").split("/")) > 1:
        raise PermissionDenied("a shared package belongs to the whole account, not to a project of it")


def _sortable(policy: Policy, field: str) -> Any:  # noqa: ANN401  text, number or time
    value = getattr(policy, field)
    return value.lower() if isinstance(value, str) else value


def _event(account: str, subject: str, kind: str, caller: Principal, at: datetime) -> Event:
    return Event(
        account_id=account,
        subject_kind="policy",
        subject_id=subject[:64],
        type=kind,
        actor=caller.actor,
        at=at,
    )
