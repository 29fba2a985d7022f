"""The native exec stream: what its last frame says, and that a refused handshake is no fault of the server."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from runyard.client import ApiError, Client
from runyard.client.stream import Ended, ExecStart, Printed
from tests.conftest import ServerFactory
from tests.support.server import Server


def test_exit_frame_says_where_it_ran_and_how_long(server: Server, shared: str) -> None:
    start = ExecStart("sleep 0.3; exit 4")
    with Client(server.url, server.token) as client, client.runtimes.stream(shared, start) as stream:
        stream.close_stdin()
        ended = [event for event in stream.events() if isinstance(event, Ended)][-1]
    assert (ended.exit_code, ended.runtime_id) == (4, shared)
    assert ended.execution_id
    assert ended.duration_ms is not None
    assert 250 <= ended.duration_ms < 20_000


def test_exit_frame_of_a_missing_program_says_it_too(server: Server, shared: str) -> None:
    start = ExecStart("/no/such/program", [])
    with Client(server.url, server.token) as client, client.runtimes.stream(shared, start) as stream:
        stream.close_stdin()
        ended = [event for event in stream.events() if isinstance(event, Ended)][-1]
    assert (ended.exit_code, ended.runtime_id) == (127, shared)
    assert ended.duration_ms is not None


def test_wait_ends_with_the_execution_and_reads_none_of_its_output(server: Server, shared: str) -> None:
    start = ExecStart("head -c 300000 /dev/zero; read x; echo late; exit 6")
    with Client(server.url, server.token) as client, client.runtimes.stream(shared, start) as stream:
        seen = b""
        for event in stream.events():
            seen += event.data if isinstance(event, Printed) else b""
            if len(seen) == 300_000:
                break
        assert stream.execution_id
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(client.executions.wait, stream.execution_id)
            assert not waiting.done()
            stream.send_stdin(b"go\n")
            stream.close_stdin()
            ended = waiting.result(20)
    assert (ended.status, ended.exit_code) == ("failed", 6)
    with Client(server.url, server.token) as client:
        assert client.executions.wait(ended.id) == ended, "an execution that is over is not waited for"


def test_refused_handshakes_are_answered_and_log_no_error(fresh_server: ServerFactory) -> None:
    server = fresh_server()
    for token, status in ((server.token, 404), ("wrong-token", 401)):
        with Client(server.url, token) as client:
            for _ in range(5):
                with pytest.raises(ApiError) as refused, client.runtimes.stream("nobody", ExecStart("true")):
                    pass
                assert refused.value.status == status
                assert refused.value.request_id
    assert server.stop() == 0
    log = server.log_path.read_text()
    assert "ASGI" not in log
    assert "error" not in log.lower(), log
    assert "Traceback" not in log
