"""Templates: what they can do, and that a hostile one costs little."""

import re
import time

import pytest

from runyard.actions.errors import TemplateFailed, TemplateTooExpensive
from runyard.actions.templating.budget import Budget, Limits
from runyard.actions.templating.datastore import Keys, KnownKeys, StoredKey
from runyard.actions.templating.environment import render, variables_of
from runyard.actions.templating.filters import PRODUCT_FILTERS
from runyard.actions.templating.filters.data import DATASTORE
from runyard.actions.values import Json
from tests.fakes.datastore import FakeDatastore, seal

CONTRACT_FILTERS = """
decrypt_kv from_json_string from_yaml_string json_escape jsonpath_query to_complex to_json_string to_yaml_string regex_match
regex_replace regex_search regex_substring to_human_time_from_seconds version_compare version_more_than version_less_than
version_equal version_match version_bump_major version_bump_minor version_bump_patch version_strip_patch use_none basename
dirname
"""


def test_filters_of_contract_are_all_there() -> None:
    assert set(CONTRACT_FILTERS.split()) == PRODUCT_FILTERS


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ '{\"a\": [1]}' | from_json_string }}", "{'a': [1]}"),
        ("{{ 'a: [1, x]' | from_yaml_string }}", "{'a': [1, 'x']}"),
        ("{{ 'a\"b\n' | json_escape }}", 'a\\"b\\n'),
        ("{{ obj | jsonpath_query('a[*].b') }}", "[1, 2]"),
        ("{{ obj | jsonpath_query('nope') }}", "None"),
        ("{{ obj | to_complex }}", '{"a": [{"b": 1}, {"b": 2}]}'),
        ("{{ obj | to_json_string }}", '{"a": [{"b": 1},{"b": 2}]}'),
        ("{{ {'b': 1, 'a': 2} | to_json_string(sort_keys=true, indent=1) }}", '{\n "a": 2,\n "b": 1\n}'),
        ("{{ obj | to_yaml_string }}", "a:\n- b: 1\n- b: 2\n"),
        ("{{ 'abc' | regex_match('b') }}{{ 'abc' | regex_match('ab') }}", "FalseTrue"),
        ("{{ 'abc' | regex_search('B') }}{{ 'abc' | regex_search('B', ignorecase=true) }}", "FalseTrue"),
        ("{{ 'a1b22' | regex_replace('[0-9]+', '<\\\\g<0>>') }}", "a<1>b<22>"),
        ("{{ 'xyz' | regex_replace('(x)(y)', '\\\\2\\\\1') }}", "yxz"),
        ("{{ 'a1b22' | regex_substring('[0-9]+') }}{{ 'a1b22' | regex_substring('[0-9]+', 1) }}", "122"),
        ("{{ 0 | to_human_time_from_seconds }}", "0s"),
        ("{{ 185 | to_human_time_from_seconds }}", "3m5s"),
        ("{{ 3600 | to_human_time_from_seconds }}", "1h0m0s"),
        ("{{ 90061.2 | to_human_time_from_seconds }}", "1d1h1m1s"),
        ("{{ (365 * 86400 + 1) | to_human_time_from_seconds }}", "1y0d0h0m1s"),
        ("{{ 0.5 | to_human_time_from_seconds }}", "0.5\u03bcs"),
        ("{{ '1.2.3' | version_compare('1.10.0') }}", "-1"),
        ("{{ '1.0.0' | version_more_than('1.0.0-rc.1') }}", "True"),
        ("{{ '1.0.0-alpha.2' | version_less_than('1.0.0-alpha.10') }}", "True"),
        ("{{ '1.0.0+a' | version_equal('1.0.0+b') }}", "True"),
        ("{{ '1.2.3' | version_match('>=1.2.0') }}{{ '1.2.3' | version_match('<1.2.0') }}", "TrueFalse"),
        ("{{ '1.2.3' | version_match('==1.2.3') }}{{ '1.2.3' | version_match('1.2.3') }}", "TrueTrue"),
        ("{{ '1.2.3-a' | version_bump_major }}", "2.0.0"),
        ("{{ '1.2.3' | version_bump_minor }}", "1.3.0"),
        ("{{ '1.2.3' | version_bump_patch }}", "1.2.4"),
        ("{{ '1.2.3' | version_strip_patch }}", "1.2"),
        ("{{ none | use_none }}", "%*****__%NONE%__*****%"),
        ("{{ 'x' | use_none }}", "x"),
        ("{{ '/a/b.c' | basename }} {{ '/a/b.c' | dirname }}", "b.c /a"),
    ],
)
def test_filter_of_the_product_returns_its_published_text(template: str, expected: str) -> None:
    assert render(template, {"obj": {"a": [{"b": 1}, {"b": 2}]}}) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ a }}-{{ a.upper() }}-{{ a | upper }}", "v-V-V"),
        ("{% if a %}\n    yes\n    {% endif %}\n!", "    yes\n!"),
        ("{% for k, v in d.items() %}{{ k }}={{ v }}{{ ';' if not loop.last }}{% endfor %}", "x=1;y=2"),
        (
            "{{ d.x + 1 }} {{ d['y'] * 'ab' }} {{ 7 // 2 }} {{ 2 ** 8 }} {{ 'a' ~ 1 ~ none }}",
            "2 abab 3 256 a1None",
        ),
        (
            "{{ [3, 1, 2] | sort | join(',') }} {{ [1, 2, 3] | sum }} {{ 'a,b'.split(',') | length }}",
            "1,2,3 6 2",
        ),
        ("{{ nope | default('other') }} {{ nope is defined }} {{ a is defined }}", "other False True"),
        ("{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{{ twice('q') }}", "qq"),
        (
            "{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
            "10",
        ),
        ("{{ '%s=%03d' % ('k', 7) }} {{ '{:>4}|{k}'.format(1, k='x') }}", "k=007    1|x"),
        ("{{ 'x\ny' | indent(2) }}", "x\n  y"),
        (
            "{{ [1, 2, 3, 4] | batch(2) | list }} {{ [1, 2, 3] | slice(2) | list }}",
            "[[1, 2], [3, 4]] [[1, 2], [3]]",
        ),
        ("{{ users | map(attribute='n') | join('+') }}", "a+b"),
        ("{{ users | selectattr('n', 'equalto', 'b') | list }}", "[{'n': 'b'}]"),
        ("{{ d | tojson }} {{ '<a>' | e }}", '{"x": 1, "y": 2} &lt;a&gt;'),
        ("{{ {'items': 5}['items'] }} {{ {'update': 6}.update }}", "5 6"),
        ("{% raw %}{{ kept }}{% endraw %}", "{{ kept }}"),
    ],
)
def test_template_language_works_as_usual(template: str, expected: str) -> None:
    variables: dict[str, Json] = {"a": "v", "d": {"x": 1, "y": 2}, "users": [{"n": "a"}, {"n": "b"}]}
    assert render(template, variables) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ nope }}", "'nope' is undefined"),
        ("{{ a.nope }}", "'str object' has no attribute 'nope'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ a.__class__ }}", "access to attribute '__class__' of 'str' object is unsafe."),
        (
            "{{ ''.__class__.__mro__[1].__subclasses__() }}",
            "access to attribute '__class__' of 'str' object is unsafe.",
        ),
        ("{{ a['__class__'] }}", "access to attribute '__class__' of 'str' object is unsafe."),
        ("{{ range.__globals__ }}", "unsafe"),
        ("{{ cycler.__init__.__globals__ }}", "unsafe"),
        ("{{ self.__init__ }}", "unsafe"),
        ("{{ self._TemplateReference__context }}", "unsafe"),
        ("{{ dict.__base__ }}", "unsafe"),
        ("{{ '{0.__class__}'.format(a) }}", "format() may not read attributes"),
        ("{{ '{0[x].__class__}'.format({'x': 1}) }}", "format() may not read attributes"),
        ("{{ ['__class__'] | map('attr', a) | list }}", "No filter named 'attr'"),
        ("{{ [a] | map(attribute='__class__') | first }}", "unsafe"),
        ("{{ a | attr('__class__') }}", "No filter named 'attr'"),
        ("{% macro m() %}{% endmacro %}{{ m.__call__ }}", "unsafe"),
        ("{% for x in [1] %}{{ loop._iterable }}{% endfor %}", "unsafe"),
        ("{{ [1].append(2) }}", "unsafe"),
        ("{{ d.update({'x': 2}) }}", "has no attribute 'update'"),
        ("{{ range }}", "only data can be printed"),
        ("{{ [1, 2].index(5) }}", "not in list"),
        ("{{ lipsum(n=100000) }}", "'lipsum' is undefined"),
        ("{% include 'x' %}", "include is not allowed"),
        ("{% import 'x' as y %}", "import is not allowed"),
        ("{% from 'x' import y %}", "import is not allowed"),
        ("{% extends 'x' %}", "extends is not allowed"),
        ("{% block x %}{% endblock %}", "block is not allowed"),
        ("{% autoescape 'a' | center(10 ** 9) %}{% endautoescape %}", "autoescape is not allowed"),
        ("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recursive loop is not allowed"),
        ("{{ '1.2' | version_compare('1.2.3') }}", "1.2 is not valid SemVer string"),
        ("{{ '(' | regex_match('(') }}", "the pattern is not valid"),
        ("{{ st2kv.other.x }}", "st2kv has no scope 'other'"),
        ("{{", "unexpected 'end of template'"),
    ],
)
def test_template_that_fails_or_reaches_out_is_refused_with_the_reason(template: str, message: str) -> None:
    variables: dict[str, Json] = {"a": "v", "d": {"x": 1}, "st2kv": Keys(FakeDatastore())}
    with pytest.raises(TemplateFailed, match=re.escape(message)):
        render(template, variables)


