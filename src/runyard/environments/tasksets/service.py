"""Verbs of task sets: create, replace, publish, list, resolve, remove."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runyard.database.engine import Database, Transaction
from runyard.database.errors import UniqueViolation
from runyard.environments.packages.service import PackageService, Resolved
from runyard.environments.tasksets import store
from runyard.environments.tasksets.model import Content, Member, SetFilter, TaskSet, TaskSetNotFound, check
from runyard.identity.model import Principal, Scope
from runyard.identity.tenancy import TenancyService
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import AlreadyExists
from runyard.kernel.events import Event
from runyard.kernel.ids import TaskSetId


@dataclass(frozen=True, slots=True)
class SetDetail:
    """A set and what its members are for whoever looks."""

    found: TaskSet
    members: Sequence[tuple[Member, Resolved]]


class TaskSetService:
    """The task sets of all accounts."""

    def __init__(
        self,
        database: Database,
        tenancy: TenancyService,
        packages: PackageService,
        now: Now = utc_now,
    ) -> None:
        """Take the parts."""
        self._database = database
        self._tenancy = tenancy
        self._packages = packages
        self._now = now

    async def create(self, caller: Principal, name: str, content: Content, *, public: bool) -> SetDetail:
        """Make a set in the caller's account. Raises AlreadyExists, InvalidArgument."""
        check(name, content)
        now = self._now()
        row = {
            "id": TaskSetId.new(),
            "account_id": caller.scope.account_id,
            "name": name,
            "is_public": public,
            **_columns(name, content),
            "created_at": now,
            "updated_at": now,
            "created_by": caller.user_name,
        }
        try:
            async with self._database.transaction() as tx:
                await store.insert_set(tx, row, content)
                await tx.record(self._event(caller, row["id"], "created", name))
        except UniqueViolation:
            raise AlreadyExists(f"there is a task set {name} already") from None
        return await self._own(caller, name)

    async def replace(self, caller: Principal, name: str, content: Content) -> SetDetail:
        """Give a set of the caller's account other content; who may see it stays. Raises TaskSetNotFound."""
        check(name, content)
        changes = {**_columns(name, content), "updated_at": self._now()}

        async def change(tx: Transaction) -> None:
            found = await store.lock(tx, caller.scope.account_id, name)
            if found is None:
                raise _absent(name)
            await store.replace(tx, found.id, changes, content)
            await tx.record(self._event(caller, found.id, "replaced", name))

        await self._database.run(change)
        return await self._own(caller, name)

    async def set_public(self, caller: Principal, name: str, *, public: bool) -> SetDetail:
        """Show a set of the caller's account to everybody, or to its account only; its tasks stay as visible as they
        were. Raises TaskSetNotFound.
        """

        async def change(tx: Transaction) -> None:
            found = await store.lock(tx, caller.scope.account_id, name)
            if found is None:
                raise _absent(name)
            await store.set_values(tx, found.id, {"is_public": public, "updated_at": self._now()})
            what = "published" if public else "unpublished"
            await tx.record(self._event(caller, found.id, what, name))

        await self._database.run(change)
        return await self._own(caller, name)

    async def delete(self, caller: Principal, name: str) -> None:
        """Remove a set of the caller's account; its tasks stay. Raises TaskSetNotFound."""

        async def change(tx: Transaction) -> None:
            found = await store.lock(tx, caller.scope.account_id, name)
            if found is None:
                raise _absent(name)
            await store.remove(tx, found.id)
            await tx.record(self._event(caller, found.id, "deleted", name))

        await self._database.run(change)

    async def get(self, scope: Scope, org: str, name: str) -> SetDetail:
        """Find a set of an organization, the own one or a public one of another. Raises TaskSetNotFound."""
        own = await self._tenancy.account_of(scope)
        owner = own if org in (own.slug, own.id) else await self._tenancy.account_named(org)
        found, members = None, list[Member]()
        if owner is not None:
            async with self._database.read() as tx:
                found = await store.find(tx, owner.id, name)
                if found is not None and (found.public or found.account_id == scope.account_id):
                    members = list(await store.members(tx, found.id))
                else:
                    found = None
        if found is None:
            raise _absent(f"{org}/{name}")
        resolved = await self._packages.resolve(scope, [(one.org, one.name, one.version) for one in members])
        return SetDetail(found, list(zip(members, resolved, strict=True)))

    async def list(self, scope: Scope, wanted: SetFilter) -> tuple[Sequence[TaskSet], int]:
        """List sets that a filter matches, one page of them, and count all."""
        async with self._database.read() as tx:
            return await store.page(tx, scope.account_id, wanted)

    async def facets(self, scope: Scope, wanted: SetFilter) -> Mapping[str, Sequence[tuple[str, int]]]:
        """Count the values by which a listing can be filtered."""
        async with self._database.read() as tx:
            return await store.facets(tx, scope.account_id, wanted)

    async def _own(self, caller: Principal, name: str) -> SetDetail:
        own = await self._tenancy.account_of(caller.scope)
        return await self.get(caller.scope, own.slug, name)

    def _event(self, caller: Principal, set_id: str, what: str, name: str) -> Event:
        return Event(
            account_id=caller.scope.account_id,
            subject_kind="task_set",
            subject_id=set_id,
            type=f"task_set.{what}",
            actor=caller.actor,
            at=self._now(),
            body={"name": name},
        )


def _absent(name: str) -> TaskSetNotFound:
    return TaskSetNotFound(f"Task set not found: {name[:200]}")


def _columns(name: str, content: Content) -> dict[str, Any]:
    words = (name, content.description, content.source, *content.tags)
    return {
        "description": content.description,
        "source": content.source,
        "words": " ".join(word for word in words if word).lower(),
    }
