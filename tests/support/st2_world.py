"""Executions of all kinds on a server, made once, for tests that look at them through the StackStorm door."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.acceptance.test_st2_wire import Door
from tests.support.http import Answer
from tests.support.server import Server

BASE = "/v1/executions"


@dataclass
class World:
    """Executions to look at, made once."""

    door: Door
    good: dict[str, Any]
    bad: dict[str, Any]
    secret: dict[str, Any]
    child: dict[str, Any]
    grandchild: dict[str, Any]

    def get(self, path: str, status: int = 200) -> Answer:
        """Read below executions."""
        return self.door("GET", BASE + path).expect(status)

    def ids(self, query: str) -> list[str]:
        """List the ids of the known executions that a query leaves, in its order."""
        known = {one["id"] for one in (self.good, self.bad, self.secret, self.child, self.grandchild)}
        found = self.get(f"?limit=-1&{query}&include_attributes=id").json()
        return [one["id"] for one in found if one["id"] in known]

    def create(self, query: str = "", headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        """Ask for a noop."""
        sent = {"X-Auth-Token": self.door.token, **(headers or {})}
        made: dict[str, Any] = (
            self.door("POST", BASE + query, {"action": "core.noop", **more}, sent).expect(201).json()
        )
        return made

    def re_run(self, query: str = "", of: str | None = None, **body: Any) -> dict[str, Any]:
        """Run the good one again."""
        made: dict[str, Any] = (
            self.door("POST", f"{BASE}/{of or self.good['id']}/re_run{query}", body).expect(201).json()
        )
        return made


@contextlib.contextmanager
def made_world(server: Server) -> Iterator[World]:
    """Make executions of all kinds; the action that they need is removed at the end."""
    with server.api() as api:
        door = Door(api)
        door("DELETE", "/v1/actions/default.tabled")
        action = {
            "name": "tabled",
            "runner_type": "local-shell-cmd",
            "parameters": {
                "word": {"type": "string", "secret": True},
                "cmd": {"default": "echo {{ word }}", "immutable": True},
            },
        }
        door("POST", "/v1/actions", action).expect(201)
        good = door.run("echo out; echo err >&2")
        bad = door.run("exit 3")
        made = (
            door("POST", BASE, {"action": "default.tabled", "parameters": {"word": "hush-hush"}})
            .expect(201)
            .json()
        )
        secret = door.ended(made["id"])
        below = {"parent": {"execution_id": good["id"]}}
        child = door.run("true", context=below)
        grandchild = door.run("true", context={"parent": {"execution_id": child["id"]}})
        yield World(door, door.ended(good["id"]), bad, secret, child, grandchild)
        door("DELETE", "/v1/actions/default.tabled")
