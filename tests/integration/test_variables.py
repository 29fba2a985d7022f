"""Variables, sets, projects and members over both databases: who wins, what conflicts, what is sealed, who races."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from runyard.database.engine import Database
from runyard.executions.output.log import OutputLog
from runyard.executions.service import ExecutionService
from runyard.identity.errors import LastAdmin
from runyard.identity.login import LIFETIME, Signer
from runyard.identity.members import MemberService, NewMember
from runyard.identity.minting import NewToken
from runyard.identity.model import Permission, Principal, Role, Scope
from runyard.identity.service import IdentityService
from runyard.infrastructure.integrations.errors import RepositoryRefused
from runyard.infrastructure.integrations.model import NewIntegration, Repository
from runyard.infrastructure.integrations.service import IntegrationService
from runyard.infrastructure.projects.errors import ProjectExists, ProjectInUse
from runyard.infrastructure.projects.model import NewProject, ProjectChanges, ProjectSettings
from runyard.infrastructure.projects.service import ProjectService
from runyard.infrastructure.runs.line import RunLine
from runyard.infrastructure.runs.ports import RepositoryAccess
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.variables.errors import (
    InvalidVariable,
    VariableConflict,
    VariableSetExists,
    VariableSetInUse,
    VariableSetNotFound,
)
from runyard.infrastructure.variables.model import Destination, NewSet, NewVariable, Sensitivity, SetChanges
from runyard.infrastructure.variables.service import VariableService
from runyard.infrastructure.variables.sets import VariableSetService
from runyard.infrastructure.variables.tables import variables
from runyard.infrastructure.workspaces.model import Code, NewWorkspace, Workspace
from runyard.infrastructure.workspaces.service import WorkspaceService
from runyard.kernel.crypto import Vault
from runyard.kernel.errors import NotFound, PermissionDenied, RunyardError, Unauthenticated
from runyard.kernel.ids import ProjectId
from tests.support.infrastructure import Neighbours


class NoGit:
    """A git that knows one branch and what was asked."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.asked: list[RepositoryAccess] = []

    async def default_branch(self, access: RepositoryAccess) -> str:
        """Remember who asked."""
        self.asked.append(access)
        return "trunk"

    async def files(self, access: RepositoryAccess, branch: str) -> Sequence[tuple[str, bool]]:
        """Return one file."""
        return [(f"{branch}.tf", True)]


@dataclass
class Wing:
    """The services under test and a caller."""

    database: Database
    identity: IdentityService
    members: MemberService
    workspaces: WorkspaceService
    projects: ProjectService
    variables: VariableService
    sets: VariableSetService
    integrations: IntegrationService
    git: NoGit
    vault: Vault
    caller: Principal

    async def project(self, name: str, parent: str | None = None, **settings: object) -> str:
        new = NewProject(name=name, parent_id=parent, settings=ProjectSettings(**settings))  # type: ignore[arg-type]
        return str((await self.projects.create(self.caller, new)).project.id)

    async def workspace(self, name: str, project: str, **code: str) -> Workspace:
        new = NewWorkspace(name=name, project_id=ProjectId(project), code=Code(**code))
        return await self.workspaces.create(self.caller, new)

    async def set(self, name: str, *parents: str, **given: str) -> str:
        new = NewSet(name=name, parents=parents, variables=wanted(**given))
        return str((await self.sets.create(self.caller, new)).id)

    async def within(self, project: str, *permissions: Permission) -> Principal:
        new = NewToken(name="narrow", project_id=ProjectId(project))
        if permissions:
            new = NewToken(name="narrow", project_id=ProjectId(project), permissions=permissions)
        _, secret = await self.identity.create_token(self.caller, new)
        return await self.identity.authenticate(secret)


def wanted(**given: str) -> Sequence[NewVariable]:
    return [NewVariable(key=key, value=value) for key, value in given.items()]


async def nothing(scope: Scope) -> None:
    """Find nothing of other domains."""


