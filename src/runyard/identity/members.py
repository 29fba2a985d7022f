"""Verbs of members and users: who has which role on a project. Owns the ways in which a user is named.

Roles reach down the tree; what a role allows is in the model. A user may be named by id, name or e-mail address.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from runyard.database.engine import Database, Transaction
from runyard.database.retrying import run_upsert
from runyard.identity import people
from runyard.identity.errors import LastAdmin
from runyard.identity.model import Member, Permission, Principal, Project, Role, User, UserKind
from runyard.identity.scoping import is_whole_account
from runyard.identity.service import IdentityService
from runyard.identity.store import insert_user, set_member
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.events import Event
from runyard.kernel.ids import AccountId, ProjectId, UserId

LONGEST = 256
LONGEST_ADDRESS = 320


@dataclass(frozen=True, slots=True)
class NewMember:
    """Whom to add with which role; a user that nobody knows is made under this name."""

    reference: str
    role: Role
    email: str | None = None


class MemberService:
    """The members of all projects."""

    def __init__(self, database: Database, identity: IdentityService, now: Now = utc_now) -> None:
        """Take the parts."""
        self._database = database
        self._identity = identity
        self._now = now

    async def list(self, caller: Principal, project_id: str) -> Sequence[Member]:
        """List the members of one project, in the order in which they came. Raises NotFound."""
        async with self._database.read() as tx:
            project = await self._identity.visible_project(tx, caller.scope, project_id)
            return await people.members_of(tx, project.id)

    async def count(self, account_id: AccountId) -> Mapping[ProjectId, int]:
        """Count the members of each project of an account that has any."""
        async with self._database.read() as tx:
            return await people.count_members(tx, account_id)

    async def add(self, caller: Principal, project_id: str, new: Sequence[NewMember]) -> Sequence[Member]:
        """Give roles on a project; who was a member gets the new role. All or none.
        Raises NotFound, PermissionDenied, InvalidArgument, LastAdmin (whoever gets a lesser one).
        """
        caller.require(Permission.ADMIN)

        async def work(tx: Transaction) -> Sequence[Member]:
            project = await self._identity.visible_project(tx, caller.scope, project_id)
            before = await people.lock_members(tx, project.id)
            given = [await self._add(tx, caller, project, one) for one in new]
            await _keep_an_admin(tx, project, before)
            return given

        # Clients add one new user to several projects at once: whoever comes second finds it the next time.
        added = await run_upsert(self._database, work)
        for member in added:
            self._identity.forget_user(member.user.id)
        return added

    async def _add(self, tx: Transaction, caller: Principal, project: Project, new: NewMember) -> Member:
        if not new.reference.strip() or len(new.reference) > LONGEST or "\0" in new.reference:
            raise InvalidArgument(f"a user needs a name of 1 to {LONGEST} characters")
        if new.email and (len(new.email) > LONGEST_ADDRESS or "\0" in new.email):
            raise InvalidArgument(f"an e-mail address has at most {LONGEST_ADDRESS} characters")
        now, account_id = self._now(), project.account_id
        user = await people.find_user(tx, account_id, new.reference)
        if user is None:
            user = User(
                id=UserId.new(), account_id=account_id, name=new.reference, kind=UserKind.USER, created_at=now,
                email=new.email or (new.reference if "@" in new.reference else None),
            )  # fmt: skip
            await insert_user(tx, user)
            await tx.record(_event(project, user, "user.created", caller, now))
        elif new.email and _takes_address(caller, user, new.reference):
            user = await people.set_email(tx, user, new.email)
        await set_member(tx, project.id, user.id, new.role, now, new.reference)
        await tx.record(_event(project, user, "member.added", caller, now, role=new.role.value))
        return Member(user=user, role=new.role, reference=new.reference)

    async def remove(self, caller: Principal, project_id: str, references: Sequence[str]) -> None:
        """Take roles on a project away; who is no member is passed over. Raises NotFound, PermissionDenied, LastAdmin."""
        caller.require(Permission.ADMIN)
        async with self._database.transaction() as tx:
            project = await self._identity.visible_project(tx, caller.scope, project_id)
            members = await people.lock_members(tx, project.id)
            gone = [
                one
                for one in members
                if {one.reference, one.user.id, one.user.name, one.user.email} & set(references)
            ]
            for member in gone:
                await people.remove_member(tx, project.id, member.user.id)
            await _keep_an_admin(tx, project, members)
            for member in gone:
                await tx.record(_event(project, member.user, "member.removed", caller, self._now()))
        for member in gone:
            self._identity.forget_user(member.user.id)

    async def users(
        self, caller: Principal, search: str = "", offset: int = 0, limit: int = 100
    ) -> Sequence[User]:
        """List the users that have a role somewhere on the caller's part of the tree or above it, by name; an
        administrator of the account sees all of them.
        """
        async with self._database.read() as tx:
            return await people.users_in(tx, caller.scope, search, offset, limit)


def _takes_address(caller: Principal, user: User, reference: str) -> bool:
    """Tell whether a user gets the e-mail address that comes with a role: whoever administers only a part of the account
    may not change one that is known, and nobody changes the one by which the user was named.
    """
    return user.email is None or (is_whole_account(caller.scope) and reference != user.email)


async def _keep_an_admin(tx: Transaction, project: Project, before: Sequence[Member]) -> None:
    """Refuse to leave a whole account without anybody who may manage it. `before` was read under a lock: of two who
    remove each other the second one sees what the first did. Raises LastAdmin.
    """
    if project.parent_id is None and any(one.role is Role.ADMIN for one in before):
        left = await people.members_of(tx, project.id)
        if not any(one.role is Role.ADMIN for one in left):
            raise LastAdmin


def _event(project: Project, user: User, name: str, caller: Principal, at: datetime, **body: str) -> Event:
    return Event(
        account_id=project.account_id,
        subject_kind="project",
        subject_id=project.id,
        type=name,
        actor=caller.actor,
        at=at,
        body={"user": user.name, **body},
    )
