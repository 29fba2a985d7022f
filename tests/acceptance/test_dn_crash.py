"""A server that is killed while packages are pushed: what was answered is there, whole, and nothing half-made is left."""

import contextlib
import http.client
import os
import threading

from tests.conftest import ServerFactory
from tests.support.packages import digest_of, push, task
from tests.support.server import Server

PUSHES = 12
KILLED_AFTER = 4


class Pusher:
    """Pushes many packages at once and remembers which were answered as kept."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.layers = [task({"noise": os.urandom(200_000)}, name=f"t{n}") for n in range(PUSHES)]
        self.kept: list[int] = []
        self.enough = threading.Event()

    def one(self, number: int) -> None:
        """Push one; the server may be gone meanwhile."""
        with (
            contextlib.suppress(OSError, http.client.HTTPException, AssertionError),
            self.server.api() as api,
        ):
            if push(api, self.layers[number], name=f"t{number}").status == 201:
                self.kept.append(number)
                if len(self.kept) >= KILLED_AFTER:
                    self.enough.set()

    def run(self) -> None:
        """Push all at once, and kill the server when some are kept."""
        threads = [threading.Thread(target=self.one, args=(number,)) for number in range(PUSHES)]
        for thread in threads:
            thread.start()
        assert self.enough.wait(60)
        self.server.kill()
        for thread in threads:
            thread.join()


def test_kill_during_pushes_loses_nothing_that_was_answered(fresh_server: ServerFactory) -> None:
    server = fresh_server()
    pusher = Pusher(server)
    pusher.run()
    server.start()
    packages = server.data_dir / "packages"
    assert not [name for part in ("blobs", "trees") for name in os.listdir(packages / part) if name[0] == "."]
    with server.api() as api:
        listed = {
            one["name"] for one in api.get("/api/v1/org/default/tasks?limit=100").expect(200).json()["tasks"]
        }
        assert {f"t{number}" for number in pusher.kept} <= listed
        for name in listed:
            layer = pusher.layers[int(name[1:])]
            manifest = api.get(f"/api/v1/default/{name}/manifests/latest").expect(200).json()
            assert manifest["layers"][0]["digest"] == digest_of(layer)
            assert api.get(f"/api/v1/default/blobs/{digest_of(layer)}").expect(200).body == layer
            assert (packages / "trees" / digest_of(layer)[7:] / "noise").stat().st_size == 200_000
        for number in set(range(PUSHES)) - {int(name[1:]) for name in listed}:
            push(api, pusher.layers[number], name=f"t{number}").expect(201)
