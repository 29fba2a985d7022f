"""The words of the Firefly door: errors by which clients decide, bodies that do not fit, sorting, projects by name."""

import asyncio
import contextlib
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.dialects.firefly import reading
from runyard.dialects.firefly import routes as firefly
from runyard.dialects.firefly.errors import STATUSES, write_error
from runyard.dialects.firefly.projectwire import ProjectIn, VariablesIn
from runyard.dialects.firefly.workspaces import workspace_items
from runyard.dialects.firefly.workspacewire import WorkspaceSearchIn
from runyard.dialects.runta import routes as runta
from runyard.dialects.stackstorm import routes as stackstorm
from runyard.dialects.terraform import routes as terraform
from runyard.identity.errors import SlugTaken
from runyard.infrastructure.guardrails.model import (
    Criteria,
    Guardrail,
    GuardrailId,
    RuleScope,
    RuleType,
    Severity,
)
from runyard.infrastructure.integrations.errors import InvalidIntegration
from runyard.infrastructure.integrations.model import (
    address,
    check_branch,
    check_repository,
    check_url,
    commit_page,
    nested,
    page_of,
)
from runyard.infrastructure.projects.model import ProjectSettings, inherited, slug_of
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.errors import AlreadyExists, Conflict, InvalidArgument, NotFound, RunyardError
from runyard.kernel.ids import AccountId, ProjectId, RecordId, WorkspaceId
from runyard.server import native
from runyard.server.router import Router
from runyard.settings import Settings
from tests.fakes.doors import Anything


def kinds(kind: type[RunyardError] = RunyardError) -> list[type[RunyardError]]:
    return [kind, *(inner for one in kind.__subclasses__() for inner in kinds(one))]


@given(st.sampled_from([NotFound, AlreadyExists, Conflict, InvalidArgument, SlugTaken]), st.text(max_size=30))
def test_only_a_404_says_not_found_whatever_the_message(kind: type[RunyardError], text: str) -> None:
    for message in (text, f"{text} 404 Not Found {text}", "not found"):
        answer = write_error(kind(message), "404")
        body = answer.body.decode()
        said = "404" in body.replace('"statusCode":404', "") or "not found" in body
        if answer.status == 404:
            assert "not found" in body
        else:
            assert not said
            assert "404" not in body
            assert "Not Found" not in body
        if issubclass(kind, AlreadyExists):
            assert (answer.status, "already exists" in body.lower()) == (409, True)


def test_every_status_of_the_table_has_a_plain_sentence() -> None:
    for code in STATUSES:
        kind = next(one for one in kinds() if one.code == code) if code != "method_not_allowed" else Conflict
        document = msgspec.json.decode(write_error(kind("404"), "x").body)
        assert document["message"]


def worded(kind: type, body: bytes) -> str:
    try:
        msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        return reading._worded(str(error))
    return ""


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (ProjectIn, b"{}", "Name is required"),
        (ProjectIn, b'{"name":null}', "Name is required"),
        (ProjectIn, b'{"name":1}', "Name is not valid: expected str"),
        (ProjectIn, b"[]", "Body is not valid: expected object"),
        (ProjectIn, b'{"name":"a","poolId":{}}', "Pool Id is not valid: expected str | null"),
        (VariablesIn, b'{"variables":[{"value":"x"}]}', "Key is required"),
        (
            VariablesIn,
            b'{"variables":[{"key":"x","sensitivity":"open"}]}',
            "Sensitivity is not valid: 'open'",
        ),
        (
            WorkspaceSearchIn,
            b'{"filters":{"vcsType":"github"}}',
            "Vcs Type is not valid: expected array | null",
        ),
    ],
)
def test_body_that_does_not_fit_is_refused_in_the_published_words(kind: type, body: bytes, said: str) -> None:
    assert worded(kind, body) == said


def test_sort_is_read_in_both_published_forms() -> None:
    known = ("a", "b")
    assert reading.sorting({"a": {"order": 1}, "b": {"order": -1}}, known) == [("a", False), ("b", True)]
    assert reading.sorting([{"b": {"order": -1}}, {"a": {"order": 1}}], known) == [("b", True), ("a", False)]
    assert reading.sorting(None, known) == ()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "order", "z"]), inner),
        max_leaves=6,
    )
)
def test_any_sort_is_read_or_refused(given_sort: object) -> None:
    with contextlib.suppress(InvalidArgument):
        assert all(name == "a" for name, _ in reading.sorting(given_sort, ("a",)))


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_projects_of_different_names_have_different_slugs(one: str, other: str) -> None:
    made = slug_of(one)
    assert len(made) <= 64
    assert made[0].isalnum()
    assert made[-1].isalnum()
    assert made == made.lower()
    if one.lower() != other.lower():
        assert made != slug_of(other)