@pytest.fixture
async def wing(database: Database, tmp_path: Path) -> Wing:
    vault = Vault(tmp_path / "keys")
    identity = IdentityService(database, vault=vault)
    await identity.bootstrap("an-admin-token")
    executions = ExecutionService(database, OutputLog(tmp_path / "output"))
    workspaces = WorkspaceService(database, identity)
    line = RunLine(database, executions, workspaces, 2)
    runs = RunService(database, executions, workspaces, line, vault, Neighbours())
    members = MemberService(database, identity)
    service = VariableService(database, identity, vault)
    (tmp_path / "git").mkdir()
    git = NoGit()
    return Wing(
        database=database,
        identity=identity,
        members=members,
        workspaces=workspaces,
        projects=ProjectService(database, identity, members, runs, service, nothing),
        variables=service,
        sets=VariableSetService(database, identity, vault),
        integrations=IntegrationService(database, vault, git, (tmp_path / "git",)),
        git=git,
        vault=vault,
        caller=await identity.authenticate("an-admin-token"),
    )


async def test_what_dialects_keep_with_a_project_survives_changes_at_the_same_time(wing: Wing) -> None:
    """A client that sets many things at once, as Terraform does, must not lose all but the last."""
    project = await wing.identity.get_project(wing.caller, await wing.project("busy"))

    def setting(name: str) -> Callable[[dict[str, Any]], None]:
        return lambda own: own.update({name: True})

    async def keep(name: str) -> None:
        await wing.projects.keep_extras(wing.caller, project, "harness", setting(name))

    await keep("first")
    names = [f"n{number}" for number in range(8)]
    await asyncio.gather(*(keep(name) for name in names))
    assert set(await wing.projects.extras(project, "harness")) == {"first", *names}


async def test_every_level_of_the_tree_wins_over_those_above_it(wing: Wing) -> None:
    root = wing.caller.scope.project_id
    child = await wing.project("child")
    leaf = await wing.project("leaf", child)
    workspace = await wing.workspace("w", leaf)
    levels = ["root", "rootset", "child", "childset", "leaf", "leafset", "bound", "own"]
    content = [{f"K{number}": level for number in range(place, 8)} for place, level in enumerate(levels)]
    parent = await wing.set("above", K7="parent", P="parent")
    sets = {
        name: await wing.set(name, *((parent,) if name == "bound" else ()), **content[levels.index(name)])
        for name in ("rootset", "childset", "leafset", "bound")
    }
    for project, name in ((root, "root"), (child, "child"), (leaf, "leaf")):
        await wing.variables.set_for_project(wing.caller, project, wanted(**content[levels.index(name)]))
    for project, name in ((root, "rootset"), (child, "childset"), (leaf, "leafset")):
        await wing.sets.attach(wing.caller, project, sets[name], consume=True)
    await wing.sets.bind(wing.caller, workspace, [sets["bound"]])
    await wing.variables.set_for_workspace(wing.caller, workspace, wanted(**content[7]))
    found = (await wing.variables.resolve(workspace)).environment
    assert found == {**{f"K{number}": level for number, level in enumerate(levels)}, "P": "parent"}
    await wing.sets.attach(wing.caller, leaf, sets["leafset"], consume=False)
    assert (await wing.variables.resolve(workspace)).environment["K5"] == "leaf"
    await wing.sets.unbind(wing.caller, workspace, sets["bound"])
    assert "P" not in (await wing.variables.resolve(workspace)).environment
    sibling = await wing.workspace("other", await wing.project("sibling"))
    assert (await wing.variables.resolve(sibling)).environment["K7"] == "rootset"


