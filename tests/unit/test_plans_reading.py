"""Reading plans: what is kept, what is hidden, what is refused."""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runyard.infrastructure.plans.applying import outcomes
from runyard.infrastructure.plans.attributes import tags_of
from runyard.infrastructure.plans.errors import PlanUnreadable
from runyard.infrastructure.plans.masking import Secrets, hide_marked
from runyard.infrastructure.plans.model import SENSITIVE, Action, PlannedResource
from runyard.infrastructure.plans.modules import module_path
from runyard.infrastructure.plans.reading import PlanFile
from tests.support.planned import PASSWORD, STORED, TOKEN, change, document, read, stored, written


def kept(file: PlanFile) -> str:
    """Return all that is kept of a plan as text."""
    rows = msgspec.json.encode([*file.resources(), *file.drift()])
    return (rows + msgspec.json.encode([file.outputs(), file.variables()])).decode()


@pytest.mark.parametrize("name", ["create", "no_op", "replace", "destroy"])
def test_stored_plan_of_terraform_shows_no_secret_in_any_form(name: str) -> None:
    original = stored(name).read_text()
    assert PASSWORD in original
    text = kept(PlanFile(stored(name), [TOKEN]))
    for secret in (PASSWORD, TOKEN):
        assert secret not in text
        assert base64.b64encode(secret.encode()).decode().rstrip("=") not in text
    assert "public-read" in text


def test_sensitive_value_copied_to_an_unmarked_place_is_hidden(tmp_path: Path) -> None:
    (one,) = read(
        tmp_path,
        change(
            "random_password.db",
            "update",
            {"result": "s3cret-from-provider", "copy": {"of": ["s3cret-from-provider"]}},
            {"result": "s3cret-from-provider"},
            before_sensitive={"result": True},
            after_sensitive={"result": True},
        ),
    )
    assert "s3cret" not in json.dumps(one.change)
    assert one.change["change"]["before"]["result"] == SENSITIVE


def test_actions_and_reasons_of_stored_plans() -> None:
    found = {one.address: one for one in PlanFile(stored("replace")).resources()}
    assert found["terraform_data.pinned"].action is Action.REPLACE
    assert found["terraform_data.pinned"].reason == "replace_because_cannot_update"
    assert found["terraform_data.bucket[1]"].action is Action.DELETE
    assert found["terraform_data.bucket[1]"].reason == "delete_because_count_index"
    inner = found['module.m["two.three"].terraform_data.inner']
    assert (inner.module, inner.action) == ('module.m["two.three"]', Action.NO_OP)
    outputs = {one.name: one for one in PlanFile(stored("create")).outputs()}
    assert (outputs["known"].value, outputs["known"].unknown) == ("known", False)
    assert outputs["id"].unknown
    assert outputs["password"].value == SENSITIVE
    assert outputs["password"].sensitive


def test_attributes_of_a_resource_come_from_where_they_are(tmp_path: Path) -> None:
    configuration = {
        "provider_config": {
            "aws": {
                "name": "aws",
                "full_name": "registry.terraform.io/hashicorp/aws",
                "expressions": {"region": {"constant_value": "us-east-1"}},
            }
        }
    }
    rows = read(
        tmp_path,
        change("aws_instance.a", "create", None, {"region": "eu-west-1", "tags": {"A": "1"}}),
        change("aws_instance.b", "delete", {"tags_all": {"B": "2"}}),
        change("module.m.aws_iam_role.c", "create", None, {"name": "x"}),
        change("google_compute_disk.d", "create", None, {"labels": {"l": "v"}, "location": "eu"}),
        configuration=configuration,
    )
    assert [(one.region, one.tags) for one in rows] == [
        ("eu-west-1", {"A": "1"}),
        ("us-east-1", {"B": "2"}),
        ("us-east-1", None),
        ("eu", {"l": "v"}),
    ]
    assert rows[2].module == "module.m"


def test_tags_known_only_after_apply_are_told_from_missing_ones() -> None:
    later = tags_of("t", {"tags": {"A": "1"}}, {"tags": {"B": True}})
    assert later is not None
    assert (later.names, later.pending, later.open) == (frozenset({"A", "B"}), frozenset({"B"}), False)
    whole = tags_of("t", {}, {"tags": True})
    assert whole is not None
    assert whole.open
    assert tags_of("t", {"name": "x"}, {}) is None
    listed = tags_of("t", {"tags": [{"key": "K", "value": "v"}]}, {})
    assert listed is not None
    assert listed.values == {"K": "v"}


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (b"", "is empty"),
        (b"{", "not valid JSON"),
        (b"[]", "not what `show -json` writes"),
        (b"{}", "not what `show -json` writes"),
        (b'{"format_version":"9.0"}', "format version '9.0'"),
        (b'{"format_version":"1.2","resource_changes":[{"address":1}]}', r"resource_changes\[0\]"),
        (b'{"format_version":"1.2","resource_changes":{}}', "not what"),
        (b"[" * 200_000, "not"),
        (b'{"format_version":"1.2","terraform_version":"\xff"}', "not valid JSON"),
    ],
)
def test_plan_that_is_broken_is_refused_with_a_sentence(tmp_path: Path, plan: bytes, text: str) -> None:
    with pytest.raises(PlanUnreadable, match=text):
        kept(PlanFile(written(tmp_path, plan)))


