"""Laws of parameters and masking that hold for everything."""

import json
from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runyard.actions.documents import read_yaml
from runyard.actions.errors import InvalidMetadata, TemplateFailed
from runyard.actions.masking import MASK, mask_value, redact, secret_texts
from runyard.actions.model import Action, RunnerType
from runyard.actions.parameters.cast import cast
from runyard.actions.parameters.graph import Graph, in_cycles
from runyard.actions.parameters.merge import OVERRIDABLE, merge_parameters
from runyard.actions.parameters.render import Sources, complete, prepare
from runyard.actions.parameters.validate import Parameters, check_value
from runyard.actions.templating.environment import render
from runyard.actions.templating.filters.versions import Version
from runyard.actions.templating.jsonpath import find
from runyard.actions.values import Json

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(
    lambda t: "{{" not in t and "{%" not in t
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    LEAVES | PLAIN_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PLAIN_TEXT, inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from([
    "type", "properties", "required", "enum", "items", "additionalItems", "additionalProperties", "patternProperties",
    "anyOf", "allOf", "oneOf", "not", "multipleOf", "minimum", "exclusiveMinimum", "minLength", "pattern", "minItems",
    "uniqueItems", "minProperties", "dependencies", "format", "$ref", "id", "secret", "default", "a",
])  # fmt: skip
NO_SCHEMAS = st.dictionaries(
    WORDS,
    st.recursive(
        LEAVES | st.sampled_from(["string", "object", "array", "bogus", "(", "a"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
"""What somebody may write in the place of a schema."""
ATTRIBUTES: st.SearchStrategy[dict[str, Json]] = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer"]),
        "default": st.integers(0, 3),
        "description": PLAIN_TEXT,
        "secret": st.booleans(),
        "immutable": st.booleans(),
        "required": st.booleans(),
        "position": st.integers(0, 3),
    },
)


def runner_and_action(of_runner: Json, of_action: Json) -> tuple[RunnerType, Action]:
    runner = RunnerType(
        name="r", description="", runner_package="", runner_module="", runner_parameters=of_runner
    )
    return runner, Action(name="a", pack="p", runner_type="r", parameters=of_action)


@given(st.dictionaries(NAMES, ATTRIBUTES, max_size=4), st.dictionaries(NAMES, ATTRIBUTES, max_size=4))
def test_merge_keeps_every_attribute_that_may_not_be_overridden(of_runner: Json, of_action: Json) -> None:
    runner, action = runner_and_action(of_runner, of_action)
    try:
        merged = merge_parameters(runner, action)
    except InvalidMetadata:
        return
    assert merged.keys() == of_runner.keys() | of_action.keys()
    for name, schema in of_runner.items():
        for attribute, value in schema.items():
            if attribute not in OVERRIDABLE or attribute not in of_action.get(name, {}):
                assert merged[name][attribute] == value
    for name, schema in of_action.items():
        for attribute, value in schema.items():
            assert merged[name][attribute] == value
    assert merge_parameters(runner, runner_and_action({}, merged)[1]) == merged


@given(VALUES.filter(lambda v: isinstance(v, list | dict)))
def test_structure_written_as_json_or_python_is_cast_back(value: Json) -> None:
    kind = {"type": "array" if isinstance(value, list) else "object"}
    assert cast(json.dumps(value), kind) == value
    assert cast(repr(value), kind) == value
    assert cast(value, kind) is value or cast(value, kind) == value


@given(st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False))
def test_scalar_written_as_text_is_cast_back(value: float) -> None:
    assume(abs(value) < 10**300)
    kind = "boolean" if isinstance(value, bool) else "integer" if isinstance(value, int) else "number"
    assert cast(str(value), {"type": kind}) == value


@given(VALUES)
def test_value_reaches_another_parameter_unchanged(value: Json) -> None:
    action = Action(
        name="a", pack="p", runner_type="r", parameters={"v": {}, "inside": {"type": "object"}, "text": {}}
    )
    takes = Parameters(runner_and_action({}, {})[0], action)
    given_values = {"v": value, "inside": {"k": ["{{v}}"]}, "text": "{{ v | to_complex }}"}
    live = prepare(takes, given_values, Sources())
    assert live["inside"] == {"k": [value]}
    assert json.loads(live["text"]) == value
    assert live["v"] == value
    assert complete(takes, live, Sources()) == live


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_values_without_templates_are_stored_and_dispatched_as_given(values: dict[str, Json]) -> None:
    action = Action(name="a", pack="p", runner_type="r", parameters={name: {} for name in values})
    takes = Parameters(runner_and_action({}, {})[0], action)
    live = prepare(takes, values, Sources())
    assert live == values
    assert complete(takes, live, Sources()) == values


@given(st.text(max_size=60) | st.text("{}%#-'\"|. abx01()[]~*+\n", max_size=60))
def test_any_text_renders_or_fails_by_its_own_error(source: str) -> None:
    with suppress(TemplateFailed):
        assert isinstance(render(source, {"a": [1, {"b": "x"}], "x": "text"}), str)


@given(st.text(max_size=60) | st.text("abc:-[]{},&*!|>'\" \n<", max_size=60))
def test_any_text_is_yaml_of_json_types_or_fails_by_its_own_error(source: str) -> None:
    with suppress(InvalidMetadata):
        value = read_yaml(source).value
        assert json.loads(json.dumps(value)) == value


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=3), max_size=8))
def test_graph_is_ordered_or_has_a_gap_or_a_cycle(needs: dict[str, list[str]]) -> None:
    needs = {name: [n for n in wanted if n in needs] for name, wanted in needs.items()}
    cyclic = {name for name in needs if name in reached(needs, name)}
    assert in_cycles(needs) == cyclic
    if not cyclic:
        order = Graph({name: tuple(wanted) for name, wanted in needs.items()}).order()
        assert sorted(order) == sorted(needs)
        assert all(order.index(n) < order.index(name) for name, wanted in needs.items() for n in wanted)


