"""Parameters: every row of the contract on merging, rendering, casting, checking and dividing."""

import itertools
import re
import time

import pytest

from runyard.actions.dialect import checker
from runyard.actions.errors import InvalidMetadata, InvalidParameters, ParameterUnresolved
from runyard.actions.model import make_action
from runyard.actions.packs.loader import load_pack, system_packs
from runyard.actions.parameters.cast import cast
from runyard.actions.parameters.graph import Graph, in_cycles
from runyard.actions.parameters.merge import merge_parameters
from runyard.actions.parameters.render import Sources, prepare, resolve
from runyard.actions.parameters.split import dispatch, script_arguments
from runyard.actions.parameters.validate import Parameters
from runyard.actions.runnertypes import RUNNER_TYPES
from runyard.actions.values import Json
from tests.fakes.datastore import FakeDatastore

NOTHING = Sources()
SYSTEM = {
    action.ref: Parameters(RUNNER_TYPES[action.runner_type], action)
    for folder in system_packs()
    for action in load_pack(folder).actions
}


def parameters(runner: str = "python-script", **schemas: Json) -> Parameters:
    action = make_action({"name": "a", "pack": "p", "runner_type": runner, "parameters": schemas})
    return Parameters(RUNNER_TYPES[runner], action)


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("ref", "given", "message"),
    [
        ("core.local", {}, "'cmd' is a required property"),
        (
            "core.local",
            {"cmd": "x", "bogus": 1},
            "Additional properties are not allowed ('bogus' was unexpected)",
        ),
        ("core.local", {"cmd": 5}, 'Value "5" must either be a string or None. Got "int".'),
        ("core.local", {"cmd": "x", "timeout": "abc"}, "invalid literal for int() with base 10: 'abc'"),
        ("core.local", {"cmd": None}, "None is not of type 'string'"),
        (
            "core.local",
            {"cmd": "x", "sudo": True},
            "Override of immutable parameter(s) ['sudo'] is unsupported.",
        ),
        ("core.local", {"cmd": "x", "env": "[1]"}, "[1] is not of type 'object', 'null'"),
        ("core.http", {"url": "u", "method": "BREW"}, "'BREW' is not one of"),
        (
            "core.echo",
            {"message": "m", "cmd": "x"},
            "Override of immutable parameter(s) ['cmd'] is unsupported.",
        ),
        ("core.announcement", {"message": "[1]"}, "[1] is not of type 'object', 'null'"),
    ],
)
def test_bad_parameters_are_refused_with_the_published_text(
    ref: str, given: dict[str, Json], message: str
) -> None:
    with pytest.raises(InvalidParameters, match=re.escape(message)):
        prepare(SYSTEM[ref], given, NOTHING)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cmd": "{{ nope }}"}, 'Dependency unsatisfied in variable "nope"'),
        (
            {"cmd": "{{ cmd }}"},
            "Cyclic dependency found in the following variables: cmd. Likely the variable is referencing itself",
        ),
        (
            {"cmd": "{{ cwd }}", "cwd": "{{ cmd }}"},
            "Cyclic dependency found in the following variables: cmd, cwd.",
        ),
        ({"cmd": "{{ 1 / 0 }}"}, 'Failed to render parameter "cmd": division by zero'),
        (
            {"cmd": "{{ action_context.nope }}"},
            "Failed to render parameter \"cmd\": 'dict object' has no attribute 'nope'",
        ),
        ({"cmd": "{{ 1 +"}, 'Failed to render parameter "cmd": unexpected'),
        ({"cmd": "{{ 'a' * 10 ** 9 }}"}, 'Failed to render parameter "cmd": the template makes a text'),
        ({"cmd": "x", "env": {"A": "{{ nope }}"}}, 'Dependency unsatisfied in variable "nope"'),
    ],
)
def test_unresolvable_parameters_are_refused_with_the_published_text(
    given: dict[str, Json], message: str
) -> None:
    with pytest.raises(ParameterUnresolved, match=re.escape(message)):
        prepare(SYSTEM["core.local"], given, NOTHING)


