"""The one encoder of JSON."""

import json

import pytest

from runyard.kernel.ids import ExecutionId, RunId
from runyard.kernel.jsons import builtins_of, encode_canonical, encode_json

DOCUMENT = {"b": RunId.new(), "a": [ExecutionId.new()], "c": None}


def test_typed_ids_are_texts_at_any_depth() -> None:
    assert json.loads(encode_json(DOCUMENT)) == DOCUMENT
    assert type(builtins_of(DOCUMENT)["a"][0]) is str


def test_equal_documents_are_equal_bytes() -> None:
    turned = dict(reversed(DOCUMENT.items()))
    assert encode_canonical(turned) == encode_canonical(DOCUMENT)


def test_what_is_no_json_is_refused_by_name() -> None:
    with pytest.raises(NotImplementedError, match="object"):
        encode_json({"x": object()})
