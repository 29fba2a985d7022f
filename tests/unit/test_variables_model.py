"""How variables win over each other, and the small grammar of literals. Pure rules."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.infrastructure.variables.errors import InvalidVariable, VariableConflict
from runyard.infrastructure.variables.literals import NotLiteral, read_collection
from runyard.infrastructure.variables.model import (
    Destination,
    Key,
    NewVariable,
    Plain,
    Sets,
    check,
    check_parents,
    merged,
)
from runyard.infrastructure.variables.service import masked_texts, resolved

ENV, IAC = Destination.ENV, Destination.IAC


def values(**given: str) -> Mapping[Key, Plain]:
    return {(key, ENV): Plain(value, False) for key, value in given.items()}


def shown(given: Mapping[Key, Plain]) -> dict[str, str]:
    return {key: plain.value for (key, _), plain in given.items()}


def test_set_wins_over_its_parents_and_an_earlier_parent_over_a_later_one() -> None:
    parents = {"child": ("first", "second"), "first": ("base",)}
    content = {
        "base": values(A="base", B="base", C="base", D="base"),
        "first": values(A="first", B="first"),
        "second": values(A="second", B="second", C="second", E="second"),
        "child": values(A="child"),
    }
    flat = Sets(parents, content).flat("child")
    assert shown(flat) == {"A": "child", "B": "first", "C": "base", "D": "base", "E": "second"}


def test_flat_of_a_deep_lattice_is_worked_out_once_for_each_set() -> None:
    parents = {f"{layer}{side}": (f"{layer + 1}a", f"{layer + 1}b") for layer in range(60) for side in "ab"}
    assert shown(Sets(parents, {"60a": values(K="top")}).flat("0a")) == {"K": "top"}


def test_two_sets_at_one_place_with_different_values_are_refused() -> None:
    sets = Sets({}, {"a": values(K="1", L="x"), "b": values(K="2")})
    with pytest.raises(VariableConflict, match="K"):
        sets.level(["a", "b"])
    assert shown(Sets({}, {"a": values(K="1"), "b": values(K="1", M="y")}).level(["a", "b"])) == {
        "K": "1",
        "M": "y",
    }


def test_set_and_its_parent_at_one_place_are_no_conflict() -> None:
    sets = Sets({"child": ("base",)}, {"base": values(K="base", L="base"), "child": values(K="child")})
    assert shown(sets.level(["child", "base"])) == {"K": "child", "L": "base"}
    assert shown(sets.level(["base", "child"])) == {"K": "child", "L": "base"}


def test_same_key_with_another_destination_is_another_variable() -> None:
    one, other = {("K", ENV): Plain("1", False)}, {("K", IAC): Plain("2", False)}
    assert len(Sets({}, {"a": one, "b": other}).level(["a", "b"])) == 2


def test_both_spellings_of_an_input_are_one_variable() -> None:
    low, high = {("TF_VAR_size", IAC): Plain("1", False)}, {("size", IAC): Plain("2", False)}
    assert resolved(merged([low, high])).terraform == {"size": "2"}
    with pytest.raises(VariableConflict):
        Sets({}, {"a": low, "b": high}).level(["a", "b"])


@pytest.mark.parametrize(
    ("graph", "made", "wanted"),
    [
        ({}, "a", ["a"]),
        ({"b": ["a"]}, "a", ["b"]),
        ({"c": ["b"], "b": ["a"]}, "a", ["x", "c"]),
        ({}, "a", ["b", "b"]),
        ({}, "a", [str(number) for number in range(51)]),
    ],
)
def test_parents_that_make_a_circle_are_refused(
    graph: Mapping[str, Sequence[str]], made: str, wanted: Sequence[str]
) -> None:
    with pytest.raises(InvalidVariable):
        check_parents(graph, made, wanted)


def test_parents_beyond_the_bound_are_refused_for_a_set_and_for_those_below_it() -> None:
    chain = {str(number): [str(number + 1)] for number in range(60)}
    below = {f"b{number}": [f"b{number + 1}"] for number in range(60)}
    check_parents(chain, "new", ["0"])
    check_parents({**chain, **below}, "b60", ["21"])
    with pytest.raises(InvalidVariable, match="at most 100 sets above"):
        check_parents({**chain, **below}, "b60", ["20"])
    long = {str(number): [str(number + 1)] for number in range(5000)}
    with pytest.raises(InvalidVariable, match="at most 100 sets above"):
        check_parents(long, "new", ["0"])


def test_below_lists_all_that_inherit() -> None:
    graph = {"b": ["a"], "c": ["b"], "d": ["a", "c"], "e": []}
    assert Sets(graph, {}).below("a") == ["b", "c", "d"]
    assert Sets(graph, {}).below("d") == []


def test_secret_inputs_go_through_the_environment_and_are_masked() -> None:
    given = {
        ("password", IAC): Plain("hunter22", True),
        ("TF_VAR_zones", IAC): Plain('["a", "b"]', False),
        ("version", IAC): Plain("1.10", False),
        ("TOKEN", ENV): Plain("line one\nline two\n", True),
        ("REGION", ENV): Plain("eu", False),
    }
    found = resolved(merged([given]))
    assert found.environment == {
        "TF_VAR_password": "hunter22", "TOKEN": "line one\nline two\n", "REGION": "eu",
    }  # fmt: skip
    assert found.terraform == {"zones": ["a", "b"], "version": "1.10"}
    assert {"hunter22", "line one", "line two"} <= set(found.secrets)


def test_secret_without_text_masks_nothing() -> None:
    assert masked_texts(" \n") == []
    assert "x" not in masked_texts("long enough\nx")


@pytest.mark.parametrize(
    "wrong",
    [
        NewVariable(key=""),
        NewVariable(key="A=B"),
        NewVariable(key="1A"),
        NewVariable(key="A\n"),
        NewVariable(key="PATH"),
        NewVariable(key="TF_CLI_ARGS_apply"),
        NewVariable(key="TF_HTTP_ADDRESS"),
        NewVariable(key="K", value="a\0b"),
        NewVariable(key="K", value="x" * 65_537),
        NewVariable(key="a b", destination=IAC),
        NewVariable(key="x" * 257),
    ],
)
def test_variable_that_no_run_could_be_given_is_refused(wrong: NewVariable) -> None:
    with pytest.raises(InvalidVariable):
        check(wrong)


def test_plain_secret_is_not_shown_by_its_repr() -> None:
    assert "hunter" not in repr(Plain("hunter22", True))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{a = 1, "b" = ["x", true,], c = { d = null }}', {"a": 1, "b": ["x", True], "c": {"d": None}}),
        ("[\n  1,\n  2.5, # two and a half\n  -3,\n]", [1, 2.5, -3]),
        ('{\n  a = "1"\n  b: "2"\n}', {"a": "1", "b": "2"}),
        ("[]", []),
        ('{"a": [1e3]}', {"a": [1000.0]}),
    ],
)
def test_literals_of_the_tool_are_read(text: str, value: Any) -> None:
    assert read_collection(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.10",
        "true",
        '"text"',
        "[var.x]",
        '{a = "${x}"}',
        "[1] [2]",
        "{a = }",
        "[1 2]",
        "{",
        "[" * 5000,
        "{a}",
        "{1 = 2}",
    ],
)
def test_what_is_no_literal_collection_stays_text(text: str) -> None:
    with pytest.raises(NotLiteral):
        read_collection(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)
def test_collections_in_json_are_read_as_json(document: Any) -> None:
    text = json.dumps(document)
    if isinstance(document, list | dict):
        assert read_collection(text) == document
    else:
        with pytest.raises(NotLiteral):
            read_collection(text)


@given(st.text(alphabet='[]{}",:=\\ \nab1.$#/-', max_size=40))
def test_reading_any_text_ends_in_a_collection_or_a_refusal(text: str) -> None:
    with contextlib.suppress(NotLiteral):
        assert isinstance(read_collection(text), list | dict)


@given(st.lists(st.dictionaries(st.sampled_from("ABCD"), st.text(max_size=2), max_size=4), max_size=5))
def test_merged_gives_each_key_the_value_of_the_strongest_level(levels: list[dict[str, str]]) -> None:
    expected: dict[str, str] = {}
    for level in levels:
        expected |= level
    assert shown(merged([values(**level) for level in levels])) == expected