def test_plan_with_actions_of_no_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanUnreadable, match="actions at resource_changes"):
        read(tmp_path, change("aws_instance.a", "explode", None, {}))


def test_plan_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(PlanUnreadable, match="cannot be read"):
            PlanFile(path)


def test_characters_that_no_database_takes_are_replaced(tmp_path: Path) -> None:
    (one,) = read(tmp_path, change("aws_instance.a\0b", "create", None, {"tags": {"a\0": "b\0"}}))
    assert "\0" not in one.address
    assert one.tags == {"a\ufffd": "b\ufffd"}


SECRETS = st.lists(st.text(min_size=4, max_size=12), min_size=1, max_size=3)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20))


@st.composite
def documents_with_secrets(draw: st.DrawFn) -> tuple[Any, list[str]]:
    """Make a document into which secrets are woven: alone, inside texts, as names."""
    secrets = draw(SECRETS)
    inside = st.sampled_from(secrets).flatmap(
        lambda secret: st.tuples(st.text(max_size=5), st.text(max_size=5)).map(
            lambda ends: ends[0] + secret + ends[1]
        )
    )
    leaves = st.one_of(LEAVES, inside, st.sampled_from(secrets))
    nested = st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.one_of(st.text(max_size=5), inside), inner, max_size=3),
        ),
        max_leaves=8,
    )
    return draw(nested), secrets


@given(documents_with_secrets())
@settings(max_examples=60, deadline=None)
def test_secret_is_in_no_text_of_a_hidden_document(made: tuple[Any, list[str]]) -> None:
    value, secrets = made
    hidden = Secrets(secrets).hide(value)

    def texts(one: Any) -> list[str]:
        if isinstance(one, dict):
            return [text for name, inner in one.items() for text in (name, *texts(inner))]
        if isinstance(one, list):
            return [text for inner in one for text in texts(inner)]
        return [one] if isinstance(one, str) else []

    for text in texts(hidden):
        for secret in secrets:
            if len(secret.encode("utf-8", "replace")) >= 4 and secret not in "[masked]":
                assert secret not in text.replace("[masked]", "\0")


@st.composite
def marked_values(draw: st.DrawFn) -> tuple[Any, Any]:
    """Make a value and marks of its shape."""
    kind = draw(st.sampled_from(["leaf", "map", "list", "marked"]))
    if kind == "marked":
        return draw(st.sampled_from(["SECRET", ["SECRET"], {"a": {"b": "SECRET"}}])), True
    if kind == "leaf":
        return draw(st.sampled_from(["plain", 1, None, True])), draw(st.sampled_from([False, {}, None]))
    inner = draw(st.lists(marked_values(), max_size=3))
    if kind == "list":
        return [value for value, _ in inner], [mark for _, mark in inner]
    return {str(at): value for at, (value, _) in enumerate(inner)}, {
        str(at): mark for at, (_, mark) in enumerate(inner)
    }


@given(marked_values())
@settings(max_examples=60)
def test_everything_below_a_mark_is_hidden_and_nothing_else(made: tuple[Any, Any]) -> None:
    value, marks = made
    hidden = json.dumps(hide_marked(value, marks))
    assert "SECRET" not in hidden
    assert hidden.count("plain") == json.dumps(value).count("plain")


def test_marks_of_a_set_of_another_length_hide_all_of_it() -> None:
    assert hide_marked(["a", "b", "c"], [True]) == [SENSITIVE] * 3
    assert hide_marked(["a", "b"], []) == ["a", "b"]
    assert hide_marked({"a": "x"}, [True]) == SENSITIVE


def test_short_secret_does_not_tear_a_document() -> None:
    assert Secrets(["1", "abc"]).hide({"n": 1, "t": "abcd"}) == {"n": 1, "t": "abcd"}
    assert Secrets(["12345678"]).hide({"n": 12345678}) == {"n": "[masked]"}


def test_module_path_cuts_at_modules_only() -> None:
    address = 'module.a["x.module.y]\\"z"].module.b[0]'
    assert list(module_path(address)) == [
        ('a["x.module.y]\\"z"]', 'module.a["x.module.y]\\"z"]'),
        ("b[0]", address),
    ]
    assert list(module_path("")) == []


def test_apply_lines_tell_what_became_of_each_resource() -> None:
    lines = (STORED / "apply.jsonl").read_bytes().splitlines()
    told = outcomes(lines)
    assert set(told.values()) == {"applied"}
    assert len(told) == 6
    errored = (
        b'{"type":"apply_start","hook":{"resource":{"addr":"a.b"}}}',
        b'{"type":"apply_errored","hook":{"resource":{"addr":"a.b"}}}',
        b'{"type":"apply_complete","hook":{"resource":{"addr":"a.b"}}}',
        b'{"type":"apply_start","hook":{"resource":{"addr":"c.d"}}}',
        b'"apply_ no json',
        b"\xff\xfe",
    )
    assert outcomes(errored) == {"a.b": "failed", "c.d": "applying"}


def test_one_resource_kept_has_the_whole_entry(tmp_path: Path) -> None:
    (one,) = read(tmp_path, change("aws_instance.a", "create", None, {"x": 1}, deposed="", index=3))
    assert isinstance(one, PlannedResource)
    assert one.change["index"] == 3
    assert one.change["change"]["after"] == {"x": 1}
    assert document([])["format_version"] == "1.2"
