"""Policies: their text, what is rewritten for the interpreter, and evaluation by the real one in its helper process."""

import base64
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runyard.infrastructure.policies.errors import PolicyInvalid
from runyard.infrastructure.policies.evaluation import Document, Evaluation, EvaluationOptions, Finding
from runyard.infrastructure.policies.evaluator import OUT_OF_MEMORY
from runyard.infrastructure.policies.hoisting import hoisted
from runyard.infrastructure.policies.needs import Reads, attributes_read, narrowed
from runyard.infrastructure.policies.source import decoded, has_rule, policy_module, shared_module

SAMPLE = {
    "resource_type": "aws_security_group",
    "action": "create",
    "configuration": {
        "acl": "public-read",
        "names": ["a", "x"],
        "ports": [22, 443],
        "ingress": [{"cidr": ["10.0.0.0/8"]}, {"cidr": ["0.0.0.0/0"]}],
        "tags": {"Owner": "ana"},
    },
    "state": "stopped",
}
TRUE = [
    'firefly { input.configuration.acl == "public-read" }',
    'import rego.v1\nfirefly if { "x" in input.configuration.names }',
    'import rego.v1\nfirefly if "x" in input.configuration.names\nother := 1',
    'firefly { input.action in ["create", "update"] }',
    "firefly { count(input.configuration.names) > 1 }",
    'firefly { contains(input.configuration.names[_], "x") }',
    'firefly { some i; lower(input.configuration.names[i]) == "x"; i == 1 }',
    'firefly { input.configuration.names[_] in ["x", "y"] }',
    'firefly { startswith(input.configuration.ingress[_].cidr[_], "0.0.0.0") }',
    'firefly { not contains(input.configuration.names[_], "zz") }',
    "firefly { to_number(input.configuration.ports[_]) > 400 }",
    'is_x(v) { v == "x" }\nfirefly { is_x(input.configuration.names[_]) }',
    'firefly { count({v | v := lower(input.configuration.names[_])}) == 2 }',
    'firefly { {lower(input.configuration.names[_]) | true} == {"a", "x"} }',
    'firefly { [input.configuration.names[_]] == ["x"] }',
    'names = {n | n := upper(input.configuration.names[_])}\nfirefly { names["X"] }',
    'firefly { every p in input.configuration.ports { p > 20 } }',
    'firefly { object.get(input.configuration, "missing", "none") == "none" }',
    'firefly {\n  v := input.configuration.names[_] # a { comment\n  v ==\n    "x"\n}',
    'package mine\nfirefly { not input.configuration.encrypted }',
    'firefly { input.state == "stopped"; not input.running }',
    'firefly { regex.match("^pub", input.configuration.acl) } else = false { true }',
]  # fmt: skip
FALSE = [
    'firefly { input.configuration.acl == "private" }',
    "default firefly = false\nfirefly = true { input.configuration.ports[_] > 9000 }",
    'firefly { not contains(input.configuration.names[_], "x") }',
    'firefly[m] { input.configuration.names[_] == "q"; m := "q" }',
    "firefly { input.configuration.missing.deep == 3 }",
    'firefly { to_number("abc") > 3 }',
    'firefly { input.state == "running" }',
]


def evaluated(
    codes: list[str], document: Any = SAMPLE, packages: dict[str, str] | None = None, **bounds: float
) -> tuple[list[Finding], dict[int, str]]:
    """Evaluate codes on one document."""
    with Evaluation(codes, packages or {}, EvaluationOptions(**bounds)) as evaluation:
        return evaluation.feed([Document(document, range(len(codes)))]), evaluation.broken


def test_policies_in_old_and_new_syntax_match_what_they_say() -> None:
    found, broken = evaluated(TRUE + FALSE)
    assert broken == {}
    assert [one.policy for one in found] == list(range(len(TRUE)))
    assert not any(one.failed for one in found)