async def test_conflicts_are_refused_wherever_a_write_would_make_one(wing: Wing) -> None:
    project = await wing.project("p")
    workspace = await wing.workspace("w", project)
    one, other, base = await wing.set("one", K="1"), await wing.set("other", K="2"), await wing.set("base")
    await wing.sets.attach(wing.caller, project, one, consume=True)
    with pytest.raises(VariableConflict, match="K"):
        await wing.sets.attach(wing.caller, project, other, consume=True)
    await wing.sets.attach(wing.caller, project, other, consume=False)
    await wing.sets.bind(wing.caller, workspace, [other])
    with pytest.raises(VariableConflict):
        await wing.sets.bind(wing.caller, workspace, [one])
    with pytest.raises(VariableConflict):
        await wing.sets.bind(wing.caller, await wing.workspace("v", project), [one, other])
    third = await wing.set("third", base, X="1")
    await wing.sets.attach(wing.caller, project, third, consume=True)
    for write in (
        wing.sets.set_variables(wing.caller, third, wanted(K="3")),
        wing.sets.set_variables(wing.caller, base, wanted(K="3")),
        wing.sets.update(wing.caller, third, SetChanges(parents=(other,))),
    ):
        with pytest.raises(VariableConflict):
            await write
    assert (await wing.sets.get(wing.caller, third))[0].version == 1
    await wing.sets.set_variables(wing.caller, base, wanted(K="1"))
    assert (await wing.sets.get(wing.caller, base))[0].version == 2


async def test_of_two_attachments_at_once_that_conflict_one_is_refused(wing: Wing) -> None:
    project = await wing.project("p")
    sets = [await wing.set(f"s{number}", K=str(number)) for number in range(6)]

    async def attach(set_id: str) -> bool:
        try:
            await wing.sets.attach(wing.caller, project, set_id, consume=True)
        except VariableConflict:
            return False
        return True

    assert sum(await asyncio.gather(*(attach(one) for one in sets))) == 1


async def test_secrets_are_sealed_kept_without_a_value_and_never_listed(wing: Wing) -> None:
    project = await wing.project("p")
    workspace = await wing.workspace("w", project)
    secret = NewVariable(
        key="password", value="hunter22", sensitivity=Sensitivity.SECRET, destination=Destination.IAC
    )
    await wing.variables.set_for_workspace(wing.caller, workspace, [secret])
    async with wing.database.read() as tx:
        row = (await tx.all(select(variables)))[0]
    assert row.value is None
    assert b"hunter22" not in row.sealed
    again = NewVariable(key="password", value="", sensitivity=Sensitivity.SECRET, destination=Destination.IAC)
    await wing.variables.set_for_workspace(wing.caller, workspace, [again])
    found = await wing.variables.resolve(workspace)
    assert (found.environment["TF_VAR_password"], found.secrets) == ("hunter22", ("hunter22",))
    assert [one.value for one in await wing.variables.of_workspace(workspace, 0, None)] == [None]
    for opened in (
        NewVariable(key="password", destination=Destination.IAC),
        NewVariable(key="fresh", sensitivity=Sensitivity.SECRET),
    ):
        with pytest.raises(InvalidVariable, match="Value is required"):
            await wing.variables.set_for_workspace(wing.caller, workspace, [opened])
    wing.vault.rotate()
    assert (await wing.variables.seal_again(), await wing.variables.seal_again()) == (1, 0)
    wing.vault.forget_old()
    assert (await wing.variables.resolve(workspace)).environment["TF_VAR_password"] == "hunter22"


async def test_ten_writes_of_one_new_variable_make_one_row(wing: Wing) -> None:
    project = await wing.project("p")
    await asyncio.gather(
        *(wing.variables.set_for_project(wing.caller, project, wanted(K=str(number))) for number in range(10))
    )
    assert [one.key for one in await wing.variables.of_project(wing.caller, project)] == ["K"]
    with pytest.raises(InvalidVariable):
        await wing.variables.set_for_project(
            wing.caller, project, [NewVariable(key=f"K{n}", value="") for n in range(1001)]
        )
    await wing.variables.delete_of_project(wing.caller, project, ["K", "unknown"])
    assert await wing.variables.of_project(wing.caller, project) == []