@pytest.mark.parametrize(
    ("ref", "given", "stored"),
    [
        ("core.local", {"cmd": "date"}, {"cmd": "date"}),
        ("core.local", {"cmd": "date", "cwd": None}, {"cmd": "date", "cwd": None}),
        ("core.local", {"cmd": "date", "timeout": "5"}, {"cmd": "date", "timeout": 5}),
        ("core.local", {"cmd": "date", "timeout": None}, {"cmd": "date", "timeout": 60}),
        ("core.local", {"cmd": "{{ cwd }}", "cwd": "/x"}, {"cmd": "/x", "cwd": "/x"}),
        ("core.local", {"cmd": "[{{ st2kv.system.nokey }}]"}, {"cmd": "[]"}),
        ("core.local", {"cmd": "{{ kwarg_op }}"}, {"cmd": "--"}),
        ("core.local", {"cmd": "{{ action_context.user }}"}, {"cmd": "ann"}),
        ("core.local", {"cmd": "{{ config_context.key }}"}, {"cmd": "value"}),
        ("core.local", {"cmd": "x", "env": {"A": "{{cmd}}"}}, {"cmd": "x", "env": {"A": "x"}}),
        ("core.local", {"cmd": "x", "env": '{"A": "1"}'}, {"cmd": "x", "env": {"A": "1"}}),
        ("core.echo", {"message": "hi"}, {"message": "hi"}),
        ("core.noop", {"anything": {"goes": [1]}}, {"anything": {"goes": [1]}}),
        ("linux.rm", {"hosts": "h", "target": "f"}, {"hosts": "h", "target": "f", "args": " -v"}),
    ],
)
def test_stored_parameters_are_those_given_and_the_rendered_defaults(
    ref: str, given: dict[str, Json], stored: dict[str, Json]
) -> None:
    sources = Sources(action_context={"user": "ann"}, config_context={"key": "value"})
    assert prepare(SYSTEM[ref], given, sources) == stored


def test_types_survive_in_lists_and_objects_when_a_text_is_just_the_name() -> None:
    takes = parameters(n={"type": "integer"}, items={"type": "array"}, o={"type": "object"})
    given = {
        "n": "5",
        "o": {"k": [1, True, None]},
        "items": ["{{n}}", "{{ n }}", "{{o}}", 'say "{{ n }}"', 7],
    }
    live = prepare(takes, {**given, "n": 5}, NOTHING)
    assert live["items"] == [5, "5", {"k": [1, True, None]}, 'say "5"', 7]


def test_objects_survive_as_the_text_of_a_template() -> None:
    takes = parameters(a={"type": "object"}, b={"type": "object"}, c={"type": "array"}, d={"type": "boolean"})
    given = {
        "a": {"x": [1, "y", None, True]},
        "b": "{{ a }}",
        "c": "{{ a.x | to_complex }}",
        "d": "{{ a.x[3] }}",
    }
    live = prepare(takes, given, NOTHING)
    assert live["b"] == given["a"]
    assert live["c"] == [1, "y", None, True]
    assert live["d"] is True


def test_text_that_looks_like_a_template_is_not_rendered_again_at_dispatch() -> None:
    live = prepare(SYSTEM["core.echo"], {"message": "{% raw %}{{ 1 / 0 }}{% endraw %}"}, NOTHING)
    assert live == {"message": "{{ 1 / 0 }}"}
    run = dispatch(SYSTEM["core.echo"], live, NOTHING)
    assert run.runner["cmd"] == 'echo "{{ 1 / 0 }}"'
    assert run.action == {"message": "{{ 1 / 0 }}"}


def test_secret_of_the_datastore_is_opened_by_its_filter() -> None:
    store = FakeDatastore(system={"pw!": "s3cret"})
    live = resolve(
        SYSTEM["core.local"], {"cmd": "{{ st2kv.system.pw | decrypt_kv }}"}, Sources(datastore=store)
    )
    assert live == {"cmd": "s3cret"}


def test_none_survives_through_use_none() -> None:
    takes = parameters(a=TEXT, b={"type": "array"})
    live = prepare(takes, {"a": "{{ none | use_none }}", "b": ["{{ none | use_none }}", 1]}, NOTHING)
    assert live == {"a": None, "b": [None, 1]}


def test_more_roots_can_be_read_and_parameters_hide_them() -> None:
    sources = Sources(more={"trigger": {"body": "b"}})
    assert resolve(parameters(a=TEXT), {"a": "{{ trigger.body }}"}, sources) == {"a": "b"}
    assert (
        resolve(parameters(a=TEXT, trigger=TEXT), {"a": "{{ trigger }}", "trigger": "t"}, sources)["a"] == "t"
    )


def test_default_of_the_runner_stands_in_for_a_null_default_of_the_action() -> None:
    takes = parameters("local-shell-cmd", timeout={"default": None})
    assert dispatch(takes, {}, NOTHING).runner["timeout"] == 60


def test_immutable_default_wins_at_dispatch_over_what_was_stored() -> None:
    takes = parameters("local-shell-cmd", cmd={"default": "fixed", "immutable": True})
    assert dispatch(takes, {"cmd": "other"}, NOTHING).runner["cmd"] == "fixed"