def test_policy_tells_its_reasons_and_uses_shared_packages() -> None:
    code = """
import data.firefly.packages.tags
firefly[msg] {
  not tags.has(input.configuration, "CostCentre")
  msg := sprintf("%v has no cost centre", [input.configuration.names[_]])
}
"""
    found, broken = evaluated([code], packages={"tags": "package ignored\nhas(x, key) { x.tags[key] }"})
    assert broken == {}
    assert [one.message for one in found] == ["a has no cost centre; x has no cost centre"]


HOSTILE = {
    "takes all memory": "firefly { x := numbers.range(1, 100000000); count(x) > 3 }",
    "never ends": "firefly { a := input.many; some i, j, k, l; a[i] + a[j] + a[k] + a[l] == -1 }",
    "calls itself": "f(x) = y { y := f(x) }\nfirefly { f(1) }",
    "calls what is not there": "firefly { no_such_function(3) }",
    "backtracks": 'firefly { regex.match("(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab") }',
    "is no rego": "firefly { foo( }",
    "is nested": "firefly { x := " + "[" * 3000 + "]" * 3000 + "; x }",
}


def test_hostile_policies_are_named_and_hurt_no_other() -> None:
    codes = [*HOSTILE.values(), TRUE[0]]
    document = {**SAMPLE, "many": list(range(400))}
    found, broken = evaluated(codes, document, step_seconds=0.3, total_seconds=60)
    failed = {one.policy: one.message for one in found if one.failed}
    assert sorted([*broken, *failed]) == list(range(len(HOSTILE)))
    assert all(broken.values())
    names = list(HOSTILE)
    nested = names.index("is nested")
    # Which bound it meets first, of time, memory or the interpreter's own stack, is chance.
    assert (failed.pop(nested, None) or broken[nested]) in (
        OUT_OF_MEMORY, "it crashed", "it took longer than 0.3 seconds",
    )  # fmt: skip
    assert {names[index]: text for index, text in failed.items()} == {
        "calls itself": "Recursion detected in rule body: data.runyard.policies.p2.firefly",
        "calls what is not there": "there is no function no_such_function",
    }
    assert [one.policy for one in found if not one.failed] == [len(HOSTILE)]


def test_policies_see_neither_network_nor_environment() -> None:
    codes = [
        "firefly { opa.runtime().env.PATH }",
        "firefly { opa.runtime().env.RUNYARD_ADMIN_TOKEN }",
        'firefly { http.send({"method": "get", "url": "http://127.0.0.1:1/"}).status_code }',
    ]
    found, _ = evaluated(codes)
    assert not [one for one in found if not one.failed]


def test_time_for_all_policies_bounds_them_and_what_is_left_is_broken() -> None:
    slow = HOSTILE["never ends"]
    found, broken = evaluated(
        [slow, TRUE[0]], {**SAMPLE, "many": list(range(400))}, step_seconds=30, total_seconds=0.6
    )
    assert found == []
    assert broken.keys() == {0, 1}


def test_answers_of_one_evaluation_are_told_by_document() -> None:
    with Evaluation([TRUE[0]], {}, EvaluationOptions()) as evaluation:
        for start in (0, 150):
            documents = [
                Document({"configuration": {"acl": "public-read" if number % 3 == 0 else "x"}}, [0])
                for number in range(start, start + 150)
            ]
            found = [one.number for one in evaluation.feed(documents)]
            assert found == list(range(start, start + 150, 3))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("!!!", "expected Rego as base64"),
        ("", "Code is required"),
        ("AAECAw==", "NUL"),
        ("/w==", "expected Rego"),
    ],
)
def test_code_that_is_no_text_is_refused(code: str, text: str) -> None:
    with pytest.raises(PolicyInvalid, match=text):
        decoded(code)


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("firefly { true }", True),
        ("  firefly[msg] { msg := 1 }", True),
        ("default firefly = false", True),
        ("deny { true }", False),
        ('x = "\\nfirefly"', False),
        ("# firefly { true }\nx = 1", False),
        ("fireflies { true }", False),
    ],
)
def test_policy_without_the_rule_is_noticed(text: str, has: bool) -> None:
    assert has_rule(text) is has