async def test_sets_belong_to_a_part_of_the_tree_and_are_known_where_they_are_attached(wing: Wing) -> None:
    mine, yours = await wing.project("mine"), await wing.project("yours")
    here, there = await wing.within(mine), await wing.within(yours)
    made = await wing.sets.create(here, NewSet(name="s", variables=wanted(K="1")))
    with pytest.raises(VariableSetNotFound):
        await wing.sets.get(there, made.id)
    with pytest.raises(VariableSetExists):
        await wing.sets.create(there, NewSet(name="s"))
    await wing.sets.attach(wing.caller, yours, made.id, consume=False)
    assert [one.id for one in await wing.sets.list(there, "", 0, 10)] == [made.id]
    with pytest.raises(VariableSetNotFound):
        await wing.sets.update(there, made.id, SetChanges(name="taken"))
    with pytest.raises(PermissionDenied):
        await wing.sets.delete(await wing.within(mine, Permission.WORKSPACES_READ), made.id)
    child = await wing.sets.create(here, NewSet(name="child", parents=(made.id,)))
    with pytest.raises(VariableSetInUse):
        await wing.sets.delete(here, made.id)
    assert list((await wing.sets.get(here, made.id))[1]) == [child.id]
    await wing.sets.delete(here, child.id)
    await wing.sets.delete(here, made.id)
    assert await wing.sets.list(wing.caller, "", 0, 10) == []


async def test_project_has_settings_that_its_part_of_the_tree_inherits(wing: Wing) -> None:
    top = await wing.project("Top Name", cron="0 3 * * *", oidc=True, labels=("b", "a"))
    leaf = await wing.project("leaf", top)
    with pytest.raises(ProjectExists):
        await wing.project("top name")
    path = (await wing.projects.get(wing.caller, leaf)).project.path
    found = await wing.projects.inherited(path)
    assert (found.cron, found.oidc) == ("0 3 * * *", True)
    renamed = await wing.projects.update(wing.caller, top, ProjectChanges(name="other", cron=""))
    assert (renamed.project.slug, renamed.settings.labels) == ("other", ["b", "a"])
    assert await wing.projects.project_crons() == {}
    workspace = await wing.workspace("w", leaf)
    with pytest.raises(ProjectInUse):
        await wing.projects.delete(wing.caller, top)
    await wing.members.add(wing.caller, leaf, [NewMember("ana", Role.ADMIN)])
    await wing.variables.set_for_project(wing.caller, leaf, wanted(K="1"))
    await wing.projects.delete(wing.caller, leaf)
    with pytest.raises(NotFound):
        await wing.workspaces.get(wing.caller.scope, workspace.id)
    await wing.projects.delete(wing.caller, top)
    with pytest.raises(ProjectInUse):
        await wing.projects.delete(wing.caller, wing.caller.scope.project_id)


async def test_ten_projects_of_one_name_at_once_are_one(wing: Wing) -> None:
    async def make() -> bool:
        try:
            await wing.project("payments")
        except ProjectExists:
            return False
        return True

    assert sum(await asyncio.gather(*(make() for _ in range(10)))) == 1


async def test_members_are_named_by_id_name_or_address_and_their_roles_count_at_once(wing: Wing) -> None:
    project = await wing.project("p")
    added = await wing.members.add(
        wing.caller, project, [NewMember("u-ana", Role.VIEWER, "ana@example.test")]
    )
    new = NewToken(name="hers", project_id=ProjectId(project), user_name="u-ana")
    _, secret = await wing.identity.create_token(wing.caller, new)
    assert not (await wing.identity.authenticate(secret)).may(Permission.WORKSPACES_WRITE)
    await wing.members.add(wing.caller, project, [NewMember("ana@example.test", Role.OPERATOR)])
    assert (await wing.identity.authenticate(secret)).may(Permission.WORKSPACES_WRITE)
    members = await wing.members.list(wing.caller, project)
    assert [(one.user.id, one.role, one.reference) for one in members] == [
        (added[0].user.id, Role.OPERATOR, "ana@example.test")
    ]
    await wing.members.remove(wing.caller, project, [added[0].user.id, "nobody"])
    assert await wing.members.list(wing.caller, project) == []
    assert not (await wing.identity.authenticate(secret)).may(Permission.WORKSPACES_READ)
    with pytest.raises(LastAdmin):
        await wing.members.remove(wing.caller, wing.caller.scope.project_id, ["admin"])
    assert [one.name for one in await wing.members.users(wing.caller)] == ["admin", "u-ana"]
    narrow = await wing.within(project)
    assert [one.name for one in await wing.members.users(narrow)] == ["admin"]