def reached(needs: dict[str, list[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(needs[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs[name]
    return found


SECRET_TEXTS = st.integers(0, 10**9).map(lambda number: f"hidden-{number}-value")


@st.composite
def secrets_under_a_schema(draw: st.DrawFn, depth: int = 3) -> tuple[Json, Json, set[str]]:
    """Draw a schema, a value that may or may not fit it, and the texts in places that the schema calls secret."""
    kind = draw(
        st.sampled_from(["secret", "open", "object", "array", "any"] if depth else ["secret", "open"])
    )
    if kind == "open":
        return {"type": "string"}, draw(st.text("xyz", max_size=5)), set()
    if kind == "secret":
        text = draw(SECRET_TEXTS)
        shape: Json = draw(st.sampled_from([text, [text], {"k": text}, [{"k": [text]}], {text: text}]))
        return {"secret": True, "type": draw(st.sampled_from(["string", "object", "array"]))}, shape, {text}
    if kind == "any":
        schema, value, texts = draw(secrets_under_a_schema(depth - 1))
        word = draw(st.sampled_from(["anyOf", "oneOf", "allOf"]))
        return (
            {word: draw(st.sampled_from([[schema], [{}, schema], [schema, {"type": "null"}]]))},
            value,
            texts,
        )
    members = draw(st.dictionaries(NAMES, secrets_under_a_schema(depth - 1), max_size=3))
    texts = set().union(*(member[2] for member in members.values()))
    values = {name: member[1] for name, member in members.items()}
    if kind == "object":
        schema = {"type": "object", "properties": {name: member[0] for name, member in members.items()}}
        wrapped = draw(st.sampled_from([values, json.dumps(values), [values]]))
        return schema, wrapped, texts
    return (
        {"type": "array", "items": [member[0] for member in members.values()]},
        list(values.values()),
        texts,
    )


@given(secrets_under_a_schema())
def test_masking_never_shows_a_secret_and_is_stable(drawn: tuple[Json, Json, set[str]]) -> None:
    schema, value, texts = drawn
    before = json.dumps(value)
    shown = mask_value(value, schema)
    assert not any(text in json.dumps(shown) for text in texts)
    assert json.dumps(value) == before
    assert mask_value(shown, schema) == shown
    if not texts:
        assert shown == value


@given(secrets_under_a_schema(), PLAIN_TEXT)
def test_redaction_hides_every_secret_text_anywhere(drawn: tuple[Json, Json, set[str]], around: str) -> None:
    schema, value, texts = drawn
    found = secret_texts({"p": value}, {"p": schema})
    for text in texts & found:
        shown = redact({"a": [f"{around}{text}{around}"], text: text}, found)
        assert text not in json.dumps(shown)
        assert MASK in json.dumps(shown)


@given(VALUES)
def test_path_to_everything_finds_every_leaf(value: Json) -> None:
    found = find("$..*", value, lambda _units: None)
    assert len(found) == count(value)


def count(value: Json) -> int:
    if isinstance(value, dict):
        return sum(1 + count(item) for item in value.values())
    return sum(1 + count(item) for item in value) if isinstance(value, list) else 0


VERSIONS = st.builds(
    Version,
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.lists(st.sampled_from(["a", "1", "10", "b"]), max_size=2).map(tuple),
)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_versions_are_totally_ordered(a: Version, b: Version, c: Version) -> None:
    assert a.compare(b) == -b.compare(a)
    assert (a.compare(b) == 0) == (a == b)
    if a.compare(b) <= 0 and b.compare(c) <= 0:
        assert a.compare(c) <= 0


@given(
    NO_SCHEMAS,
    st.recursive(LEAVES | PLAIN_TEXT, lambda i: st.lists(i) | st.dictionaries(WORDS, i), max_leaves=5),
)
def test_whatever_stands_for_a_schema_is_applied_or_refused_in_words(schema: Json, value: Json) -> None:
    wrong = check_value(schema, value)
    assert wrong is None or isinstance(wrong, str)
    mask_value(value, schema)
    secret_texts({"a": value}, {"a": schema})


@pytest.mark.parametrize("schema", [{"type": "bogus"}, {"type": {"enum": 1}}])
def test_schema_with_an_unknown_type_is_refused_without_the_value(schema: Json) -> None:
    assert check_value(schema, "hush-hush") == "the schema has a type that does not exist"


@pytest.mark.parametrize(
    "schema",
    [{"id": {}}, {"properties": {"a": {"enum": 5}}}, {"multipleOf": 0}, {"anyOf": 5}, {"pattern": 5}],
)
def test_schema_that_is_none_is_refused_in_words(schema: Json) -> None:
    assert "schema" in (check_value(schema, 7 if "multipleOf" in schema else "x") or "")


@pytest.mark.parametrize("word", ["anyOf", "allOf", "oneOf"])
def test_alternatives_that_are_no_list_hide_nothing(word: str) -> None:
    assert mask_value({"a": "x"}, {word: 5, "properties": {"a": {"secret": True}}}) == {"a": MASK}