def test_modules_are_in_packages_of_their_own() -> None:
    assert (
        policy_module(3, "package other\nfirefly { true }").splitlines()[0] == "package runyard.policies.p3"
    )
    assert "other" not in policy_module(3, "# first\npackage other\nfirefly { true }")
    assert shared_module("tags", "a = 1").startswith("package firefly.packages.tags\n")
    assert base64.b64decode(base64.b64encode(b"x")) == b"x"


@pytest.mark.parametrize(
    "text",
    [
        'firefly { input.a == "x[_]" }',
        "firefly { some i; input.a[i].b == input.c }",
        "firefly { f(input.a) with input as {} }",
        "firefly { (((",
        'firefly { x := "unclosed }',
        "f(x[_]) { true }",
    ],
)
def test_text_without_need_stays_as_it_is(text: str) -> None:
    assert hoisted(text) == text


def test_rewriting_keeps_lines_and_takes_names_that_are_free() -> None:
    text = "firefly {\n  hoisted1 := 3\n  f(input.a[_])\n}\n"
    rewritten = hoisted(text)
    assert rewritten.count("\n") == text.count("\n")
    assert "hoisted_1 := input.a[_]; f(hoisted_1)" in rewritten


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ('firefly { input.configuration.acl == "x"; input.action == "create" }', ({"acl"}, set())),
        ("firefly { input.configuration.a.b[_].c == input.configuration.d[0] }", ({"a", "d"}, set())),
        ("import input.configuration.tags as tags\nfirefly { tags.x }", ({"tags"}, set())),
        ('firefly { "input" == `input.configuration` } # input', (set(), set())),
        ("firefly { data.x.input.y; input.resource_type; input.actions[_] }", (set(), set())),
        (
            'firefly { input.state == "x"; input.tags["a"]; input.configuration.b }',
            ({"b"}, {"state", "tags"}),
        ),
        ("firefly { input.configurations[0] }", (set(), {"configurations"})),
        ("firefly { input.configuration[name] }", None),
        ('firefly { input["configuration"].acl }', None),
        ("firefly { f(input) }", None),
        ("firefly { f(input.configuration) }", None),
        ("firefly { walk(input.configuration, [p, v]) }", None),
        ("import input as it\nfirefly { it.configuration.acl }", None),
        ("import input.configuration as c\nfirefly { c.acl }", None),
        ('firefly { input.configuration["acl"] }', None),
        ("firefly { input.configuration }", None),
        ("firefly { input[name] }", None),
    ],
)
def test_attributes_that_a_policy_can_read_are_known_or_all(
    text: str, reads: tuple[set[str], set[str]] | None
) -> None:
    assert attributes_read([text]) == (None if reads is None else Reads(*map(frozenset, reads)))
    assert attributes_read([text, "f { input }"]) is None


def test_narrowed_documents_are_judged_as_whole_ones() -> None:
    texts = TRUE + FALSE
    documents = [
        Document(narrowed(SAMPLE, attributes_read([text])), [index]) for index, text in enumerate(texts)
    ]
    with Evaluation(texts, {}, EvaluationOptions()) as evaluation:
        found = evaluation.feed(documents)
    assert [one.policy for one in found] == list(range(len(TRUE)))
    assert sum(len(one.input["configuration"]) < len(SAMPLE["configuration"]) for one in documents) > 20


PIECES = st.sampled_from(
    ["firefly", " ", "\n", "{", "}", "[", "]", "(", ")", "|", ":=", "==", "not ", "some ", "every ", " in ", "input.a[_]", "x[i]",
     '"a{"', "`b", "# c", ";", ",", ":", "if ", "else ", "with ", "f(", "_", "-", "=", "\0", "é"]
)  # fmt: skip


@example("if \nfirefly")
@example("not \ninput.a[_]\n==f(input.a[_])\n")
@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=300)
def test_any_text_is_rewritten_without_a_fault_and_line_for_line(text: str) -> None:
    assert hoisted(text).count("\n") == text.count("\n")
    attributes_read([text])
    has_rule(text)
