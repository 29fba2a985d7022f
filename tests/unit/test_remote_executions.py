"""Arguments and digests of remote executions, as text from anybody."""

import base64
import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.infrastructure.remote.errors import BadArgument, BadDigest
from runyard.infrastructure.remote.model import MAX_VALUES, check_arguments, read_digest

HEX = hashlib.sha256(b"x").hexdigest()
BASE64 = base64.b64encode(bytes.fromhex(HEX)).decode()


@pytest.mark.parametrize(
    "header",
    [f"sha256={HEX}", f"SHA256={HEX.upper()}", f"sha-256={HEX}", f" sha256={HEX} ", f"sha-256=:{BASE64}:"],
)
def test_digest_is_read_in_every_form_that_is_sent(header: str) -> None:
    assert read_digest(header) == HEX


@pytest.mark.parametrize(
    "header", [None, "", HEX, "md5=abc", f"sha256={HEX[1:]}", "sha-256=::", f"sha512=:{BASE64}:"]
)
def test_digest_of_another_form_is_refused(header: str | None) -> None:
    with pytest.raises(BadDigest):
        read_digest(header)


@given(st.text(max_size=120))
def test_digest_of_any_text_is_read_or_refused(header: str) -> None:
    with contextlib.suppress(BadDigest):
        assert len(bytes.fromhex(read_digest(header))) == 32


def test_arguments_keep_their_order_and_lose_what_is_empty() -> None:
    assert check_arguments({"target": ["b", "a"], "replace": []}) == {"target": ("b", "a")}


@pytest.mark.parametrize(
    "arguments",
    [{"var": ["x"]}, {"target": [""]}, {"target": ["a\nb"]}, {"replace": ["a"] * (MAX_VALUES + 1)}],
)
def test_arguments_that_no_plan_takes_are_refused(arguments: dict[str, list[str]]) -> None:
    with pytest.raises(BadArgument):
        check_arguments(arguments)
