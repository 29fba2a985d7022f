"""The pure parts of runners: what can be kept, shapes of results, hosts, allowed addresses."""

import pytest

from runyard.actions.errors import InvalidParameters
from runyard.actions.keepable import cleaned, read
from runyard.actions.runners.http import check_host
from runyard.actions.runners.job import ProcessEnd, decoded, without_newline
from runyard.actions.runners.remote import Host, _Group, hosts_of
from runyard.executions.model import Status
from runyard.kernel.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5), ('{"a": [1]}', {"a": [1]}), ("true", True), ("", ""), ("hello", "hello"), ("1 2", "1 2"),
        ("NaN", "NaN"), ("9" * 40, int("9" * 40)), ('"\\ud800"', '"\\ud800"'), ("nothing", "nothing"),
    ],
)  # fmt: skip
def test_decoded_output_is_json_where_it_can_be_kept(text: str, value: object) -> None:
    assert decoded(text) == value


def test_without_newline_takes_one_away() -> None:
    assert without_newline(b"a\n\n") == "a\n"
    assert without_newline(b"a\r\n") == "a"
    assert without_newline(b"\xff") == "\ufffd"


def test_cleaned_replaces_nul_only() -> None:
    assert cleaned({"a": "x\0y", "b": "\\u0000"}) == {"a": "x\ufffdy", "b": "\\u0000"}
    with pytest.raises(InvalidArgument):
        cleaned({"a": "\ud800"})


@pytest.mark.parametrize("body", [b"{", b"NaN", b'"\\u0000"', b'"\\ud800"', b"1e999", b"[" * 100_000])
def test_read_refuses_what_cannot_be_kept(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(body)


@pytest.mark.parametrize(
    ("end", "code", "status"),
    [
        (ProcessEnd(code=0, signal=None, stdout=b"", stderr=b""), 0, Status.SUCCEEDED),
        (ProcessEnd(code=2, signal=None, stdout=b"", stderr=b""), 2, Status.FAILED),
        (ProcessEnd(code=None, signal=15, stdout=b"", stderr=b""), -15, Status.ABANDONED),
        (ProcessEnd(code=None, signal=11, stdout=b"", stderr=b""), -11, Status.FAILED),
        (ProcessEnd(code=None, signal=15, stdout=b"", stderr=b"", timed_out=True), -9, Status.TIMEOUT),
        (ProcessEnd(code=None, signal=15, stdout=b"", stderr=b"", canceled=True), -15, Status.CANCELED),
    ],
)
def test_end_of_a_process_in_published_words(end: ProcessEnd, code: int, status: Status) -> None:
    assert (end.return_code, end.status) == (code, status)


def test_hosts_have_ports_of_their_own_or_the_common_one() -> None:
    assert hosts_of("a, b:2222,::1", 22) == [Host("a", 22), Host("b", 2222), Host("::1", 22)]
    for text in ("", " , ", "a:x", "a:0", "a:70000"):
        with pytest.raises(InvalidArgument):
            hosts_of(text, 22)


def test_addresses_are_held_to_one_of_two_lists() -> None:
    check_host("http://good.example/x", [], ["good.example"])
    check_host("good.example", ["bad.example"], [])
    for refused, allowed in ((["bad.example"], []), ([], ["good.example"]), (["a"], ["b"])):
        with pytest.raises(InvalidParameters):
            check_host("http://BAD.example:80/", refused, allowed)


def test_first_line_of_a_remote_command_is_its_group_or_output() -> None:
    """A host that prints no line at all is told of as it is, and not gathered without end."""
    group = _Group()
    assert [group.take(part) for part in (b"12", b"34\nout", b"put")] == [b"", b"out", b"put"]
    assert group.number == 1234
    odd = _Group()
    assert odd.take(b"x" * 4096) == b""
    assert odd.take(b"y") == b"x" * 4096 + b"y"
    assert (odd.take(b"z"), odd.number) == (b"z", -1)