HOSTILE = {
    "nested loops": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "loop of literals": "{% set x %}{% for i in range(99999) %}"
    + "y" * 100_000
    + "{% endfor %}{% endset %}{{ x|length }}",
    "loop of texts": "{% for i in range(100000) %}{{ 'x' * 100000 }}{% endfor %}",
    "multiplied text": "{{ 'a' * 10 ** 9 }}",
    "folded constant": "{{ 'a' * 1000000000 }}",
    "multiplied list": "{{ [1] * 10 ** 9 }}",
    "power": "{{ 9 ** (9 ** 9) }}",
    "power of powers": "{% set x = 2 %}" + "{% set x = x * x %}" * 60 + "{{ x }}",
    "hexadecimal bignum": "{{ 0x" + "f" * 200_000 + " * 0x" + "f" * 40_000 + " }}",
    "center filter": "{{ 'a' | center(1000000000) }}",
    "center method": "{{ 'a'.center(10 ** 9) }}",
    "ljust": "{{ 'a'.ljust(10 ** 9) }}",
    "zfill": "{{ 'a'.zfill(width=10 ** 9) if false else 'a'.zfill(10 ** 9) }}",
    "expandtabs": "{{ ('\t' * 1000).expandtabs(10 ** 8) }}",
    "percent width": "{{ '%1000000000d' % 1 }}",
    "percent star": "{{ '%*d' % (1000000000, 1) }}",
    "percent repeated": "{{ ('%s' * 1000000) % (('x' * 1000000,) * 1000000) }}",
    "format width": "{{ '{:1000000000}'.format(1) }}",
    "format nested width": "{{ '{:{}}'.format(1, 10 ** 9) }}",
    "format filter": "{{ '%1000000000s' | format('x') }}",
    "format precision": "{{ '{:.1000000000f}'.format(1.5) }}",
    "doubled by concatenation": "{% set a = 'x' * 1000 %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "doubled by addition": "{% set a = 'x' * 1000 %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "doubled by join": "{% set a = 'x' * 1000 %}" + "{% set a = [a, a]|join %}" * 40 + "{{ a }}",
    "doubled by replace": "{% set a = 'x' * 1000 %}" + "{% set a = a|replace('x', 'xx') %}" * 40 + "{{ a }}",
    "doubled by replace method": "{% set a = 'x' * 1000 %}"
    + "{% set a = a.replace('x', 'xx') %}" * 40
    + "{{ a }}",
    "shared lists": "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
    "shared dictionaries": "{% set a = {} %}" + "{% set a = {'a': a, 'b': a} %}" * 60 + "{{ a }}",
    "shared tuples": "{% set a = (1,) %}" + "{% set a = (a, a) %}" * 60 + "{{ a }}",
    "shared through dict": "{% set a = 1 %}" + "{% set a = dict(x=a, y=a) %}" * 60 + "{{ a }}",
    "shared through namespace": "{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}"
    "{{ n.a }}",
    "deep list": "{% set n = namespace(a=1) %}{% for i in range(5000) %}{% set n.a = [n.a] %}{% endfor %}{{ n.a }}",
    "exponential macro": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
    "endless macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "catastrophic pattern": "{{ ('a' * 60 ~ 'c') | regex_match('(a|aa)+$') }}",
    "expanding replacement": "{{ ('a' * 1000000) | regex_replace('a', '\\\\g<0>' * 500) }}",
    "many matches": "{{ ('a' * 4000000) | regex_substring('a', 1) }}",
    "deep parentheses": "{{ " + "(" * 4000 + "1" + ")" * 4000 + " }}",
    "deep not": "{{ " + "not " * 9000 + "1 }}",
    "long sum": "{{ 1" + "+1" * 4900 + " }}",
    "many tokens": "{{ [" + "1," * 50_000 + "] }}",
    "long source": "x" * 300_000 + "{{ 1 }}",
    "large range": "{{ range(10 ** 12) | list }}",
    "precise rounding": "{{ 5 | round(10 ** 9) }}",
    "wide indent": "{{ 'a' | indent(10 ** 9) }}",
    "wide json": "{{ [1] | to_json_string(indent=10 ** 9) }}",
    "wide tojson": "{{ [1] | tojson(10 ** 9) }}",
    "fill of batch": "{{ [1] | batch(10 ** 9, 'x') | list }}",
    "many slices": "{{ [1] | slice(10 ** 9) | list }}",
    "quadratic sum": "{{ ([[1] * 300] * 300) | sum(start=[]) }}",
    "slow wrap": "{{ ('a ' * 2000000) | wordwrap(1) }}",
    "slow strip": "{{ ('a' * 4000000).strip('b' * 4000000 + 'a') }}",
    "split to millions": "{{ ('x ' * 2000000).split() | length }}",
    "split by a letter": "{{ ('x' * 4000000).split('x') | length }}",
    "yaml bomb": "{{ ('a: &a [x,x,x,x,x,x,x,x,x]\\n' ~ 'b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\\n' ~ "
    "'c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\\n"
    "f: [*e,*e,*e,*e,*e,*e,*e,*e,*e]') | from_yaml_string }}",
    "json nesting": "{{ ('[' * 100000) | from_json_string }}",
    "map with a bound": "{{ [1, 2] | map('center', 10 ** 9) | list }}",
    "long comparison": "{% set a = [1] * 90000 %}{% set b = [1] * 90000 %}{% for i in range(99999) %}{% if a == b %}"
    "{% endif %}{% endfor %}",
    "long membership": "{% set a = range(90000) | list %}{% for i in range(99999) %}{% if -1 in a %}{% endif %}{% endfor %}",
    "percent by name": "{{ ('%(k)s' * 100000) % {'k': 'x' * 1000000} }}",
    "format repeated": "{{ ('{0}' * 100000).format('x' * 1000000) }}",
    "sorted letters": "{{ ('x' * 4000000) | sort | first }}",
    "listed letters": "{{ ('x' * 4000000) | list | length }}",
    "select in": "{{ range(90000) | select('in', range(90000) | list | reverse | list) | list }}",
    "large yaml": "{{ range(90000) | list | to_yaml_string }}",
    "deep path": "{{ range(5000) | list | jsonpath_query('$..*..*..*') }}{{ [[range(9000) | list]] | jsonpath_query('$..*|$..*' ~ '|$..*' * 60) }}",
    "call block": "{% macro m() %}{% for i in range(9999) %}{{ caller() }}{% endfor %}{% endmacro %}"
    "{% call m() %}" + "z" * 9000 + "{% endcall %}",
    "filter block": "{% filter replace('z', 'zz' * 1000) %}" + "z" * 9000 + "{% endfilter %}",
    "long test": "{% set a = [1] * 90000 %}{% set b = [1] * 90000 %}{% for i in range(99999) %}{% if a is eq b %}"
    "{% endif %}{% endfor %}",
}


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_template_is_stopped_quickly(template: str) -> None:
    began = time.thread_time()
    with pytest.raises(TemplateFailed):
        render(template, {})
    assert time.thread_time() - began < 1.0


def test_budget_of_one_request_is_shared_by_its_templates() -> None:
    budget = Budget(Limits(work=100))
    budget.spend(90)
    with pytest.raises(TemplateTooExpensive):
        budget.spend(20)


def test_variables_of_template_leave_out_what_it_sets_itself() -> None:
    assert variables_of("{% set x = a %}{% for y in b %}{{ y }}{{ x }}{{ range(2) }}{% endfor %}") == [
        "a",
        "b",
    ]


def test_key_is_read_only_when_it_is_printed() -> None:
    store = FakeDatastore(system={"a": "1", "b": "2", "g:c": "3"})
    variables = {"st2kv": Keys(store)}
    assert (
        render("{% set unused = st2kv.system.b %}{{ st2kv.system.a }}{{ st2kv.system.g.c }}", variables)
        == "13"
    )
    assert store.reads == ["system.a", "system.g:c"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ st2kv.system.none }}", ""),
        ("{{ st2kv.user['my key'] }}", "mine"),
        ("{{ st2kv.system.none or 'other' }}", "other"),
        ("{{ st2kv.system.list | from_json_string | length }}", "2"),
        ("{{ 'yes' if st2kv.system.word == 'w' else 'no' }}", "yes"),
        ("{{ st2kv.system.word ~ '!' }}{{ st2kv.system.word + '?' }}", "w!w?"),
        ("{{ st2kv.system.pw }}", seal("s3cret")),
        ("{{ st2kv.system.pw | decrypt_kv }}", "s3cret"),
        ("{{ st2kv.system.none | decrypt_kv }}", ""),
    ],
)
def test_key_behaves_as_its_text(template: str, expected: str) -> None:
    store = FakeDatastore(system={"list": "[1,2]", "word": "w", "pw!": "s3cret"}, user={"my key": "mine"})
    assert render(template, {"st2kv": Keys(store), DATASTORE: store}) == expected


def test_known_keys_note_what_is_wanted_until_all_is_known() -> None:
    sealer = FakeDatastore()
    source = "{{ st2kv.system[st2kv.system.which] | decrypt_kv }}"
    stored = {("system", "which"): StoredKey("pw"), ("system", "pw"): StoredKey(seal("x"), True)}
    known: dict[tuple[str, str], StoredKey | None] = {}
    for _ in range(5):
        keys = KnownKeys(known, sealer)
        text = render(source, {"st2kv": Keys(keys), DATASTORE: keys})
        if not keys.wanted:
            break
        known |= {key: stored.get(key) for key in keys.wanted}
    assert text == "x"