def test_settings_are_inherited_from_the_nearest_project_that_has_them() -> None:
    known = {
        "a": ProjectSettings(cron="0 1 * * *", oidc=True, pool_id="p"),
        "b": ProjectSettings(oidc=False, description="own"),
    }
    found = inherited("/a/b/c/", known)
    assert (found.cron, found.oidc, found.pool_id, found.description) == ("0 1 * * *", False, "p", "")


@pytest.mark.parametrize(
    ("base", "repository", "url"),
    [
        ("https://github.com", "acme/infra", "https://github.com/acme/infra.git"),
        ("https://lab.example/", "a/b.git", "https://lab.example/a/b.git"),
        ("git@forge.example:", "a/b", "git@forge.example:a/b.git"),
        ("file:///srv/git", "a/b", "file:///srv/git/a/b"),
        ("https://github.com", "https://github.com/acme/infra.git", "https://github.com/acme/infra.git"),
        ("https://lab.example/", "https://lab.example/a/b", "https://lab.example/a/b.git"),
    ],
)
def test_address_of_a_repository(base: str, repository: str, url: str) -> None:
    check_url(base)
    assert address(base, repository) == url


def test_address_of_a_repository_elsewhere_is_refused() -> None:
    for elsewhere in ("https://other.example/a/b", "https://lab.example.evil/a/b", "git@lab.example:a/b"):
        with pytest.raises(InvalidIntegration):
            address("https://lab.example", elsewhere)


@pytest.mark.parametrize(
    ("kind", "url", "page"),
    [
        ("github", "https://github.com/acme/infra.git", "https://github.com/acme/infra/commit/"),
        ("github", "git@github.com:acme/infra.git", "https://github.com/acme/infra/commit/"),
        ("gitlab", "ssh://git@gitlab.com/a/b/c.git", "https://gitlab.com/a/b/c/-/commit/"),
        ("bitbucket", "https://bitbucket.org/a/b", "https://bitbucket.org/a/b/commits/"),
        ("azuredevops", "https://dev.azure.com/a/p/_git/b", "https://dev.azure.com/a/p/_git/b/commit/"),
        ("gitlab", "git@forge.example:a/b.git", ""),
        ("github", "file:///srv/git/a/b", ""),
        ("git", "https://forge.example/a/b.git", ""),
    ],
)
def test_page_of_a_commit_is_below_that_of_its_repository(kind: str, url: str, page: str) -> None:
    assert commit_page(kind, page_of(url), "b9a342a") == (page and f"{page}b9a342a")
    assert commit_page(kind, page_of(url), "") == ""


@pytest.mark.parametrize(
    "url",
    [
        "", "-u", "https://", "https://user:secret@host", "https://token@host", "ftp://host", "ext::sh -c x", "https://a b",
        "file://host/x", "file:///srv/../etc", "https://-oProxyCommand=x/y", "https://[::1", "x\ny",
    ],
)  # fmt: skip
def test_address_that_is_none_or_dangerous_is_refused(url: str) -> None:
    with pytest.raises(InvalidIntegration):
        check_url(url)


@pytest.mark.parametrize(
    "name", ["", "../x", "a//b", "a/../b", "-x", "a\nb", "a/./b", "x" * 600, "a;b", "$(x)"]
)
def test_repository_that_leaves_its_place_is_refused(name: str) -> None:
    with pytest.raises(InvalidIntegration):
        check_repository(name)


@pytest.mark.parametrize(
    "name", ["", "-x", "a..b", "a b", "a~1", "x.lock", "a:b", "/a", "a/", "@{x", "a\\b", "x.", "a//b"]
)
def test_branch_that_is_none_is_refused(name: str) -> None:
    if name != "@{x":
        with pytest.raises(InvalidIntegration):
            check_branch(name)
    check_branch("feature/x-1.2_y")


def test_nested_puts_folders_first_and_files_only_when_asked() -> None:
    paths = [("z.tf", True), ("net", False), ("net/prod", False), ("net/prod/main.tf", True), ("a/b", False)]
    whole = nested(paths, include_files=True)
    assert [(one.name, one.is_file) for one in whole.children] == [
        ("a", False),
        ("net", False),
        ("z.tf", True),
    ]
    assert whole.children[1].children[0].path == "net/prod"
    folders = nested(paths, include_files=False)
    assert [one.name for one in folders.children] == ["a", "net"]
    assert folders.children[1].children[0].children == ()


