"""Actions, packs and runner types: what their metadata may say, and the texts when it may not."""

import re

import pytest

from runyard.actions.errors import InvalidMetadata
from runyard.actions.model import make_action, make_config_schema, make_pack, pack_ref_of, split_ref
from runyard.actions.packs.loader import check_action
from runyard.actions.runnertypes import RUNNER_TYPES, RUNS_NOT_YET, runner_named
from runyard.actions.values import Json

CONTRACT_RUNNERS = {
    "local-shell-cmd": "cmd cwd env kwarg_op sudo sudo_password timeout",
    "local-shell-script": "debug content_version cwd env kwarg_op sudo sudo_password timeout",
    "remote-shell-cmd": "hosts cmd cwd dir env username password private_key passphrase port bastion_host parallel kwarg_op "
    "sudo sudo_password timeout",
    "remote-shell-script": "hosts cwd dir env username password private_key passphrase port bastion_host parallel kwarg_op "
    "sudo sudo_password timeout",
    "python-script": "debug content_version env timeout log_level",
    "http-request": "url headers cookies username password allow_redirects verify_ssl_cert http_proxy https_proxy "
    "url_hosts_blacklist url_hosts_whitelist",
    "noop": "",
    "announcement": "experimental route",
    "inquirer": "schema roles users route ttl",
    "orquesta": "notify",
    "action-chain": "display_published skip_notify",
    "winrm-cmd": "host username password port scheme transport verify_ssl_cert cmd cwd env kwarg_op timeout",
    "winrm-ps-cmd": "host username password port scheme transport verify_ssl_cert cmd cwd env kwarg_op timeout",
    "winrm-ps-script": "host username password port scheme transport verify_ssl_cert cwd env kwarg_op timeout",
}


def test_runner_types_are_those_of_the_contract_with_their_parameters() -> None:
    found = {name: set(runner.runner_parameters) for name, runner in RUNNER_TYPES.items()}
    assert found == {name: set(words.split()) for name, words in CONTRACT_RUNNERS.items()}


@pytest.mark.parametrize(
    ("runner", "parameter", "default"),
    [
        ("local-shell-cmd", "kwarg_op", "--"),
        ("local-shell-cmd", "sudo", False),
        ("local-shell-cmd", "timeout", 60),
        ("local-shell-script", "timeout", 60),
        ("remote-shell-cmd", "cwd", "/tmp"),
        ("remote-shell-script", "dir", "/tmp"),
        ("python-script", "timeout", 600),
        ("python-script", "log_level", "DEBUG"),
        ("http-request", "allow_redirects", False),
        ("http-request", "verify_ssl_cert", True),
        ("announcement", "route", "general"),
        ("inquirer", "ttl", 1440),
        ("inquirer", "route", ""),
        ("action-chain", "display_published", True),
        ("winrm-cmd", "port", 5986),
        ("winrm-cmd", "scheme", "https"),
        ("winrm-cmd", "transport", "ntlm"),
        ("winrm-cmd", "kwarg_op", "-"),
    ],
)
def test_runner_parameter_has_its_published_default(runner: str, parameter: str, default: Json) -> None:
    assert RUNNER_TYPES[runner].runner_parameters[parameter]["default"] == default


def test_every_parameter_of_runners_has_a_type_and_secrets_are_marked() -> None:
    secret = {"password", "private_key", "passphrase", "sudo_password"}
    for runner in RUNNER_TYPES.values():
        for name, schema in runner.runner_parameters.items():
            assert schema["type"], f"{runner.name}.{name}"
            assert (schema.get("secret") is True) == (name in secret), f"{runner.name}.{name}"


def test_output_keys_are_those_of_the_contract() -> None:
    keys = {name: runner.output_key for name, runner in RUNNER_TYPES.items() if runner.output_key}
    assert keys == {
        "python-script": "result",
        "http-request": "body",
        "orquesta": "output",
        "action-chain": "published",
    }


def test_old_names_of_runners_are_understood() -> None:
    assert runner_named("run-local") is RUNNER_TYPES["local-shell-cmd"]
    assert runner_named("nope") is None
    assert set(RUNS_NOT_YET) < set(RUNNER_TYPES)


