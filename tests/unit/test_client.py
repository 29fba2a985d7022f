"""The client against a fake server on loopback: decoding, retries, paging, following, the exec stream."""

import io
from collections.abc import Iterator

import pytest

from runyard.client.client import Client
from runyard.client.errors import (
    ApiError,
    ConnectionLost,
    InvalidAnswer,
    InvalidConfiguration,
    Unreachable,
)
from runyard.client.executions import Follow
from runyard.client.models import Chunk, ExecutionFilter, NewRuntime, NewToken
from runyard.client.runtimes import NotReady
from runyard.client.sse import ServerEvent, parse_events
from runyard.client.stream import Ended, ExecStart, Printed, Started
from tests.fakes.native_server import NativeServer
from tests.support.server import free_port


@pytest.fixture
def fake() -> Iterator[NativeServer]:
    """Serve the native API from memory."""
    with NativeServer() as one:
        yield one


@pytest.fixture
def client(fake: NativeServer) -> Iterator[Client]:
    """Return a client of the fake."""
    with Client(fake.url, fake.token) as one:
        yield one


def test_list_with_many_pages_yields_all_items(fake: NativeServer, client: Client) -> None:
    fake.page_size = 2
    names = [fake.add_runtime(f"r{number}")["name"] for number in range(5)]
    assert [one.name for one in client.runtimes.list()] == names


def test_list_with_limit_reads_no_page_beyond_it(fake: NativeServer, client: Client) -> None:
    fake.page_size = 2
    for number in range(6):
        fake.add_runtime(f"r{number}")
    assert len(list(client.runtimes.list(limit=3))) == 3
    assert [one.query.get("cursor") for one in fake.seen] == [None, "2"]