PUBLISHED = """
POST /workspaces/search
DELETE /workspaces/{}
PUT /workspaces/{}/labels
POST /workspaces/{}/runs/search
POST /workspaces/{}/runs/{}/resources/search
POST /workspaces/{}/runs/{}/changed-files-code/search
POST /guardrails/search
POST /guardrails
PATCH /guardrails/{}
DELETE /guardrails/{}
POST /runners/projects
GET /runners/projects/{}
PATCH /runners/projects/{}
DELETE /runners/projects/{}
GET /runners/projects/list
GET /runners/projects/tree
GET /runners/projects/{}/members
POST /runners/projects/{}/members
DELETE /runners/projects/{}/members
GET /runners/projects/{}/workspaces
GET /runners/projects/labels
GET /runners/variables/projects/{}
POST /runners/variables/projects/{}/variables
DELETE /runners/variables/projects/{}/variables
GET /runners/variables/workspaces/{}/variables
POST /runners/variables/workspaces/{}/variables
DELETE /runners/variables/workspaces/{}/variables
GET /runners/variables/variable-sets
POST /runners/variables/variable-sets
GET /runners/variables/variable-sets/{}
PUT /runners/variables/variable-sets/{}
DELETE /runners/variables/variable-sets/{}
GET /runners/variables/variable-sets/{}/variables
POST /runners/variables/variable-sets/{}/variables
DELETE /runners/variables/variable-sets/{}/variables
POST /runners/variables/projects/{}/variable-sets/{}/attach
POST /runners/variables/projects/{}/variable-sets/{}/detach
POST /runners/variables/workspaces/{}/variable-sets/{}/bind
POST /runners/variables/workspaces/{}/variable-sets/{}/unbind
POST /runners/workspaces
GET /runners/workspaces/labels
GET /runners/workspaces/{}
POST /runners/workspaces/{}
PATCH /runners/workspaces/{}
DELETE /runners/workspaces/{}
POST /runners/workspaces/{}/tasks/destroy
POST /runners/workspaces/{}/tasks/{}/apply
POST /runners/workspaces/{}/tasks/{}/discard
POST /runners/workspaces/{}/tasks/{}/resources/search
GET /runners/workspaces/{}/run/{}/status
"""
"""The 50 operations of the published page."""
BESIDE = """
POST /login
GET /health
PUT /runners/workspaces/{}
GET /users
GET /api/integrations/global/vcs
GET /api/vcs/{}/{}/repos
GET /api/vcs/{}/{}/directory-tree
POST /governance/insights
POST /governance/insights/create
PUT /governance/insights/{}
DELETE /governance/insights/{}
"""
"""What published clients use besides."""


def test_every_published_operation_is_served_under_each_prefix() -> None:
    house = Anything(settings=Settings(data_dir=Path("/nonexistent")))
    doors = [native.register(house), runta.register(house), stackstorm.register(house)]  # type: ignore[arg-type]
    doors += [firefly.register(house), terraform.register(house)]  # type: ignore[arg-type]
    router = Router(doors)
    wanted = [line.split() for line in (PUBLISHED + BESIDE).split("\n") if line]
    assert len(PUBLISHED.split("\n")) - 2 == 50
    for method, shape in wanted:
        path = shape.replace("{}", "0e01b22c-7f4b-5e0f-b1c1-faff031977f8")
        for prefix in ("", "/v2", "/api/v2", "//v2"):
            found = router.find(method, prefix + path)
            assert (found.door.name, found.route.status) != ("firefly", 501)
            assert found.door.name == "firefly", (method, prefix + path)
            assert re.sub(r"\{\w+\}", "{}", found.route.path) == f"/v2{shape}"
    for path in (
        "/v2/runners/x",
        "/api/v2/runners/x",
        "/runners",
        "/guardrails/x/y",
        "//v2/workspaces/x/y/z",
    ):
        door = router.door_for(path)
        assert door is not None
        assert door.name == "firefly"


async def test_listing_of_many_workspaces_and_rules_lets_others_have_their_turn() -> None:
    now, project = datetime(2026, 1, 1, tzinfo=UTC), ProjectId.new()
    account, path = AccountId.new(), f"/{project}/"
    many = [
        Workspace(
            id=WorkspaceId.new(), record_id=RecordId.new(), account_id=account, project_id=project, project_path=path,
            name=f"w-{number}", identifier=f"w-{number}", created_at=now, updated_at=now,
        )
        for number in range(50)
    ]  # fmt: skip
    rule = Guardrail(
        id=GuardrailId.new(), account_id=account, project_id=project, project_path=path, created_by="x", name="all",
        type=RuleType.COST, scope=RuleScope(), criteria=Criteria(), scope_document={}, criteria_document={}, enabled=True,
        severity=Severity.WARNING, enforce_on_no_op=False, notification_id="0" * 24, created_at=now, updated_at=now,
    )  # fmt: skip
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(other())
    items = await workspace_items(many, [rule], [""] * len(many))
    beside.cancel()
    assert [one.guardrails for one in items] == [["all"]] * len(many)
    assert turns >= len(many) - 1
