"""Search of workspaces on both databases against a model of it: filters, alternatives, text, order, pages."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from sqlalchemy import update

from runyard.database.engine import Database
from runyard.identity.service import IdentityService
from runyard.infrastructure.workspaces.model import (
    Code,
    Match,
    NewWorkspace,
    Workspace,
    WorkspaceQuery,
)
from runyard.infrastructure.workspaces.service import WorkspaceService
from runyard.infrastructure.workspaces.tables import workspaces

LABELS = ("prod", "PROD", "prod-eu", "100%", "a_b", "axb", "\u00fcber", "\u00dcBER", "quo'te", "back\\slash")
REPOSITORIES = ("acme/infra", "acme/Infra", "acme/in_ra", "other/x")
KINDS = ("github", "gitlab", "")
TEXTS = ("", "INFRA", "prod", "%", "_", "w-1", "\u00dcber", "\\", "nothing")
QUERIES = 150


def fits(one: Workspace, match: Match) -> list[bool]:
    """Return, for each condition that a match has, whether a workspace meets it."""
    pairs: tuple[tuple[Sequence[str], Sequence[str]], ...] = (
        (match.names, (one.name,)),
        (match.repositories, (one.code.repository,)),
        (match.runner_types, (one.runner_type,)),
        (match.labels, one.labels),
        (match.statuses, (one.last_run_status,)),
        (match.vcs_types, (one.code.vcs_type,)),
    )
    found = [bool(set(wanted) & set(given)) for wanted, given in pairs if wanted]
    return found if match.managed is None else [*found, one.managed is match.managed]


def expected(made: Sequence[Workspace], query: WorkspaceQuery) -> list[str]:
    """Return the names that a search must find, in their order."""

    def wanted(one: Workspace) -> bool:
        text = "\n".join((one.name, one.code.repository, *one.labels)).lower()
        either = query.any_of is None or any(fits(one, query.any_of))
        return all(fits(one, query.match)) and either and query.text.lower() in text

    found = [one for one in sorted(made, key=lambda one: one.id, reverse=True) if wanted(one)]
    for name, ascends in reversed(query.sort):
        found.sort(
            key=lambda one: str(getattr(one, name, None) or getattr(one.code, name, "")), reverse=not ascends
        )
    return [one.name for one in found[query.offset : query.offset + query.limit]]


def some(chance: random.Random, values: Sequence[str]) -> tuple[str, ...]:
    """Return none, mostly, or a few of some values."""
    return tuple(chance.sample(values, chance.choice((0, 0, 1, 2))))


def a_match(chance: random.Random) -> Match:
    """Make up conditions."""
    return Match(
        names=some(chance, [f"w-{number}" for number in range(40)]),
        repositories=some(chance, REPOSITORIES),
        runner_types=some(chance, ("firefly", "jenkins")),
        labels=some(chance, LABELS),
        vcs_types=some(chance, KINDS[:2]),
        managed=chance.choice((None, None, True, False)),
    )


async def test_search_finds_what_a_model_of_it_finds(database: Database) -> None:
    identity = IdentityService(database)
    await identity.bootstrap("an-admin-token")
    caller = await identity.authenticate("an-admin-token")
    service, chance, made = WorkspaceService(database, identity), random.Random(7), []
    for number in range(40):
        new = NewWorkspace(
            name=f"w-{number}",
            labels=tuple(chance.sample(LABELS, chance.randrange(4))),
            runner_type=chance.choice(("firefly", "jenkins")),
            code=Code(repository=chance.choice(REPOSITORIES), vcs_type=chance.choice(KINDS)),
        )
        made.append(await service.create(caller, new))
    full = 0
    for _ in range(QUERIES):
        query = WorkspaceQuery(
            match=a_match(chance) if chance.random() < 0.6 else Match(),
            any_of=a_match(chance) if chance.random() < 0.4 else None,
            text=chance.choice(TEXTS),
            sort=[
                (name, chance.random() < 0.5)
                for name in chance.sample(("name", "runner_type"), chance.randrange(3))
            ],
            offset=chance.choice((0, 0, 0, 3)),
            limit=chance.choice((1, 5, 100)),
        )
        found = [one.name for one in await service.search(caller.scope, query)]
        assert found == expected(made, query), query
        whole = WorkspaceQuery(match=query.match, any_of=query.any_of, text=query.text)
        assert await service.count(caller.scope, whole) == len(
            expected(made, msgspec.structs.replace(whole, limit=1000))
        )
        full += bool(found)
    assert full > QUERIES // 5
    assert await service.labels(caller.scope) == sorted({label for one in made for label in one.labels})


async def test_workspace_that_never_ran_is_sorted_as_the_oldest(database: Database) -> None:
    identity = IdentityService(database)
    await identity.bootstrap("an-admin-token")
    caller = await identity.authenticate("an-admin-token")
    service = WorkspaceService(database, identity)
    ran = {"early": datetime(2026, 1, 1, tzinfo=UTC), "late": datetime(2026, 2, 1, tzinfo=UTC)}
    for name in ("late", "never", "early"):
        made = await service.create(caller, NewWorkspace(name=name))
        async with database.transaction() as tx:
            values = {"last_run_at": ran.get(name)}
            await tx.execute(update(workspaces).where(workspaces.c.id == made.id).values(**values))

    async def names(*, ascending: bool) -> list[str]:
        query = WorkspaceQuery(sort=[("last_run_at", ascending)])
        return [one.name for one in await service.search(caller.scope, query)]

    assert await names(ascending=False) == ["late", "early", "never"]
    assert await names(ascending=True) == ["never", "early", "late"]
