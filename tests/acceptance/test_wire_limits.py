"""Limits are settings, and going over one ends in 429 with `Retry-After` or in 422, in the dialect's envelope."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.support import ledger
from tests.support.http import Answer
from tests.support.server import Server


def assert_rate_limited(answer: Answer) -> None:
    """Assert the status, the code and the header."""
    assert answer.status == 429, answer.body
    assert answer.error[0] == "rate_limited"
    assert int(answer.headers["retry-after"]) >= 1


def test_limits_are_settings_and_answer_clearly(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server(
        limits__execs_per_runtime=2,
        limits__runtimes_per_account=2,
        limits__body_bytes=1 << 20,
        exec__max_timeout_secs=60,
        exec__max_output_bytes=1000,
        exec__default_output_bytes=500,
        runtimes__max_vcpus=2,
        runtimes__max_memory_mib=512,
        runtimes__warm_pool_size=0,
    )
    small = {"resources": {"requests": {"vcpus": 1, "memory_mib": 256}, "limits": {"memory_mib": 256}}}
    with server.api() as api:
        first, second = (api.create(**small)["id"] for _ in range(2))
        assert_rate_limited(api.post("/v1/runtimes", small))
        api.delete(f"/v1/runtimes/{second}").expect(200)
        api.create(**small)

        def busy(_: int) -> Answer:
            with server.api() as client:
                waits = "until [ -e /root/go ]; do sleep 0.05; done"
                return client.post(f"/v1/runtimes/{first}/exec", {"command": waits})

        with ThreadPoolExecutor(2) as pool:
            running = pool.map(busy, range(2))
            deadline = time.monotonic() + 30
            while len(ledger.executions(api, status="running")) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            answer = api.post(f"/v1/runtimes/{first}/exec", {"command": "true"})
            assert_rate_limited(answer)
            api.write_file(first, "/root/go", b"")
            assert [one.status for one in running] == [200, 200]
        assert len(api.exec(first, "head -c 600 /dev/zero | tr '\\0' x")["stdout"]) == 500
        for body in ({"command": "true", "timeout_secs": 61}, {"command": "true", "max_output_bytes": 1001}):
            answer = api.post(f"/v1/runtimes/{first}/exec", body)
            assert (answer.status, answer.error[0]) == (422, "invalid_argument")
        for size in ({"vcpus": 3, "memory_mib": 256}, {"vcpus": 1, "memory_mib": 1024}):
            answer = api.post(
                "/v1/runtimes", {"resources": {"requests": size, "limits": {"memory_mib": 512}}}
            )
            assert answer.status in (422, 429), answer.body
        answer = api.post(f"/v1/runtimes/{first}/exec", {"command": "true", "stdin": "x" * (2 << 20)})
        assert answer.status in (413, 422)
        assert set(answer.json()) == {"error", "request_id"}


def test_many_creates_at_once_all_work(fresh_server: Callable[..., Server]) -> None:
    server = fresh_server()
    barrier = threading.Barrier(16)

    def create(_: int) -> str:
        with server.api() as api:
            barrier.wait()
            runtime: str = api.create()["id"]
            assert api.sh(runtime, "hostname; echo ok").endswith("ok\n")
            api.delete(f"/v1/runtimes/{runtime}").expect(200)
            return runtime

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(create, range(16)))) == 16
