"""Masking: what is secret is never shown."""

import re

import pytest

from runyard.actions.masking import (
    MASK,
    mask_api_key,
    mask_config,
    mask_inquiry_result,
    mask_parameters,
    mask_respond_parameters,
    mask_result,
    mask_value,
    redact,
    secret_texts,
)
from runyard.actions.runnertypes import RUNNER_TYPES
from runyard.actions.values import Json

SECRET = {"type": "string", "secret": True}


@pytest.mark.parametrize(
    ("schema", "value", "shown"),
    [
        (SECRET, "s", MASK),
        (SECRET, None, None),
        ({"secret": False}, "s", "s"),
        ({"type": "object", "secret": True}, {"a": "s"}, MASK),
        ({"type": "array", "secret": True}, ["s"], MASK),
        (
            {"type": "object", "properties": {"p": SECRET, "q": {}}},
            {"p": "s", "q": "t", "r": 1},
            {"p": MASK, "q": "t", "r": 1},
        ),
        ({"type": "array", "items": SECRET}, ["s", "t"], [MASK, MASK]),
        ({"type": "array", "items": [{}, SECRET]}, ["a", "s", "b"], ["a", MASK, "b"]),
        ({"type": "array", "items": [{}], "additionalItems": SECRET}, ["a", "s"], ["a", MASK]),
        (
            {"type": "array", "items": {"type": "object", "properties": {"p": SECRET}}},
            [{"p": "s"}, {"q": "t"}],
            [{"p": MASK}, {"q": "t"}],
        ),
        ({"type": "object", "additionalProperties": SECRET}, {"x": "s"}, {"x": MASK}),
        (
            {"type": "object", "patternProperties": {"^p": SECRET}},
            {"p1": "s", "q": "t"},
            {"p1": MASK, "q": "t"},
        ),
        ({"anyOf": [{"type": "integer"}, SECRET]}, "s", MASK),
        ({"allOf": [{"properties": {"p": SECRET}}]}, {"p": "s"}, {"p": MASK}),
        ({"type": "object", "properties": {"p": SECRET}}, '{"p": "s"}', MASK),
        ({"type": "object", "properties": {"p": SECRET}}, [{"p": "s"}], [{"p": MASK}]),
        ({"type": "array", "items": SECRET}, {"p": "s"}, {"p": MASK}),
        ({"type": "object", "properties": {"p": {}}}, "text", "text"),
    ],
)
def test_value_is_masked_where_its_schema_is_secret(schema: Json, value: Json, shown: Json) -> None:
    assert mask_value(value, schema) == shown


def test_parameters_are_masked_by_action_or_runner() -> None:
    runner = RUNNER_TYPES["remote-shell-cmd"].runner_parameters
    values = {"password": "s", "token": "t", "cmd": "x", "unknown": "u"}
    shown = mask_parameters(values, {"token": SECRET, "password": {"default": ""}}, runner)
    assert shown == {"password": MASK, "token": MASK, "cmd": "x", "unknown": "u"}
    assert values["password"] == "s"


@pytest.mark.parametrize(
    "schema",
    [
        {"p": SECRET},
        {"type": "object", "properties": {"p": SECRET}},
        {"anyOf": [{"properties": {"p": SECRET}}]},
    ],
)
@pytest.mark.parametrize(
    ("runner", "key"),
    [
        ("python-script", "result"),
        ("http-request", "body"),
        ("orquesta", "output"),
        ("action-chain", "published"),
    ],
)
def test_result_is_masked_below_the_key_of_its_runner(runner: str, key: str, schema: Json) -> None:
    shown = mask_result({key: {"p": "s", "q": "t"}, "stdout": "o"}, RUNNER_TYPES[runner], schema)
    assert shown == {key: {"p": MASK, "q": "t"}, "stdout": "o"}


def test_result_of_runner_without_key_or_schema_is_shown() -> None:
    assert mask_result({"stdout": "s"}, RUNNER_TYPES["local-shell-cmd"], {"stdout": SECRET}) == {
        "stdout": "s"
    }
    assert mask_result({"result": "s"}, RUNNER_TYPES["python-script"], {}) == {"result": "s"}


def test_answer_of_inquiry_is_masked_in_result_and_in_the_answering_execution() -> None:
    schema = {"type": "object", "properties": {"pin": SECRET, "ok": {"type": "boolean"}}}
    result = {"schema": schema, "response": {"pin": "1234", "ok": True}, "ttl": 5}
    assert mask_inquiry_result(result)["response"] == {"pin": MASK, "ok": True}
    assert mask_inquiry_result({"schema": schema}) == {"schema": schema}
    assert mask_respond_parameters({"id": "x", "response": {"pin": "1"}}) == {"id": "x", "response": MASK}


def test_configuration_and_api_key_are_masked() -> None:
    assert mask_config({"url": "u", "key": "k"}, {"url": {}, "key": SECRET}) == {"url": "u", "key": MASK}
    shown = mask_api_key({"id": "1", "key_hash": "h", "uid": "api_key:h", "user": "ann"})
    assert shown == {"id": "1", "key_hash": MASK, "uid": MASK, "user": "ann"}


def test_secret_texts_are_found_and_hidden_elsewhere() -> None:
    schemas = {"pw": SECRET, "o": {"type": "object", "properties": {"k": SECRET}}}
    values = {"pw": "hunter2", "o": {"k": ["abc", 12345], "l": "open"}, "cmd": "curl -u me:hunter2"}
    texts = secret_texts(values, schemas)
    assert texts == {"hunter2", "abc", "12345"}
    shown = redact({"cmd": values["cmd"], "hunter2": [12345, True]}, texts)
    assert shown == {"cmd": f"curl -u me:{MASK}", MASK: [MASK, True]}
    assert not re.search("hunter2|12345", repr(shown))