def test_get_with_problem_answer_raises_code_and_request_id(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.runtimes.get("nothing")
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (404, "not_found", "req-1")


def test_get_with_busy_server_is_tried_again(fake: NativeServer, client: Client) -> None:
    fake.add_runtime("web")
    fake.failures = [(503, {"code": "unavailable"}), (429, {"code": "limit_exceeded"})]
    assert client.runtimes.get("web").name == "web"
    assert len(fake.seen) == 3


def test_order_with_busy_server_is_not_repeated(fake: NativeServer, client: Client) -> None:
    fake.add_runtime("web")
    fake.failures = [(503, {"code": "unavailable"})]
    with pytest.raises(ApiError):
        client.runtimes.order("web", "stop")
    assert len(fake.seen) == 1


def test_create_repeated_after_failure_carries_one_idempotency_key(
    fake: NativeServer, client: Client
) -> None:
    fake.failures = [(502, {})]
    client.runtimes.create(NewRuntime(name="web"))
    first, second = [one.headers["idempotency-key"] for one in fake.seen]
    assert first == second


def test_create_with_defaults_sends_only_what_was_given(fake: NativeServer, client: Client) -> None:
    client.runtimes.create(NewRuntime(memory_mib=512))
    assert fake.seen[0].json() == {"memory_mib": 512}


def test_wait_ready_with_creating_runtime_polls_until_running(fake: NativeServer, client: Client) -> None:
    fake.creating_reads = 2
    made = client.runtimes.create(NewRuntime(name="web"))
    assert made.status == "creating"
    assert client.runtimes.wait_ready(made.id).status == "running"


def test_wait_ready_with_crashed_runtime_raises_its_reason(fake: NativeServer, client: Client) -> None:
    fake.add_runtime("web", status="crashed", error_message="out of memory")
    with pytest.raises(NotReady, match="out of memory"):
        client.runtimes.wait_ready("web")


def test_call_with_no_server_raises_unreachable() -> None:
    with Client(f"http://127.0.0.1:{free_port()}", "t") as client, pytest.raises(Unreachable):
        client.health()


def test_call_with_html_answer_raises_the_status(fake: NativeServer, client: Client) -> None:
    fake.failures = [(500, {})]
    with pytest.raises(ApiError, match="HTTP 500"):
        client.health()


def test_client_with_token_of_two_lines_refuses_it() -> None:
    with pytest.raises(InvalidConfiguration):
        Client("http://127.0.0.1:1", "one\ntwo")


def test_segment_with_slash_stays_one_segment(fake: NativeServer, client: Client) -> None:
    with pytest.raises(ApiError):
        client.runtimes.get("../tokens")
    assert fake.seen[0].path.startswith("/runyard/v1/runtimes/")


def test_executions_with_filter_send_a_comma_list(fake: NativeServer, client: Client) -> None:
    list(client.executions.list(ExecutionFilter(status=("running", "failed"), text="make")))
    assert fake.seen[0].query == {"status": "running,failed", "text": "make", "limit": "200"}


def test_output_with_many_pages_yields_every_byte_once(fake: NativeServer, client: Client) -> None:
    found = fake.add_execution(("stdout", b"one\n"), ("stderr", b"two\n"), ("stdout", b"three\n"))
    assert b"".join(one.data for one in client.executions.output(found)) == b"one\ntwo\nthree\n"


def test_follow_with_cut_connections_resumes_without_gap_or_repeat(
    fake: NativeServer, client: Client
) -> None:
    found = fake.add_execution(*[("stdout", b"%d\n" % number) for number in range(6)])
    fake.logs[found].cuts = [2, 0, 3]
    reasons: list[str] = []
    how = Follow(on_reconnect=reasons.append)
    data = b"".join(one.data for one in client.executions.follow(found, how))
    assert data == b"0\n1\n2\n3\n4\n5\n"
    assert how.offset == 12
    assert len(reasons) == 2, "two losses: the second cut brought nothing, so it belongs to the first"
    assert [one.headers.get("last-event-id") for one in fake.seen] == [None, "4", "4", "10"]


def test_follow_with_offset_inside_a_chunk_cuts_the_overlap(fake: NativeServer, client: Client) -> None:
    found = fake.add_execution(("stdout", b"abcdef"))
    assert [one.data for one in client.executions.follow(found, Follow(offset=4))] == [b"ef"]


def test_follow_with_lost_server_gives_up_after_its_patience(fake: NativeServer, client: Client) -> None:
    found = fake.add_execution(("stdout", b"abc"))
    fake.logs[found].cuts = [1, 0, 0, 0]
    how = Follow(patience=0.0)
    with pytest.raises(ConnectionLost):
        list(client.executions.follow(found, how))
    assert how.offset == 3


def test_follow_with_unknown_execution_does_not_retry(fake: NativeServer, client: Client) -> None:
    with pytest.raises(ApiError, match="not found"):
        list(client.executions.follow("0" * 24, Follow()))
    assert len(fake.seen) == 1


def test_search_returns_exact_total(fake: NativeServer, client: Client) -> None:
    found = fake.add_execution(("stdout", b"Error a\nok\nerror b\n"))
    result = client.executions.search(found, "error", ignore_case=True, limit=1)
    assert (result.total, [hit.line for hit in result.hits]) == (2, ["Error a"])


def test_stream_with_stdin_returns_output_and_end(fake: NativeServer, client: Client) -> None:
    runtime = fake.add_runtime()["id"]
    payload = bytes(range(256)) * 1024
    with client.runtimes.stream(runtime, ExecStart("cat", [])) as stream:
        stream.send_stdin(payload)
        stream.close_stdin()
        events = list(stream.events())
    assert isinstance(events[0], Started)
    assert b"".join(one.data for one in events if isinstance(one, Printed)) == payload
    assert events[-1] == Ended(0, None, None, events[0].execution_id, 12.5)


def test_stream_with_heartbeat_answers_it(fake: NativeServer, client: Client) -> None:
    runtime = fake.add_runtime()["id"]
    with client.runtimes.stream(runtime, ExecStart("beat", [])) as stream:
        *_, last = stream.events()
    assert isinstance(last, Ended)
    assert last.exit_code == 0


def test_stream_with_dropped_connection_raises_and_names_the_execution(
    fake: NativeServer, client: Client
) -> None:
    runtime = fake.add_runtime()["id"]
    with (
        client.runtimes.stream(runtime, ExecStart("drop", [])) as stream,
        pytest.raises(ConnectionLost) as caught,
    ):
        list(stream.events())
    assert str(stream.execution_id) in caught.value.message


def test_stream_with_unknown_runtime_raises_the_problem(client: Client) -> None:
    with (
        pytest.raises(ApiError, match="not found") as caught,
        client.runtimes.stream("no", ExecStart("true", [])),
    ):
        pass
    assert caught.value.status == 404


def test_exec_without_args_sends_a_shell_line(fake: NativeServer, client: Client) -> None:
    fake.add_runtime("web")
    assert client.runtimes.exec("web", "echo hi").stdout == "echo hi"
    assert fake.seen[0].json() == {"command": "echo hi"}


def test_files_with_binary_content_survive_both_ways(fake: NativeServer, client: Client) -> None:
    fake.add_runtime("web")
    payload = bytes(range(256)) * 4096
    client.runtimes.write_file("web", "/tmp/a b", io.BytesIO(payload))
    assert fake.seen[0].headers["transfer-encoding"] == "chunked"
    with client.runtimes.read_file("web", "/tmp/a b") as blocks:
        assert b"".join(blocks) == payload


def test_token_create_returns_the_secret_once(client: Client) -> None:
    made = client.tokens.create(NewToken(name="ci", expires_in_secs=60))
    assert made.secret == "ry_made_secret"
    assert [one.name for one in client.tokens.list()] == ["ci"]


@pytest.mark.parametrize("answer", [b"{", b"[]", b'{"items": [{}]}'])
def test_decode_with_unexpected_form_raises_invalid_answer(answer: bytes) -> None:
    from runyard.client.http import decode
    from runyard.client.models import Page, Runtime

    with pytest.raises(InvalidAnswer):
        decode(answer, Page[Runtime])


def test_parse_events_with_comments_and_half_event_yields_whole_ones() -> None:
    lines = [": hi", "event: output", "id: 7", "data: a", "data: b", "", "data: half"]
    assert list(parse_events(lines)) == [ServerEvent("output", "a\nb", "7")]


def test_chunk_end_counts_its_bytes() -> None:
    assert Chunk(offset=3, stream="stdout", data=b"ab").end == 5
