"""Guardrails, pure: patterns, scopes, criteria of each type, severities, what clients may send."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runyard.infrastructure.guardrails.documents import read_criteria, read_scope
from runyard.infrastructure.guardrails.judging import cost_message, messages, policy_input
from runyard.infrastructure.guardrails.model import (
    Blocked,
    CostCriteria,
    Guardrail,
    GuardrailId,
    RuleResult,
    RuleScope,
    RuleType,
    Severity,
    blocked_by,
)
from runyard.infrastructure.guardrails.wildcards import Selection, matches
from runyard.infrastructure.plans.model import Cost
from runyard.infrastructure.plans.reading import PlanFile
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import AccountId, ProjectId
from tests.support.planned import change, read, stored

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ALL = {"include": ["*"]}


def rule(kind: str, criteria: Mapping[str, Any], severity: int = 2, no_op: bool = False) -> Guardrail:
    """Make a rule out of what a client sends."""
    read_in, shown = read_criteria(RuleType(kind), {kind: criteria} if criteria else None)
    scope, scope_shown = read_scope(None)
    return Guardrail(
        id=GuardrailId.new(),
        account_id=AccountId.new(),
        project_id=ProjectId.new(),
        project_path="/",
        created_by="test",
        name="rule",
        type=RuleType(kind),
        scope=scope,
        criteria=read_in,
        scope_document=scope_shown,
        criteria_document=shown,
        enabled=True,
        severity=Severity(severity),
        enforce_on_no_op=no_op,
        notification_id="0" * 24,
        created_at=NOW,
        updated_at=NOW,
    )


# --- patterns ---

PIECES = st.text(alphabet="ab*", max_size=8)


@given(PIECES, st.text(alphabet="ab", max_size=10))
@settings(max_examples=200)
def test_pattern_means_what_a_regular_expression_of_it_means(pattern: str, text: str) -> None:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert matches(pattern, text) == (re.fullmatch(expression, text, re.DOTALL) is not None)


@given(
    st.lists(PIECES, max_size=3),
    st.lists(PIECES, max_size=3),
    st.lists(st.text("ab", max_size=5), max_size=3),
)
@settings(max_examples=100)
def test_exclude_wins_and_no_include_means_everything(
    include: list[str], exclude: list[str], names: list[str]
) -> None:
    found = Selection(include, exclude).has_any(names)
    shown = names or [""]
    excluded = any(matches(one, name) for one in exclude for name in shown)
    included = not include or any(matches(one, name) for one in include for name in shown)
    assert found == (included and not excluded)


def test_pattern_with_many_stars_takes_no_time() -> None:
    assert not matches("*a" * 400 + "b", "a" * 20_000)


@pytest.mark.parametrize(
    ("scope", "covers"),
    [
        ({}, True),
        ({"workspaces": {"include": ["*-prod"]}}, True),
        ({"workspaces": {"include": ["*-PROD"]}}, False),
        ({"workspaces": {"include": ["*-prod"], "exclude": ["net-*"]}}, False),
        ({"repositories": {"include": ["acme/*"]}}, True),
        ({"branches": {"include": ["dev", "release/*"]}}, False),
        ({"labels": {"include": ["prod", "other"]}}, True),
        ({"labels": {"include": ["*"], "exclude": ["net"]}}, False),
        ({"workspaces": {"include": []}}, True),
    ],
)
def test_scope_needs_every_dimension(scope: Mapping[str, Any], covers: bool) -> None:
    read_in, _ = read_scope({"workspaces": ALL, "repositories": ALL, "branches": ALL, "labels": ALL, **scope})
    assert read_in.covers("net-prod", "acme/infra", "main", ["net", "prod"]) is covers


def test_star_covers_a_workspace_without_labels() -> None:
    assert RuleScope().covers("w", "", "", [])
    assert not RuleScope(labels=Selection(["prod*"])).covers("w", "", "", [])


# --- the matrix: type, severity, include or exclude, no-op ---

CRITERIA: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    # What finds something in the stored plan `no_op` or `create`, and the same with what excludes it.
    "resource": (
        {
            "actions": ["create", "no-op"],
            "regions": {"include": ["eu-*"]},
            "assetTypes": {"include": ["terraform_*"]},
        },
        {
            "actions": ["create", "no-op"],
            "regions": {"include": ["*"], "exclude": ["*"]},
            "assetTypes": {"include": ["*"], "exclude": ["terraform_data"]},
        },
    ),
    "tag": (
        {"tagEnforcementMode": "requiredTags", "requiredTags": ["Owner", "Cost*"]},
        {"tagEnforcementMode": "requiredTags", "requiredTags": ["*"]},
    ),
}


@pytest.mark.parametrize("kind", ["resource", "tag"])
@pytest.mark.parametrize("severity", [1, 2, 3])
@pytest.mark.parametrize("excluded", [False, True])
@pytest.mark.parametrize("no_op", [False, True])
@pytest.mark.parametrize("plan", ["create", "no_op", "destroy"])
def test_matrix_of_rules_about_resources(
    kind: str, severity: int, excluded: bool, no_op: bool, plan: str
) -> None:
    one = rule(kind, CRITERIA[kind][excluded], severity, no_op)
    resources = list(PlanFile(stored(plan)).resources())
    found = {resource.address: message for resource, message in messages(one, resources)}
    expected = plan == "create" or (plan == "no_op" and no_op)
    wanted: set[str] = set()
    if expected and kind == "resource" and not excluded:
        # `pinned` takes its region from a bucket: known once that is there.
        wanted = {"terraform_data.bucket[0]", "terraform_data.bucket[1]"}
        wanted |= {"terraform_data.pinned"} if plan == "no_op" else set()
    if expected and kind == "tag":
        wanted = {"terraform_data.bucket[1]"}
    assert found.keys() == wanted
    result = RuleResult(rule_id="", rule_name="", type=one.type, severity=one.severity, violations=len(found))
    blocks = {1: Blocked.FLEXIBLE, 2: Blocked.STRICT, 3: Blocked.NONE}[severity]
    assert blocked_by([result]) is (blocks if wanted else Blocked.NONE)


@pytest.mark.parametrize("no_op", [False, True])
@pytest.mark.parametrize(
    ("criteria", "before", "after", "violated"),
    [
        ({"thresholdAmount": 100}, 1000, 1100, False),
        ({"thresholdAmount": 100}, 1000, 1100.01, True),
        ({"thresholdAmount": 0}, 10, 10, False),
        ({"thresholdAmount": 0}, 10, 5, False),
        ({"thresholdPercentage": 20}, 100, 120, False),
        ({"thresholdPercentage": 20}, 100, 121, True),
        ({"thresholdPercentage": 20}, 0, 1, True),
        ({"thresholdPercentage": 20}, 0, 0, False),
        ({"thresholdAmount": 1000, "thresholdPercentage": 10}, 100, 150, True),
    ],
)
def test_cost_is_judged_by_change_and_percentage(
    criteria: Mapping[str, Any], before: float, after: float, violated: bool, no_op: bool
) -> None:
    found = rule("cost", criteria, no_op=no_op).criteria.cost
    assert isinstance(found, CostCriteria)
    message = cost_message(found, Cost(before=before, after=after))
    assert (message is not None) is violated
    assert message is None or "$" in message


@pytest.mark.parametrize(
    ("results", "blocked"),
    [
        ([], Blocked.NONE),
        ([(3, 5)], Blocked.NONE),
        ([(3, 5), (1, 1)], Blocked.FLEXIBLE),
        ([(1, 1), (2, 1), (3, 1)], Blocked.STRICT),
        ([(2, 0), (1, 1)], Blocked.FLEXIBLE),
    ],
)
def test_strongest_violated_rule_decides(results: list[tuple[int, int]], blocked: Blocked) -> None:
    made = [
        RuleResult(
            rule_id="", rule_name="", type=RuleType.COST, severity=Severity(severity), violations=count
        )
        for severity, count in results
    ]
    assert blocked_by(made) is blocked


# --- resources and tags in particular ---


@pytest.mark.parametrize(
    ("actions", "planned", "violated"),
    [
        (["delete"], "delete,create", True),
        (["create"], "create,delete", True),
        (["replace"], "delete,create", True),
        (["replace"], "delete", False),
        (["update"], "delete,create", False),
        (["delete"], "forget", False),
        ([], "update", True),
        (["no-op"], "no-op", False),
    ],
)
def test_replacement_is_a_delete_and_a_create(
    tmp_path: Path, actions: list[str], planned: str, violated: bool
) -> None:
    one = rule("resource", {"actions": actions, "regions": ALL, "assetTypes": ALL})
    found = read(tmp_path, change("aws_db_instance.main", planned, {}, {}))
    assert bool(list(messages(one, found))) is violated


@pytest.mark.parametrize(
    ("pattern", "violated"),
    [
        ("aws_db_instance.*", True),
        ("aws_db_instance", True),
        ("module.db.*", True),
        ("*.main[0]", True),
        ("aws_instance.*", False),
        ("module.*.aws_s3_bucket.*", False),
    ],
)
def test_specific_resource_is_an_address_or_a_type(tmp_path: Path, pattern: str, violated: bool) -> None:
    one = rule(
        "resource",
        {"actions": ["delete"], "specificResources": [pattern], "regions": ALL, "assetTypes": ALL},
    )
    found = read(tmp_path, change("module.db.aws_db_instance.main[0]", "delete", {}))
    assert bool(list(messages(one, found))) is violated


def test_unknown_region_fits_the_star_only(tmp_path: Path) -> None:
    found = read(tmp_path, change("aws_iam_role.a", "create", None, {"name": "x"}))
    for regions, violated in ((["*"], True), (["eu-*", "us-*"], False)):
        one = rule("resource", {"actions": ["create"], "regions": {"include": regions}, "assetTypes": ALL})
        assert bool(list(messages(one, found))) is violated


@pytest.mark.parametrize(
    ("criteria", "after", "unknown", "violated"),
    [
        ({"tagEnforcementMode": "anyTags"}, {"tags": {}}, {}, True),
        ({"tagEnforcementMode": "anyTags"}, {"tags": None}, {}, True),
        ({"tagEnforcementMode": "anyTags"}, {"tags": {"a": "1"}}, {}, False),
        ({"tagEnforcementMode": "anyTags"}, {"name": "no such attribute"}, {}, False),
        ({"tagEnforcementMode": "anyTags"}, {}, {"tags": True}, False),
        ({"tagEnforcementMode": "requiredTags", "requiredTags": ["Owner"]}, {"tags": {"owner": "x"}}, {}, True),
        ({"tagEnforcementMode": "requiredTags", "requiredTags": ["Own*"]}, {"labels": {"Owner": "x"}}, {}, False),
        ({"tagEnforcementMode": "requiredTags", "requiredTags": ["A"]}, {"tags": {}}, {"tags": {"A": True}}, False),
        # A tag that is named like a pattern, or like the text for what is unknown, is no way around.
        ({"tagEnforcementMode": "requiredTags", "requiredTags": ["A"]}, {"tags": {"*": "(known after apply)"}}, {}, True),
        ({"tagEnforcementMode": "requiredValues", "requiredValues": {"Env": ["prod", "dev"]}}, {"tags": {"Env": "qa"}}, {}, True),
        ({"tagEnforcementMode": "requiredValues", "requiredValues": {"Env": "prod*"}}, {"tags": {"Env": "prod-1"}}, {}, False),
        ({"tagEnforcementMode": "requiredValues", "requiredValues": {"Env": []}}, {"tags": {"Env": "any"}}, {}, False),
        ({"tagEnforcementMode": "requiredValues", "requiredValues": {"Env": ["x"]}}, {"tags": {}}, {"tags": {"Env": True}}, False),
        ({"tagEnforcementMode": "requiredValues", "requiredValues": {"Env": ["x"]}}, {"tags": {}}, {}, True),
    ],
)  # fmt: skip
def test_tags_are_demanded_as_the_mode_says(
    tmp_path: Path, criteria: Mapping[str, Any], after: Any, unknown: Any, violated: bool
) -> None:
    found = read(tmp_path, change("aws_instance.a", "create", None, after, after_unknown=unknown))
    assert bool(list(messages(rule("tag", criteria), found))) is violated


def test_rule_without_criteria_finds_nothing(tmp_path: Path) -> None:
    found = read(tmp_path, change("aws_instance.a", "delete", {}))
    assert list(messages(rule("resource", {}), found)) == []


def test_policies_see_what_will_be(tmp_path: Path) -> None:
    replaced, deleted, data = read(
        tmp_path,
        change("aws_instance.a", "delete,create", {"x": 1}, {"x": 2}),
        change("aws_instance.b", "delete", {"x": 1}),
        change("aws_ami.c", "read", None, {}, mode="data"),
    )
    shown = policy_input(replaced)
    assert shown is not None
    assert shown["configuration"] == {"x": 2}
    assert (shown["action"], shown["actions"]) == ("create", ["delete", "create"])
    assert shown["x"] == 2
    assert policy_input(deleted) is None
    assert policy_input(data) is None


# --- what clients send ---


@pytest.mark.parametrize(
    ("kind", "criteria", "text"),
    [
        ("cost", {"policy": {}}, "one member that is named cost"),
        ("cost", {"cost": {"thresholdAmount": 1}, "tag": {}}, "one member"),
        ("cost", {"cost": {}}, "Threshold Amount is required"),
        ("cost", {"cost": {"thresholdAmount": -1}}, "Threshold Amount is not valid"),
        ("cost", {"cost": {"thresholdAmount": True}}, "Threshold Amount is not valid"),
        ("cost", {"cost": [1]}, "Cost is not valid"),
        ("policy", {"policy": {"severity": "awful"}}, "Severity is not valid"),
        ("policy", {"policy": {"policies": []}}, "Policies is not valid"),
        ("resource", {"resource": {"actions": ["delete"]}}, "Regions is required"),
        ("resource", {"resource": {"actions": ["delete"], "regions": ALL}}, "Asset Types is required"),
        (
            "resource",
            {"resource": {"actions": ["burn"], "regions": ALL, "assetTypes": ALL}},
            "Actions is not valid",
        ),
        ("resource", {"resource": {"actions": "delete"}}, "Actions is not valid"),
        ("tag", {"tag": {}}, "Tag Enforcement Mode is required"),
        ("tag", {"tag": {"tagEnforcementMode": "some"}}, "Tag Enforcement Mode is not valid"),
        ("tag", {"tag": {"tagEnforcementMode": "requiredTags"}}, "Required Tags is required"),
        ("tag", {"tag": {"tagEnforcementMode": "requiredValues", "requiredValues": [1]}}, "Required Values"),
        ("tag", {"tag": {"tagEnforcementMode": "requiredTags", "requiredTags": ["a\0"]}}, "NUL"),
    ],
)
def test_criteria_that_do_not_fit_are_refused_in_published_words(kind: str, criteria: Any, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        read_criteria(RuleType(kind), criteria)


@pytest.mark.parametrize("missing", ["workspaces", "repositories", "branches", "labels"])
def test_scope_lacking_a_dimension_is_refused(missing: str) -> None:
    whole = {"workspaces": ALL, "repositories": ALL, "branches": ALL, "labels": ALL}
    del whole[missing]
    with pytest.raises(InvalidArgument, match=f"{missing.capitalize()} is required"):
        read_scope(whole)
    with pytest.raises(InvalidArgument, match="expected a list of texts"):
        read_scope({**whole, missing: {"include": [1]}})


def test_scope_and_criteria_are_echoed_as_they_came() -> None:
    sent = {
        "workspaces": {"include": ["b", "a"], "exclude": []},
        "repositories": ALL,
        "branches": ALL,
        "labels": {"include": ["*"], "exclude": ["x"]},
    }
    assert read_scope(sent)[1] == sent
    criteria = {"policy": {"severity": "HIGH", "policies": {"include": ["*"], "exclude": ["legacy-*"]}}}
    read_in, shown = read_criteria(RuleType.POLICY, criteria)
    assert shown == criteria
    assert read_in.policy is not None
    assert read_in.policy.policies.has("x")
    assert not read_in.policy.policies.has("legacy-1")