async def test_one_new_user_is_added_to_many_projects_at_once(wing: Wing) -> None:
    projects = [await wing.project(f"p{number}") for number in range(6)]
    new = [NewMember("u-ana", Role.VIEWER)]
    await asyncio.gather(*(wing.members.add(wing.caller, one, new) for one in (*projects, *projects)))
    found = [await wing.members.list(wing.caller, one) for one in projects]
    assert len({members[0].user.id for members in found}) == 1
    assert [len(members) for members in found] == [1] * 6
    changes = [ProjectChanges(description=str(number)) for number in range(6)]
    root = wing.caller.scope.project_id
    await asyncio.gather(*(wing.projects.update(wing.caller, root, one) for one in changes))


async def test_access_tokens_live_beside_each_other_and_end_with_their_token(wing: Wing) -> None:
    token, secret = await wing.identity.create_token(wing.caller, NewToken(name="pair"))
    first = await wing.identity.log_in_with_key(token.id, secret)
    await wing.identity.log_in_with_key("admin", secret)
    assert (await wing.identity.authenticate(first.text)).token_id == token.id
    for access, given in (("admin", "wrong"), ("other", secret), (token.id, first.text)):
        with pytest.raises(Unauthenticated):
            await wing.identity.log_in_with_key(access, given)
    forged = Signer(Vault(Path(wing.vault._path).with_name("other-keys")))
    assert wing.caller.token_id is not None
    made = forged.issue(wing.caller, wing.caller.token_id, first.expires_at - LIFETIME)
    for text in (made.text, first.text[:-2] + ("AA" if first.text[-2:] != "AA" else "BB"), "eyJ.x.y"):
        with pytest.raises(Unauthenticated):
            await wing.identity.authenticate(text)
    await wing.identity.revoke_token(wing.caller, token.id)
    with pytest.raises(Unauthenticated):
        await wing.identity.authenticate(first.text)


async def test_access_token_ends_after_an_hour(database: Database, tmp_path: Path) -> None:
    from tests.integration.test_identity import Clock

    clock = Clock()
    identity = IdentityService(database, clock, Vault(tmp_path / "keys"))
    await identity.bootstrap("an-admin-token")
    made = await identity.log_in_with_key("admin", "an-admin-token")
    assert abs(made.expires_at - clock.moment - LIFETIME).total_seconds() < 1
    clock.moment = made.expires_at
    with pytest.raises(Unauthenticated):
        await identity.authenticate(made.text)


async def test_repository_of_a_workspace_is_reached_by_its_integration(wing: Wing, tmp_path: Path) -> None:
    project = await wing.project("p")
    new = NewIntegration(
        name="lab", type="gitlab", url="https://lab.example", username="x", password="s3cret-token"
    )
    made = await wing.integrations.create(wing.caller, new)
    workspace = await wing.workspace("w", project, vcs_integration_id=made.id, repository="acme/infra")
    access = await wing.integrations.access(workspace)
    assert (access.url, access.password) == ("https://lab.example/acme/infra.git", "s3cret-token")
    unknown = await wing.workspace(
        "u", project, vcs_integration_id="64f0c0ffee0123456789abcd", vcs_type="github", repository="a/b"
    )
    assert (await wing.integrations.access(unknown)).url == "https://github.com/a/b.git"
    own = await wing.workspace("o", project, repository_url="https://own.example/x")
    odd = await wing.workspace("d", project, vcs_type="github", repository="no repository!")
    bare = await wing.workspace("n", project, vcs_type="codecommit", repository="a/b")
    pages = await wing.integrations.pages([workspace, unknown, own, odd, bare])
    known = ["https://lab.example/acme/infra", "https://github.com/a/b", "https://own.example/x"]
    assert pages == [*known, "", ""]
    hidden = await wing.workspace("h", project, repository_url="file:///etc")
    with pytest.raises(RepositoryRefused):
        await wing.integrations.access(hidden)
    with pytest.raises(RepositoryRefused):
        await wing.integrations.create(wing.caller, NewIntegration(name="x", type="git", url="file:///etc"))
    local = tmp_path / "git"
    for name in ("acme/infra.git", "acme/.hidden", "tool"):
        for part in ("objects", "refs"):
            (local / name / part).mkdir(parents=True)
        (local / name / "HEAD").write_text("ref: refs/heads/trunk\n")
    (local / "out").symlink_to("/etc")
    files = await wing.integrations.create(
        wing.caller, NewIntegration(name="f", type="git", url=local.as_uri())
    )
    found = await wing.integrations.repositories(wing.caller, "git", files.id)
    assert found == [Repository(full_name=name, default_branch="trunk") for name in ("acme/infra", "tool")]
    assert wing.git.asked[0].url.endswith("/acme/infra.git")
    tree = await wing.integrations.tree(wing.caller, "git", files.id, "tool", "", files=True)
    assert [one.name for one in tree.children] == ["trunk.tf"]
    for kind, repository in (("gitlab", "tool"), ("git", "out"), ("git", "../..")):
        with pytest.raises(NotFound):
            await wing.integrations.tree(wing.caller, kind, files.id, repository, "", files=False)
    wing.vault.rotate()
    assert await wing.integrations.seal_again() == 1
    with pytest.raises(RunyardError):
        await wing.integrations.delete(await wing.within(project), files.id)