@pytest.mark.parametrize("attribute", ["type", "secret", "position", "maxLength"])
def test_action_may_not_override_this_attribute_of_a_runner_parameter(attribute: str) -> None:
    value: Json = {"type": "integer", "secret": True, "position": 1, "maxLength": 3}[attribute]
    message = (
        f'The attribute "{attribute}" for the runner parameter "cmd" in action "p.a" cannot be overridden.'
    )
    with pytest.raises(InvalidMetadata, match=re.escape(message)):
        parameters("local-shell-cmd", cmd={attribute: value})


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("default", "x"),
        ("description", "x"),
        ("enum", ["x"]),
        ("immutable", True),
        ("required", True),
        ("type", "string"),
    ],
)
def test_action_may_refine_this_attribute_of_a_runner_parameter(attribute: str, value: Json) -> None:
    takes = parameters("local-shell-cmd", cmd={attribute: value})
    assert takes.schemas["cmd"][attribute] == value
    assert takes.schemas["cmd"]["type"] == "string"
    assert "cwd" in takes.schemas


def test_merge_leaves_the_runner_type_as_it_is() -> None:
    runner = RUNNER_TYPES["local-shell-cmd"]
    before = dict(runner.runner_parameters["cmd"])
    merge_parameters(runner, parameters("local-shell-cmd", cmd={"default": "x"}).action)
    assert runner.runner_parameters["cmd"] == before


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("[1, 2]", "array", [1, 2]),
        ("['a', None, True]", "array", ["a", None, True]),
        ("(1, 2)", "array", [1, 2]),
        ('{"a": null}', "object", {"a": None}),
        ("{'a': None}", "object", {"a": None}),
        ("true", "boolean", True),
        ("FALSE", "boolean", False),
        ("1", "boolean", 1),
        (True, "boolean", True),
        ("5", "integer", 5),
        (" 5 ", "integer", 5),
        (5.0, "integer", 5),
        ("1.5", "number", 1.5),
        (3, "number", 3),
        ("x", "string", "x"),
        (None, "integer", None),
        ({"a": 1}, ["object", "null"], {"a": 1}),
        ("5", None, "5"),
    ],
)
def test_cast_gives_the_value_of_the_type(value: Json, kind: Json, expected: Json) -> None:
    made = cast(value, {"type": kind} if kind else {})
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ("abc", "integer", "invalid literal for int() with base 10: 'abc'"),
        ("abc", "number", "could not convert string to float: 'abc'"),
        ("nan", "number", 'Value "nan" is not a finite number.'),
        ("Infinity", "number", 'Value "inf" is not a finite number.'),
        ("perhaps", "boolean", "malformed node or string: 'Perhaps'"),
        ("a,b", "array", "malformed node or string: 'a,b'"),
        ("__import__('os')", "object", "malformed node or string"),
        ("b'x'", "array", "a bytes has no place in JSON"),
        ("[1e999]", "array", "inf"),
        ([1], "string", 'Value "[1]" must either be a string or None. Got "list".'),
        ([1], "integer", "int() argument must be"),
        ("(" * 5000, "array", "malformed node or string"),
        ("[" * 100_000, "array", "too long to be read"),
        ("9" * 5000, "integer", "Exceeds the limit"),
    ],
)
def test_cast_refuses_what_has_not_the_type(value: Json, kind: str, message: str) -> None:
    with pytest.raises(InvalidParameters, match=re.escape(message)):
        cast(value, {"type": kind})


@pytest.mark.parametrize(
    ("schema", "given", "message"),
    [
        ({"type": "integer", "minimum": 3}, 1, "1 is less than the minimum of 3"),
        ({"type": "string", "pattern": "^a+$"}, "b", "'b' does not match '^a+$'"),
        ({"type": "string", "maxLength": 2}, "abc", "'abc' is too long"),
        ({"type": "array", "items": {"type": "integer"}}, ["x"], "'x' is not of type 'integer'"),
        ({"type": "array", "uniqueItems": True}, [1, 1.0], "[1, 1.0] has non-unique elements"),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "required": True}}},
            {},
            "'a' is a required property",
        ),
        ({"type": "object", "required": True}, None, "None is not of type 'object'"),
        (
            {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
            {"b": 1, "c": 2},
            "Additional properties are not allowed ('b', 'c' were unexpected)",
        ),
        (
            {
                "type": "object",
                "patternProperties": {"^x": {"type": "integer"}},
                "additionalProperties": False,
            },
            {"x1": 1, "y": 1},
            "'y' does not match any of the regexes: '^x'",
        ),
        (
            {"anyOf": [{"type": "integer"}, {"type": "boolean"}]},
            "x",
            "'x' is not valid under any of the given schemas",
        ),
        ({"type": "string", "pattern": "(a|aa)+$"}, "a" * 60 + "c", "takes too long"),
    ],
)
def test_value_that_breaks_its_schema_is_refused(schema: Json, given: Json, message: str) -> None:
    with pytest.raises(InvalidParameters, match=re.escape(message)):
        prepare(parameters(v=schema), {"v": given}, NOTHING)


