"""What actions may ask of the server: never more than the token of their run, and under roles what those grant."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runyard.actions.access.model import Access, Grant
from runyard.actions.access.service import AccessService
from runyard.actions.catalogue import Registered
from runyard.actions.datastore import DatastoreService
from runyard.actions.packs.service import PackService
from runyard.actions.runners.answers import ServerAnswers
from runyard.actions.runners.job import Job
from runyard.actions.shim.frames import Call
from runyard.identity.model import ALL_PERMISSIONS, ROLE_PERMISSIONS, Permission, Principal, Scope
from runyard.identity.model import Role as Membership
from runyard.identity.service import IdentityService
from runyard.kernel.errors import PermissionDenied, Unimplemented
from runyard.kernel.ids import AccountId, ProjectId, UserId


class Packs:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.asked: list[tuple[str, list[str]]] = []

    async def register(self, account: AccountId, names: Sequence[str] | None) -> Registered:
        """Remember it."""
        self.asked.append(("register", list(names or ["*"])))
        return Registered(packs=1)

    async def unload(self, account: AccountId, names: Sequence[str]) -> list[str]:
        """Remember it."""
        self.asked.append(("unload", list(names)))
        return list(names)

    async def shown(self, account: AccountId, name: str) -> Mapping[str, Any] | None:
        """Know one pack."""
        return {"ref": name} if name == "mine" else None


def caller(permissions: frozenset[Permission]) -> Principal:
    scope = Scope(AccountId.new(), ProjectId.new(), "/x/")
    return Principal(scope, UserId.new(), "ann", None, permissions, ALL_PERMISSIONS, passing=True)


def answers(who: Principal, access: Access, packs: Packs) -> ServerAnswers:
    async def authenticate(secret: str) -> Principal:
        assert secret == "of-the-run"
        return who

    async def of(principal: Principal) -> Access:
        assert principal is who
        return access

    return ServerAnswers(
        cast("IdentityService", SimpleNamespace(authenticate=authenticate)),
        cast("AccessService", SimpleNamespace(of=of)),
        cast("DatastoreService", SimpleNamespace()),
        cast("PackService", packs),
    )


def job(ref: str) -> Job:
    pack = ref.partition(".")[0]
    return cast("Job", SimpleNamespace(token="of-the-run", action=SimpleNamespace(ref=ref, pack=pack)))


def asking(ref: str, **parameters: Any) -> Call:
    return Call(1, "action.run", {"action": ref, "parameters": parameters})


ADMIN = Access(user="ann", is_admin=True)


async def test_action_of_the_product_acts_with_the_rights_of_its_user() -> None:
    packs = Packs()
    able = answers(caller(ROLE_PERMISSIONS[Membership.OPERATOR]), Access(user="ann", is_admin=False), packs)
    found = await able(job("packs.load"), asking("packs.load", packs=["mine=1.0"]))
    assert found == {"packs": 1, "actions": 0, "configs": 0}
    assert await able(job("packs.show"), asking("packs.show", pack="mine")) == {"pack": {"ref": "mine"}}
    viewer = answers(caller(ROLE_PERMISSIONS[Membership.VIEWER]), Access(user="ann", is_admin=False), packs)
    for ref in ("packs.load", "packs.unload", "packs.delete", "packs.setup_virtualenv"):
        with pytest.raises(PermissionDenied):
            await viewer(job(ref), asking(ref, packs=["mine"]))
    with pytest.raises(PermissionDenied):
        await viewer(job("demo.keys"), Call(1, "datastore.set", {"name": "a", "value": "b"}))
    assert packs.asked == [("register", ["mine"])]


async def test_roles_decide_pack_by_pack() -> None:
    packs = Packs()
    grants = (Grant("pack:mine", ("pack_register",)),)
    access = Access(user="ann", is_admin=False, enforced=True, grants=grants)
    some = answers(caller(frozenset()), access, packs)
    await some(job("packs.register"), asking("packs.register", packs=["mine"]))
    for ref, given in (
        ("packs.register", {"packs": ["mine", "other"]}), ("packs.register", {}), ("packs.unload", {"packs": ["mine"]}),
        ("packs.get", {"pack": "other"}),
    ):  # fmt: skip
        with pytest.raises(PermissionDenied):
            await some(job(ref), asking(ref, **given))
    assert packs.asked == [("register", ["mine"])]


@pytest.mark.parametrize("ref", ["demo.load", "default.load", "packsx.load"])
async def test_other_packs_cannot_act_in_the_name_of_the_product(ref: str) -> None:
    packs = Packs()
    mine = answers(caller(ALL_PERMISSIONS), ADMIN, packs)
    for asked in (asking(ref), asking("packs.load")):
        with pytest.raises(PermissionDenied, match="only actions that come with the server"):
            await mine(job(ref), asked)
    with pytest.raises(PermissionDenied):
        await mine(job("packs.get"), asking("packs.load"))
    assert packs.asked == []


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("packs.download", "not downloaded"),
        ("packs.search", "no index"),
        ("core.inject_trigger", "not available"),
    ],
)
async def test_what_is_not_there_is_said_in_a_sentence(ref: str, words: str) -> None:
    with pytest.raises(Unimplemented, match=words):
        await answers(caller(ALL_PERMISSIONS), ADMIN, Packs())(job(ref), asking(ref))
