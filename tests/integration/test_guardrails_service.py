"""Plans and guardrails over both databases: reading, judging, acknowledging, telling, tenants."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from sqlalchemy import select

from runyard.database.engine import Database
from runyard.database.tables import events
from runyard.dialects.door import Call
from runyard.identity.model import Scope
from runyard.infrastructure.costs.estimator import Estimator
from runyard.infrastructure.guardrails.adapters import estimate
from runyard.infrastructure.guardrails.errors import (
    GuardrailNotFound,
    NotAcknowledgeable,
    VerdictNotFound,
)
from runyard.infrastructure.guardrails.model import Blocked
from runyard.infrastructure.guardrails.service import GuardrailFilter
from runyard.infrastructure.notifications.destinations import DestinationOptions
from runyard.infrastructure.notifications.model import NewNotification, Told
from runyard.infrastructure.notifications.sender import Sender
from runyard.infrastructure.plans.errors import PlanNotFound, PlanUnreadable
from runyard.infrastructure.policies.errors import PolicyInvalid, PolicyNotFound
from runyard.infrastructure.policies.model import PolicyFilter
from runyard.kernel.errors import PermissionDenied
from runyard.kernel.ids import ProjectId
from runyard.server.native.guardrails import GuardrailHandlers
from tests.support.guards import Guards, encoded, estimating, made_guards, receiving
from tests.support.planned import PASSWORD, STORED, TOKEN, change, document, stored, written

KEY = "a key that signs webhooks"
DELETES = {"actions": ["delete"], "regions": {"include": ["*"]}, "assetTypes": {"include": ["*"]}}
CREATES = {**DELETES, "actions": ["create"]}
OWNER = {"tagEnforcementMode": "requiredTags", "requiredTags": ["Owner"]}
PUBLIC = 'firefly { input.configuration.input.acl == "public-read" }'


@pytest.fixture
async def guards(database: Database, tmp_path: Path) -> AsyncIterator[Guards]:
    """Put the services together, with a price for the built-in resource."""
    prices = tmp_path / "prices.json"
    prices.write_text('{"about": "test", "types": {"terraform_data": [{"month": 10}]}}')
    made = await made_guards(database, tmp_path, prices=prices, plan_retention_days=1)
    yield made
    made.house.policies.close()


async def recorded(database: Database, subject: str) -> list[Any]:
    """Read the events of a subject."""
    async with database.read() as tx:
        return list(await tx.all(select(events).where(events.c.subject_id == subject).order_by(events.c.id)))


async def test_plan_is_kept_listed_and_shown_without_secrets(guards: Guards) -> None:
    run = await guards.run(await guards.workspace())
    plans = guards.house.plans
    summary = await plans.ingest(run, stored("replace"), [TOKEN])
    assert (summary.counts.replace, summary.counts.delete, summary.counts.no_op) == (1, 1, 4)
    assert (summary.counts.added, summary.counts.destroyed, summary.has_changes) == (1, 2, True)
    assert (summary.cost.before, summary.cost.after) == (60, 50)
    assert await plans.summary(guards.scope, run.run_id) == summary
    assert await plans.of_task(guards.scope, run.task_id) == summary
    page = await plans.resources(guards.scope, run.run_id, offset=1, limit=2)
    assert [one.position for one in page] == [1, 2]
    found = await plans.resources(guards.scope, run.run_id, search="MODULE.m[")
    assert {one.module for one in found} == {'module.m["one"]', 'module.m["two.three"]'}
    assert await plans.resources(guards.scope, run.run_id, search="100%_") == []
    pieces = [piece async for piece in await plans.document(guards.scope, run.run_id)]
    whole = b"".join(pieces).decode()
    assert PASSWORD not in whole
    assert TOKEN not in whole
    shown = json.loads(whole)
    assert len(shown["resource_changes"]) == 6
    assert shown["variables"]["password"]["value"] == "(sensitive value)"
    again = await plans.ingest(run, stored("no_op"), [TOKEN])
    assert not again.has_changes
    assert len(await plans.resources(guards.scope, run.run_id, limit=100)) == 6


async def test_plan_that_breaks_in_the_middle_is_nobodys(guards: Guards, tmp_path: Path) -> None:
    run = await guards.run(await guards.workspace())
    changes = [change(f"aws_instance.a[{number}]", "create", None, {}) for number in range(700)]
    changes[650]["change"]["actions"] = ["explode"]
    with pytest.raises(PlanUnreadable, match=r"resource_changes\[650\]"):
        await guards.house.plans.ingest(run, written(tmp_path, document(changes)))
    with pytest.raises(PlanNotFound):
        await guards.house.plans.resources(guards.scope, run.run_id)
    assert not await guards.house.plans.exists(guards.scope, run.run_id)


async def test_names_of_any_length_are_kept_and_judged(guards: Guards, tmp_path: Path) -> None:
    run = await guards.run(await guards.workspace())
    await guards.rule("resource", CREATES, 3)
    random = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(1500))
    key, path = random, "/".join(random[start : start + 80] for start in range(0, 1300, 80))
    plan = document([change("aws_instance.a", "create", None, {}, index=key)])
    plan["resource_changes"][0]["address"] = f'aws_instance.a["{key}"]'
    assert len((await guards.judged(run, written(tmp_path, plan))).violations) == 1
    diff = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-x\n+y\n"
    assert await guards.house.files.keep(run, diff.encode()) == 1
    ((kept,),) = (await guards.house.files.page(guards.scope, run.run_id)).values()
    assert kept.path == path


async def test_drift_outputs_and_apply_are_kept(guards: Guards, tmp_path: Path) -> None:
    run = await guards.run(await guards.workspace())
    drifted = change("aws_instance.a", "update", {"x": 1}, {"x": "\0"})
    plan = document([], resource_drift=[drifted], output_changes={
        "o": {"actions": ["create"], "before": None, "after": "nul \0", "after_unknown": False},
    })  # fmt: skip
    summary = await guards.house.plans.ingest(run, written(tmp_path, plan))
    assert (summary.drift, summary.output_changes, summary.has_changes) == (1, 1, True)
    assert [one.address for one in await guards.house.plans.drift(guards.scope, run.run_id)] == [
        "aws_instance.a"
    ]
    moved = await guards.house.plans.ingest(run, stored("moved"))
    assert (moved.moved, moved.counts.no_op, moved.has_changes) == (1, 1, True)
    old = json.loads(stored("moved").read_text())
    del old["applyable"]
    assert (await guards.house.plans.ingest(run, written(tmp_path, old))).has_changes
    created = await guards.run(await guards.workspace("other"))
    await guards.house.plans.ingest(created, stored("create"))
    lines = (STORED / "apply.jsonl").read_bytes().splitlines()
    assert await guards.house.plans.mark_applied(created.run_id, lines) == {"applied": 6}
    rows = await guards.house.plans.resources(guards.scope, created.run_id)
    assert {one.status for one in rows} == {"applied"}


async def test_rules_of_every_type_judge_a_plan_and_the_strongest_decides(guards: Guards) -> None:
    run = await guards.run(await guards.workspace(labels=("net",)))
    await guards.policy(PUBLIC, name="public", severity=5, types=("terraform_*",))
    cost = await guards.rule("cost", {"thresholdAmount": 50}, 3)
    policy = await guards.rule("policy", {"severity": "high", "policies": {"include": ["pub*"]}}, 1)
    resource = await guards.rule("resource", {**CREATES, "specificResources": ["*.secret"]}, 1)
    tag = await guards.rule("tag", OWNER, 3)
    await guards.rule("resource", DELETES, 2, name="deletes")
    await guards.rule("resource", CREATES, 2, name="off", enabled=False)
    elsewhere = {name: {"include": ["*"]} for name in ("workspaces", "repositories", "branches")}
    await guards.rule(
        "resource", CREATES, 2, name="scope", scope={**elsewhere, "labels": {"include": ["db"]}}
    )
    await guards.rule("policy", {"severity": "critical"}, 2, name="only critical ones")
    verdict = await guards.judged(run, stored("create"), (TOKEN,))
    assert verdict.blocked is Blocked.FLEXIBLE
    assert verdict.stops
    assert {one.rule_id: one.violations for one in verdict.violated} == {
        cost.id: 1, policy.id: 1, resource.id: 1, tag.id: 1,
    }  # fmt: skip
    assert {one.rule_name for one in verdict.rules} >= {"deletes", "only critical ones"}
    assert not {one.rule_name for one in verdict.rules} & {"off", "scope"}
    kept = await guards.house.judge.verdict(guards.scope, run.run_id)
    assert msgspec.json.encode(kept) == msgspec.json.encode(verdict)
    rows = await guards.house.plans.resources(guards.scope, run.run_id)
    at = await guards.house.judge.of_positions(run.run_id, [one.position for one in rows])
    found = {rows[place].address: [one.rule_id for one in broken] for place, broken in at.items()}
    assert found == {
        "terraform_data.bucket[0]": [policy.id],
        "terraform_data.bucket[1]": [tag.id],
        "terraform_data.secret": [resource.id],
    }
    assert PASSWORD.encode() not in msgspec.json.encode(kept)
    (event,) = [one for one in await recorded(guards.database, run.run_id) if one.type == "guardrails.judged"]
    assert event.body["blocked"] == "flexible"
    assert "cost rule" in event.reason


async def test_policies_look_at_no_op_assets_when_asked_to(guards: Guards) -> None:
    run = await guards.run(await guards.workspace())
    await guards.policy(PUBLIC, name="public", severity=3)
    await guards.policy("firefly { true }", name="legacy-all", severity=6)
    chosen = {"policies": {"include": ["*"], "exclude": ["legacy-*"]}}
    for severity, blocked in ((3, Blocked.NONE), (1, Blocked.FLEXIBLE), (2, Blocked.STRICT)):
        await guards.rule("policy", chosen, severity)
        looking = await guards.rule("policy", chosen, severity, enforce_on_no_op=True)
        verdict = await guards.judged(run, stored("no_op"))
        assert verdict.blocked is blocked
        assert looking.id in {one.rule_id for one in verdict.violations}
        assert len(verdict.violated) == severity % 3 + 1


async def test_policy_that_cannot_be_evaluated_counts_as_violated(guards: Guards, tmp_path: Path) -> None:
    await guards.house.policies.put_package(guards.caller, "sizes", encoded("big(x) { x > 3 }"))
    slow = "firefly { a := input.configuration.many; some i, j, k, l; a[i] + a[j] + a[k] + a[l] == -1 }"
    await guards.policy(slow, name="slow")
    await guards.policy(
        "import data.firefly.packages.sizes\nfirefly { sizes.big(input.configuration.n) }", name="shared"
    )
    await guards.policy(
        "import data.firefly.packages.sizes\nfirefly { sizes.big(1) }", name="elsewhere", types=("other",)
    )
    await guards.rule("policy", {"severity": "trace"}, 2)
    run = await guards.run(await guards.workspace())
    plan = written(
        tmp_path, document([change("aws_instance.a", "create", None, {"n": 7, "many": list(range(400))})])
    )
    verdict = await guards.judged(run, plan)
    assert verdict.blocked is Blocked.STRICT
    told = sorted(one.message for one in verdict.violations)
    assert told[0] == "aws_instance.a violates shared"
    assert "slow could not be evaluated: it took longer" in told[1]
    await guards.house.policies.delete_package(guards.caller, "sizes")
    told = [one.message for one in (await guards.judged(run, plan)).violations]
    assert any("shared could not be evaluated" in one for one in told)
    assert not any("elsewhere" in one for one in told)


async def test_acknowledgement_happens_once_however_many_try(guards: Guards) -> None:
    run = await guards.run(await guards.workspace())
    await guards.rule("resource", CREATES, 1)
    assert (await guards.judged(run, stored("create"))).blocked is Blocked.FLEXIBLE

    async def acknowledge(actor: str) -> str:
        async def work(tx: Any) -> str:
            return (await guards.house.judge.acknowledge(tx, run, actor)).acknowledged_by or ""

        return await guards.database.run(work)

    done = await asyncio.gather(
        *(acknowledge(f"user{number}") for number in range(8)), return_exceptions=True
    )
    (winner,) = [one for one in done if isinstance(one, str)]
    assert all(isinstance(one, NotAcknowledgeable) for one in done if not isinstance(one, str))
    verdict = await guards.house.judge.verdict(guards.scope, run.run_id)
    assert (verdict.acknowledged_by, verdict.stops) == (winner, False)
    (event,) = [
        one for one in await recorded(guards.database, run.run_id) if one.type == "guardrails.acknowledged"
    ]
    assert (event.actor, event.at) == (winner, verdict.acknowledged_at)


async def test_strict_verdict_is_never_acknowledged(guards: Guards) -> None:
    run = await guards.run(await guards.workspace())
    await guards.rule("resource", CREATES, 1)
    await guards.rule("resource", CREATES, 2, name="strict")
    await guards.judged(run, stored("create"))
    with pytest.raises(NotAcknowledgeable, match="nobody may override"):
        async with guards.database.transaction() as tx:
            await guards.house.judge.acknowledge(tx, run, "admin")
    assert (await guards.house.judge.verdict(guards.scope, run.run_id)).stops


async def test_webhooks_are_signed_tried_again_and_survive_a_stop(guards: Guards) -> None:
    house = guards.house
    async with receiving(KEY, 500) as receiver:
        new = NewNotification(destination=receiver.url, secret=KEY, events=(Told.VIOLATED, Told.BLOCKED))
        rule = await guards.rule("resource", CREATES, 1, notification=new)
        await guards.rule("resource", DELETES, 1, notification=new, name="finds nothing")
        run = await guards.run(await guards.workspace())
        await guards.judged(run, stored("create"))
        # Nobody sends yet: rows wait, as after a crash.
        assert await house.sender.send_due() == 2
        first, second = await receiver.take(), await receiver.take()
        for headers, body in (first, second):
            assert headers["signed"] == "True"
            assert headers["x-runyard-delivery"] == body["id"]
            assert headers["host"] == f"127.0.0.1:{receiver.port}"
            assert (body["rule"]["id"], body["runId"], body["violations"]) == (rule.id, run.run_id, 6)
        assert {first[1]["event"], second[1]["event"]} == {"guardrail.violated", "guardrail.blocked"}
        kept = await house.notifications.deliveries(rule.notification_id)
        assert sorted(one.status for one in kept) == ["delivered", "waiting"]
        waiting = next(one for one in kept if one.status == "waiting")
        assert (waiting.attempts, waiting.last_status) == (1, 500)
        later = Sender(
            guards.database,
            house.notifications,
            DestinationOptions(allow_private=True),
            now=lambda: waiting.created_at + timedelta(minutes=1),
        )
        later.start()
        _, body = await receiver.take()
        assert body["id"] == waiting.id
        await later.stop()
    (kept_notification,) = await house.notifications.of_rule(rule.id)
    assert KEY.encode() not in msgspec.json.encode(kept_notification)
    assert "hook" not in kept_notification.destination
    vault = house.notifications._vault
    vault.rotate()
    async with guards.database.transaction() as tx:
        assert await house.notifications.seal_again(tx) == 2
        assert await house.notifications.seal_again(tx) == 0
    vault.forget_old()
    (again,) = await house.notifications.of_rule(rule.id)
    assert house.notifications.opened(again) == (receiver.url, KEY.encode())
    await house.guardrails.delete(guards.caller, rule.id)
    assert await house.notifications.deliveries(rule.notification_id) == []


async def test_notification_to_a_private_address_is_given_up_unless_allowed(guards: Guards) -> None:
    async with receiving(KEY) as receiver:
        new = NewNotification(destination=f"http://localhost:{receiver.port}/", secret=KEY)
        rule = await guards.rule("resource", CREATES, 3, notification=new)
        await guards.judged(await guards.run(await guards.workspace()), stored("create"))
        strict = Sender(guards.database, guards.house.notifications, DestinationOptions())
        assert await strict.send_due() == 1
        (kept,) = await guards.house.notifications.deliveries(rule.notification_id)
        assert (kept.status, receiver.received.qsize()) == ("given_up", 0)
        assert "private address" in kept.last_error


async def test_package_of_the_account_is_not_changed_from_a_project_below(guards: Guards) -> None:
    """Who administers a project must not decide what the guardrails above it find."""
    policies, code = guards.house.policies, encoded("ok { true }")
    await policies.put_package(guards.caller, "shared", code)
    scope = guards.caller.scope
    below = replace(scope, project_path=f"{scope.project_path}{ProjectId.new()}/")
    caller = replace(guards.caller, scope=below)
    with pytest.raises(PermissionDenied):
        await policies.put_package(caller, "shared", encoded("ok { false }"))
    with pytest.raises(PermissionDenied):
        await policies.delete_package(caller, "shared")
    assert [one.code for one in await policies.packages(scope.account_id)] == [code]


async def test_deliveries_are_those_of_the_rule_whatever_id_it_names(guards: Guards) -> None:
    """A client may set the id of a notification; it must not show what was sent for another rule."""
    new = NewNotification(destination="http://localhost:9/", secret=KEY)
    theirs = await guards.rule("resource", CREATES, 3, notification=new, name="theirs")
    await guards.judged(await guards.run(await guards.workspace()), stored("create"))
    mine = await guards.rule("resource", CREATES, 3, notification_id=theirs.notification_id, name="mine")
    handlers = GuardrailHandlers(Mock(infrastructure=Mock(guards=guards.house)))

    async def shown(rule_id: str) -> int:
        sent = bytearray()

        async def send(message: Any) -> None:
            sent.extend(message.get("body", b""))

        call = Call({"type": "http", "headers": []}, Mock(), send, {"guardrail": rule_id}, "r", guards.caller)
        await handlers.deliveries(call)
        return len(json.loads(sent)["items"])

    assert (await shown(theirs.id), await shown(mine.id)) == (1, 0)


async def test_destination_that_cannot_even_be_asked_for_holds_up_nobody(guards: Guards) -> None:
    """A name with an empty part is refused by the resolver with an error of its own kind."""
    async with receiving(KEY) as receiver:
        for number, url in enumerate(("http://a..b/", receiver.url)):
            new = NewNotification(destination=url, secret=KEY)
            await guards.rule("resource", CREATES, 3, notification=new, name=f"rule-{number}")
        await guards.judged(await guards.run(await guards.workspace()), stored("create"))
        assert await guards.house.sender.send_due() == 2
        await receiver.take()


async def test_estimator_is_asked_with_the_masked_plan_and_without_it_the_table_counts(
    guards: Guards,
) -> None:
    run = await guards.run(await guards.workspace())
    house = guards.house
    await guards.rule("cost", {"thresholdPercentage": 50}, 2)
    summary = await house.plans.ingest(run, stored("create"), (TOKEN,))
    answer = {"before": 100, "after": 140, "source": "ours", "resources": {
        "terraform_data.secret": {"before": None, "after": 40}, "gone": {"before": 1},
    }}  # fmt: skip
    async with estimating(json.dumps(answer).encode()) as (url, posted):
        await estimate(house.plans, Estimator(url, 10), summary)
    assert TOKEN.encode() not in posted[0]
    assert len(json.loads(posted[0])["resource_changes"]) == 6
    estimated = await house.plans.summary(guards.scope, run.run_id)
    assert (estimated.cost.change, estimated.cost.source) == (40, "ours")
    rows = await house.plans.resources(guards.scope, run.run_id, search="secret")
    assert [(one.cost_before, one.cost_after) for one in rows] == [(None, 40)]
    assert (await house.judge.judge(run, estimated)).blocked is Blocked.NONE
    for absent, text in (("http://127.0.0.1:1/", "did not answer"), (None, "answered 500")):
        async with estimating(b"{}", 500) as (failing, _):
            again = await house.plans.ingest(run, stored("create"), (TOKEN,))
            await estimate(house.plans, Estimator(absent or failing, 10), again)
        kept = await house.plans.summary(guards.scope, run.run_id)
        assert (kept.cost.after, kept.cost.source) == (60, "table")
        assert text in kept.cost.note
    assert (await house.judge.judge(run, kept)).blocked is Blocked.STRICT


async def test_tenants_and_projects_see_their_own_and_rules_reach_down(guards: Guards) -> None:
    run = await guards.run(await guards.workspace())
    rule = await guards.rule("resource", CREATES, 2)
    policy = await guards.policy(PUBLIC)
    await guards.judged(run, stored("create"))
    _, token = await guards.identity.create_account("other", "Other")
    stranger = await guards.identity.authenticate(token)
    child = await guards.identity.create_project(guards.caller, guards.scope.project_id, "child")
    below = Scope(child.account_id, child.id, child.path)
    house = guards.house
    for scope in (stranger.scope, below):
        with pytest.raises(PlanNotFound):
            await house.plans.summary(scope, run.run_id)
        with pytest.raises(VerdictNotFound):
            await house.judge.verdict(scope, run.run_id)
        with pytest.raises(GuardrailNotFound):
            await house.guardrails.get(scope, rule.id)
        with pytest.raises(PolicyNotFound):
            await house.policies.get(scope, policy.id)
        assert await house.guardrails.search(scope, GuardrailFilter(), 0, 10) == []
        assert await house.policies.list(scope, PolicyFilter(), 0, 10) == ([], 0)
    inside = await guards.run(await guards.workspace("below", project_id=child.id))
    assert (await guards.judged(inside, stored("create"))).blocked is Blocked.STRICT
    others = await guards.run(await guards.workspace("foreign"), account_id=stranger.scope.account_id)
    assert (await guards.judged(others, stored("create"))).blocked is Blocked.NONE


async def test_policies_are_checked_listed_and_echoed(guards: Guards) -> None:
    house = guards.house
    padded = encoded(PUBLIC)
    one = await guards.policy(PUBLIC, name="one", labels=("s3",), category="Misconfiguration", severity=5)
    two = await guards.policy("firefly { false }", name="two", frameworks=("SOC2",), enabled=False)
    assert (await house.policies.get(guards.scope, one.id)).code == padded
    found, total = await house.policies.list(
        guards.scope, PolicyFilter(labels=("s3",), severities=(5,)), 0, 10
    )
    assert ([each.id for each in found], total) == ([one.id], 1)
    found, _ = await house.policies.list(guards.scope, PolicyFilter(sorting=(("name", True),)), 0, 10)
    assert [each.id for each in found] == [two.id, one.id]
    for bad in ("deny { true }", "firefly { foo( }", "firefly { no_such(1) }"):
        with pytest.raises(PolicyInvalid):
            await guards.policy(bad)


async def test_what_is_old_is_forgotten_and_a_workspace_takes_all_with_it(guards: Guards) -> None:
    workspace = await guards.workspace()
    run = await guards.run(workspace)
    house = guards.house
    diff = (
        b'diff --git a/m/a.tf b/m/a.tf\n--- a/m/a.tf\n+++ b/m/a.tf\n@@ -1 +1 @@\n-x\n+key = "%s"\n'
        % TOKEN.encode()
    )
    (guards.folder / "m").mkdir()
    (guards.folder / "m" / "a.tf").write_text(f'key = "{TOKEN}"')
    assert await house.files.keep(run, diff, guards.folder, [TOKEN]) == 1
    folders = await house.files.page(guards.scope, run.run_id, search="A.TF")
    (kept,) = folders["m"]
    assert (kept.additions, kept.deletions, kept.status) == (1, 1, "modified")
    assert TOKEN not in kept.patch + (kept.content or "")
    assert "[masked]" in (kept.content or "")
    await guards.judged(run, stored("create"))
    house.plans._now = lambda: kept_later
    kept_later = (await house.plans.summary(guards.scope, run.run_id)).created_at + timedelta(days=2)
    assert await house.plans.forget_old() == 1
    assert await house.plans.forget_old() == 0
    assert (await house.plans.summary(guards.scope, run.run_id)).counts.create == 6
    assert await house.plans.resources(guards.scope, run.run_id) == []
    await guards.workspaces.remove(workspace.id, actor="test")
    with pytest.raises(PlanNotFound):
        await house.plans.summary(guards.scope, run.run_id)
    assert await house.files.page(guards.scope, run.run_id) == {}