@pytest.mark.parametrize(
    ("items", "given"),
    [
        ({"anyOf": [{"type": "string"}] * 10_000 + [{"type": "integer"}]}, [1] * 100_000),
        ({"enum": list(range(200_000))}, [199_999] * 100_000),
        ({"pattern": "^(x+x+)+y|z$"}, ["x" * 18 + "z"] * 100_000),
    ],
    ids=["many schemas", "long enum", "slow pattern"],
)
def test_check_of_a_large_schema_over_a_large_value_is_given_up(items: Json, given: Json) -> None:
    """Everybody waits for a check: these would take from minutes to days."""
    check = checker({"type": "array", "items": items})
    began = time.thread_time()
    with pytest.raises(ValueError, match="takes too long"):
        check(given)
    assert time.thread_time() - began < 5


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        ({"type": "integer"}, None),
        ({"type": "string", "enum": ["a"]}, None),
        ({"anyOf": [{"type": "integer"}]}, None),
        ({"type": "string", "required": True, "default": "x"}, None),
        ({"type": "object", "properties": {"a": {"type": "integer", "default": 1, "required": True}}}, {}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": None}),
        (
            {
                "type": "array",
                "items": {"type": "object", "properties": {"a": {"required": True, "default": 2}}},
            },
            [{}],
        ),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}),
    ],
)
def test_value_that_is_optional_or_has_a_default_may_be_absent(schema: Json, given: Json) -> None:
    prepare(parameters(v=schema), {"v": given}, NOTHING)


def test_graph_orders_names_after_what_they_need_and_keeps_the_order_given() -> None:
    graph = Graph()
    graph.add("c", ["b", "a"])
    graph.add("a")
    graph.add("b", ["a"])
    graph.add("d")
    assert graph.order() == ["a", "d", "b", "c"]


def test_cycles_leave_out_names_that_only_lead_to_them_or_from_them() -> None:
    needs = {
        "a": ["b"],
        "b": ["a"],
        "into": ["a"],
        "from": [],
        "x": ["x"],
        "y": ["z"],
        "z": ["y", "a"],
        "b2": ["from"],
    }
    assert in_cycles(needs) == {"a", "b", "x", "y", "z"}


def test_long_chain_of_parameters_is_no_recursion() -> None:
    graph = Graph()
    names = [f"n{number}" for number in range(20_000)]
    for name, needed in itertools.pairwise(names):
        graph.add(name, [needed])
    graph.add(names[-1])
    assert graph.order()[0] == names[-1]
    graph.add(names[-1], [names[0]])
    with pytest.raises(ParameterUnresolved):
        graph.order()


def test_script_gets_named_arguments_and_then_positional_ones() -> None:
    takes = parameters(
        "local-shell-script",
        c={"type": "object", "position": 2},
        a={"type": "array", "position": 0},
        b={"type": "boolean", "position": 1},
        n={"type": "string", "position": 3},
        flag={"type": "boolean"},
        off={"type": "boolean"},
        empty=TEXT,
        word=TEXT,
        number={"type": "integer"},
    )
    values = {
        "c": {"k": 1},
        "a": ["x", 2],
        "b": False,
        "n": None,
        "flag": True,
        "off": False,
        "empty": "",
        "word": "w w",
        "number": 0,
    }
    expected = ["--flag", "--word=w w", "--number=0", "x,2", "0", '{"k": 1}', ""]
    assert script_arguments(takes, values) == expected


def test_parameters_of_all_system_actions_can_be_prepared() -> None:
    assert len(SYSTEM) > 50
    run = dispatch(
        SYSTEM["linux.scp"], {"hosts": "h", "source": "a", "destination": "b", "dest_server": "s"}, NOTHING
    )
    assert run.runner["cmd"] == "scp -o BatchMode=yes a s:b"
    run = dispatch(SYSTEM["linux.wait_for_ssh"], {"hostname": "h"}, NOTHING)
    assert run.action == {"hostname": "h", "port": 22, "ssh_timeout": 30, "retries": 10}
