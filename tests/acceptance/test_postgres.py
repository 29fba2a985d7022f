"""The same life on PostgreSQL as the ledger: what is different is only the address of the database."""

import threading
from collections.abc import Callable

from tests.support import ledger
from tests.support.postgres import Postgres
from tests.support.server import Server
from tests.support.stream import run_stream


def test_whole_life_on_postgres(
    fresh_server: Callable[..., Server], postgres: Postgres, postgres_url: str
) -> None:
    server = fresh_server(database_url=postgres_url)
    with server.api() as api:
        runtime = api.create(name="on-postgres")["id"]
        assert api.sh(runtime, "echo hi") == "hi\n"
        assert run_stream(server, runtime, "echo", "streamed").stdout == b"streamed\n"
        api.write_file(runtime, "/root/mark", b"mark").expect(204)
        taken = api.post(f"/v1/runtimes/{runtime}/checkpoints", {"kind": "full"}).expect(200).data["id"]
        api.post(f"/v1/runtimes/{runtime}/pause").expect(200)
        api.post(f"/v1/runtimes/{runtime}/resume").expect(200)
        api.put("/v2/secrets/pg", {"value": "hidden-value", "cache_ttl_secs": 0}).expect(200)
        rows = ledger.executions(api)
        assert {row["status"] for row in rows} == {"succeeded"}
    server.restart()
    with server.api() as api:
        assert api.sh(runtime, "cat /root/mark") == "mark"
        restored = api.create(checkpoint_id=taken)["id"]
        assert api.sh(restored, "cat /root/mark") == "mark"
        assert len(ledger.executions(api, place=runtime)) == 3
    assert not list(server.data_dir.rglob("*.db")), "nothing of the ledger may lie beside PostgreSQL"
    database = postgres_url.rpartition("/")[2]
    assert "hidden-value" not in postgres.psql("SELECT string_agg(secrets::text, ' ') FROM secrets", database)


def test_many_execs_at_once_on_postgres(fresh_server: Callable[..., Server], postgres_url: str) -> None:
    server = fresh_server(database_url=postgres_url)
    found: list[str] = []
    with server.api() as api:
        runtime = api.create()["id"]

        def one() -> None:
            with server.api() as client:
                found.extend(client.sh(runtime, "echo x") for _ in range(10))

        threads = [threading.Thread(target=one) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == ["x\n"] * 160
        assert len(ledger.executions(api)) == 160


def test_killed_server_on_postgres_comes_back(fresh_server: Callable[..., Server], postgres_url: str) -> None:
    server = fresh_server(database_url=postgres_url)
    with server.api() as api:
        runtime = api.create()["id"]
        api.sh(runtime, "echo kept > /root/kept")
    server.kill()
    server.start()
    with server.api() as api:
        assert api.sh(runtime, "cat /root/kept") == "kept\n"
        assert {row["status"] for row in ledger.executions(api)} == {"succeeded"}