async def test_integration_is_named_by_id_or_name_by_projects_below_it_only(wing: Wing) -> None:
    project = await wing.project("p")
    new = NewIntegration(name="lab", type="gitlab", url="https://lab.example")
    above = await wing.integrations.create(wing.caller, new)
    inside = await wing.within(project)
    own = NewIntegration(name="own", type="gitlab", url="https://own.example")
    below = await wing.integrations.create(inside, own)
    account, root = wing.caller.scope.account_id, wing.caller.scope.project_path
    for reference in (above.id, "lab"):
        assert await wing.integrations.usable(account, inside.scope.project_path, reference) == above
    assert await wing.integrations.usable(account, inside.scope.project_path, "own") == below
    for path, reference in ((root, "own"), (root, "nowhere")):
        with pytest.raises(NotFound, match=f"integration '{reference}' not found"):
            await wing.integrations.usable(account, path, reference)
    with pytest.raises(NotFound):
        await wing.integrations.delete(inside, "lab")
    await wing.integrations.delete(wing.caller, "lab")
    assert await wing.integrations.list(wing.caller) == [below]


async def test_integration_above_is_looked_into_by_who_may_make_workspaces(
    wing: Wing, tmp_path: Path
) -> None:
    project, beside = await wing.project("p"), await wing.project("q")
    for part in ("objects", "refs"):
        (tmp_path / "git" / "tool" / part).mkdir(parents=True)
    (tmp_path / "git" / "tool" / "HEAD").write_text("ref: refs/heads/trunk\n")
    new = NewIntegration(name="above", type="git", url=(tmp_path / "git").as_uri())
    above = await wing.integrations.create(wing.caller, new)
    theirs = await wing.integrations.create(
        await wing.within(beside), NewIntegration(name="theirs", type="git", url="https://lab.example")
    )
    inside = await wing.within(project)
    reader = await wing.within(project, Permission.WORKSPACES_READ)
    for caller in (inside, reader):
        assert await wing.integrations.usable_by(caller) == [above]
        assert await wing.integrations.list(caller) == []
    assert await wing.integrations.usable_by(wing.caller) == [above, theirs]
    (found,) = await wing.integrations.repositories(inside, "git", above.id)
    assert found.full_name == "tool"
    tree = await wing.integrations.tree(inside, "git", above.id, "tool", "", files=True)
    assert [one.name for one in tree.children] == ["trunk.tf"]
    with pytest.raises(PermissionDenied):
        await wing.integrations.repositories(reader, "git", above.id)
    with pytest.raises(PermissionDenied):
        await wing.integrations.tree(reader, "git", above.id, "tool", "", files=True)
    with pytest.raises(NotFound):
        await wing.integrations.repositories(inside, "git", theirs.id)