GOOD: dict[str, Json] = {"name": "a", "runner_type": "local-shell-cmd"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "'name' is a required property"),
        ({"runner_type": None}, "'runner_type' is a required property"),
        ({"enabled": "yes"}, "'yes' is not of type 'boolean'"),
        ({"bogus": 1}, "Additional properties are not allowed ('bogus' was unexpected)"),
        ({"parameters": {"p": {"type": "bogus"}}}, "'bogus' is not valid under any of the given schemas"),
        (
            {"parameters": {"p": {"type": ["string", "null"]}}},
            "['string', 'null'] is not valid under any of the given schemas",
        ),
        ({"parameters": {"p": {"typo": 1}}}, "Additional properties are not allowed ('typo' was unexpected)"),
        (
            {"parameters": {"p": {"$ref": "http://x/"}}},
            "Additional properties are not allowed ('$ref' was unexpected)",
        ),
        ({"parameters": {"p": {"required": "yes"}}}, "'yes' is not of type 'boolean'"),
        ({"parameters": {"p": {"position": -1}}}, "-1 is less than the minimum of 0"),
        ({"parameters": {"p-q": {}}}, "'p-q' does not match any of the regexes: '^\\\\w+$'"),
        ({"parameters": {"p": "text"}}, "'text' is not of type 'object'"),
        ({"parameters": []}, "[] is not of type 'object'"),
        ({"notify": {"x": {}}}, "Additional properties are not allowed ('x' was unexpected)"),
        ({"tags": [{"name": "n"}]}, "'value' is a required property"),
        ({"pack": "a/b"}, "'a/b' is not the name of a pack"),
        (
            {"parameters": {"p": {"position": 0}, "q": {"position": 0}}},
            'Parameters "p" and "q" have the same position 0.',
        ),
    ],
)
def test_bad_action_is_refused_with_the_published_text(changes: dict[str, Json], message: str) -> None:
    with pytest.raises(InvalidMetadata, match=re.escape(message)):
        make_action({**GOOD, **changes})


def test_action_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidMetadata, match=re.escape("[1] is not of type 'object'")):
        make_action([1])


def test_action_has_defaults_and_computed_names() -> None:
    action = make_action({**GOOD, "id": "x", "ref": "other.name", "uid": "y", "description": None})
    assert action.as_dict() == {
        "ref": "default.a",
        "uid": "action:default:a",
        "name": "a",
        "pack": "default",
        "description": "",
        "enabled": True,
        "entry_point": "",
        "runner_type": "local-shell-cmd",
        "parameters": {},
        "output_schema": {},
        "tags": [],
        "notify": {},
        "metadata_file": "",
    }
    assert make_action(action.as_dict()) == action


def test_parameters_may_hold_all_of_draft_4() -> None:
    nested = {
        "type": ["object", "null"],
        "required": ["a"],
        "properties": {"a": {"oneOf": [{"type": "null"}, {}]}},
    }
    schema = {
        "type": "array",
        "items": nested,
        "required": True,
        "secret": True,
        "immutable": False,
        "position": 0,
        "minItems": 1,
    }
    assert make_action({**GOOD, "parameters": {"p": schema}}).parameters == {"p": schema}


def test_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Json] = {"type": "string"}
    for _ in range(50):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InvalidMetadata):
        make_action({**GOOD, "parameters": {"p": schema}})


@pytest.mark.parametrize(
    "schema", [{"p": {"type": "string", "secret": True}}, {"type": "object", "properties": {}}, {}]
)
def test_output_schema_may_be_whole_or_a_list_of_properties(schema: Json) -> None:
    assert make_action({**GOOD, "output_schema": schema}).output_schema == schema


def test_action_of_unknown_runner_is_refused_with_the_published_text() -> None:
    with pytest.raises(InvalidMetadata, match="RunnerType nope is not found"):
        check_action(make_action({**GOOD, "runner_type": "nope"}))


@pytest.mark.parametrize(
    ("ref", "parts"),
    [
        ("core.local", ("core", "local")),
        ("st2.inquiry.respond", ("st2", "inquiry.respond")),
        ("x", None),
        (".x", None),
        ("x.", None),
    ],
)
def test_reference_is_split_at_its_first_dot(ref: str, parts: tuple[str, str] | None) -> None:
    assert split_ref(ref) == parts


PACK: dict[str, Json] = {"name": "mypack", "version": "1.2.3", "author": "ann"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "1.2"}, "'1.2' does not match"),
        ({"version": 1.2}, "1.2 is not of type 'string'"),
        ({"ref": "My-Pack"}, "'My-Pack' does not match '^[a-z0-9_]+$'"),
        ({"name": "My Pack"}, 'Pack name "My Pack" contains invalid characters'),
        ({"author": None}, "'author' is a required property"),
        ({"python_versions": ["4"]}, "'4' is not one of ['2', '3']"),
        ({"email": "nobody"}, "'nobody' does not match"),
    ],
)
def test_bad_pack_is_refused_with_the_published_text(changes: dict[str, Json], message: str) -> None:
    with pytest.raises(InvalidMetadata, match=re.escape(message)):
        make_pack({**PACK, **changes})


def test_pack_takes_its_reference_from_its_name_and_keeps_foreign_keys_away() -> None:
    pack = make_pack({**PACK, "homepage": "x", "keywords": ["a"]}, path="/p", files=["pack.yaml"])
    assert (pack.ref, pack.uid, pack.is_system) == ("mypack", "pack:mypack", False)
    shown = pack.as_dict()
    assert shown["keywords"] == ["a"]
    assert shown["files"] == ["pack.yaml"]
    assert "email" not in shown
    assert pack_ref_of("a_1") == "a_1"


def test_config_schema_lists_attributes() -> None:
    attributes = {"key": {"type": "string", "secret": True, "required": True}}
    assert make_config_schema(attributes, pack="p").attributes == attributes
    with pytest.raises(InvalidMetadata, match="unexpected"):
        make_config_schema({"key": {"nonsense": 1}}, pack="p")
