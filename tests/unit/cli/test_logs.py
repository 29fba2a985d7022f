"""`logs` and `execution` against a fake server."""

import base64
import json

import pytest

from tests.fakes.native_server import NativeServer
from tests.support.cli import Cli


def test_execution_list_sends_its_filters(fake: NativeServer, cli: Cli) -> None:
    fake.add_execution(status="failed", exit_code=2)
    ran = cli(
        "execution", "list", "--status", "failed,timeout", "--text", "ma", "--since", "2026-01-01T00:00:00Z"
    )
    assert "failed" in ran.expect(0).out
    assert fake.seen[0].query == {
        "status": "failed,timeout",
        "text": "ma",
        "created_after": "2026-01-01T00:00:00Z",
        "limit": "50",
    }


def test_execution_get_shows_what_is_known(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(status="failed", exit_code=2, status_reason="exit status 2")
    text = cli("execution", "get", found).expect(0).out
    assert "exit status 2" in text
    assert "2026-01-31T08:00:00Z" in text
    assert cli("execution", "get", found, "--json").json()["exit_code"] == 2


def test_execution_history_and_cancel(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(status="running", exit_code=None)
    assert cli("execution", "history", found, "--json").expect(0).json()["items"][0]["type"] == "started"
    assert cli("execution", "cancel", found, "--reason", "enough", "--json").expect(0).json()["items"][0][
        "status"
    ] == ("canceling")
    assert fake.seen[-1].json() == {"reason": "enough"}


def test_execution_search_ends_with_1_without_a_hit(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(("stdout", b"one\nTwo\n"))
    hit = cli("execution", "search", "-i", found, "two").expect(0)
    assert (hit.out, hit.err) == ("2:Two\n", "1 found\n")
    cli("execution", "search", found, "two").expect(1)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"exit_code": 7, "status": "failed"}, 7),
        ({"exit_code": None, "status": "timeout"}, 124),
        ({"exit_code": None, "status": "abandoned"}, 125),
    ],
)
def test_execution_wait_returns_the_status_of_the_execution(
    fake: NativeServer, cli: Cli, fields: dict[str, object], status: int
) -> None:
    assert cli("execution", "wait", fake.add_execution(**fields), "--json").status == status


def test_logs_prints_both_streams_in_order_to_stdout(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(("stdout", b"one\n"), ("stderr", b"two\n"), ("stdout", b"three\n"))
    ran = cli("logs", found).expect(0)
    assert (ran.out, ran.err) == ("one\ntwo\nthree\n", "")
    assert cli("logs", found, "--stream", "stderr").out == "two\n"
    assert cli("logs", found, "--offset", "4").out == "two\nthree\n"


@pytest.mark.parametrize(
    ("lines", "expected"), [("0", ""), ("1", "d"), ("2", "c\nd"), ("3", "b\nc\nd"), ("9", "a\nb\nc\nd")]
)
def test_logs_with_tail_prints_the_last_lines(
    fake: NativeServer, cli: Cli, lines: str, expected: str
) -> None:
    found = fake.add_execution(("stdout", b"a\nb"), ("stderr", b"\nc\n"), ("stdout", b"d"))
    assert cli("logs", "-n", lines, found).expect(0).out == expected


def test_logs_without_id_means_the_newest(fake: NativeServer, cli: Cli) -> None:
    fake.add_runtime("web")
    fake.add_execution(("stdout", b"old\n"))
    fake.add_execution(("stdout", b"new\n"))
    assert cli("logs").expect(0).out == "new\n"
    assert cli("logs", "web").expect(0).out == "new\n"
    assert fake.seen[-2].query["place"] == "01900000-0000-7000-8000-000000000001"


def test_logs_with_json_prints_a_line_a_piece(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(("stdout", b"one\n"), ("stderr", b"\xff"))
    pieces = [json.loads(line) for line in cli("logs", found, "--json").expect(0).out.splitlines()]
    assert [base64.b64decode(one["data_base64"]) for one in pieces] == [b"one\n", b"\xff"]
    assert [one["offset"] for one in pieces] == [0, 4]


def test_logs_following_over_cut_connections_loses_nothing(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(*[("stdout", b"%d\n" % number) for number in range(5)])
    fake.logs[found].cuts = [1, 2]
    ran = cli("logs", "-f", found).expect(0)
    assert ran.out == "0\n1\n2\n3\n4\n"
    assert "reconnecting" in ran.err
    assert cli("execution", "tail", found).out == ran.out
    assert cli("logs", "-f", "-n", "1", found).out == "4\n"


def test_execution_wait_follows_the_live_log_instead_of_asking_again(fake: NativeServer, cli: Cli) -> None:
    found = fake.add_execution(("stdout", b"x" * 100), status="running", exit_code=None, output_bytes=100)
    fake.logs[found].ends = {"status": "failed", "exit_code": 7}
    fake.logs[found].cuts = [0]
    ran = cli("execution", "wait", found, "--json").expect(7)
    assert ran.json()["status"] == "failed"
    assert "reconnecting" in ran.err
    asked = [one.path.rpartition("/")[2] for one in fake.seen]
    assert asked == [found, "live", "live", found]
    assert fake.seen[1].query == {"offset": "100", "stream": "system"}
