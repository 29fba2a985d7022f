"""Every operation of executions with every parameter that is published, against a real server, as one table."""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.server import Server
from tests.support.st2_world import BASE, World, made_world

PUBLISHED = {
    "list": "exclude_attributes include_attributes limit offset sort sort_asc sort_desc id status parent trigger_type "
    "trigger trigger_instance rule action runner user liveaction timestamp timestamp_lt timestamp_gt show_secrets",
    "create": "show_secrets st2-context id status start_timestamp end_timestamp action action_is_workflow parameters result "
    "context callback runner_info notify delay user",
    "filters": "types",
    "get": "exclude_attributes include_attributes show_secrets max_result_size",
    "update": "show_secrets status result",
    "cancel": "show_secrets",
    "attribute": "attribute",
    "children": "depth result_fmt",
    "output": "output_type",
    "re_run": "show_secrets parameters tasks reset user delay",
    "result": "download compress pretty_format",
}
"""The parameters of each operation: of the path, the query, the headers and the body."""


@pytest.fixture(scope="module")
def world(server: Server) -> Iterator[World]:
    """Make executions of all kinds."""
    with made_world(server) as made:
        yield made


Check = Callable[[World], None]
TABLE: dict[tuple[str, str], Check] = {}


def row(operation: str, parameter: str) -> Callable[[Check], Check]:
    """Add a check to the table."""

    def add(check: Check) -> Check:
        assert (operation, parameter) not in TABLE
        TABLE[operation, parameter] = check
        return check

    return add


# --- list ---


@row("list", "exclude_attributes")
def _(w: World) -> None:
    (shown,) = w.get(f"?id={w.good['id']}&exclude_attributes=result,status").json()
    assert set(w.good) - set(shown) == {"result", "status"}


@row("list", "include_attributes")
def _(w: World) -> None:
    query = f"?id={w.good['id']}&include_attributes=action.ref,context.user,status,status,liveaction.id"
    (shown,) = w.get(query).json()
    assert set(shown) == {"id", "action", "context", "status", "liveaction"}
    assert shown["action"]["ref"] == "core.local"
    assert "runner_type" not in shown["action"]
    assert shown["context"] == w.good["context"]
    assert shown["liveaction"] == {"id": w.good["liveaction"]["id"]}
    assert w.get(f"?id={w.secret['id']}&include_attributes=parent,children").json() == [
        {"id": w.secret["id"]}
    ]


@row("list", "limit")
def _(w: World) -> None:
    two = w.get("?limit=2")
    assert (len(two.json()), two.headers["x-limit"]) == (2, "2")
    assert int(two.headers["x-total-count"]) > 2
    everything = w.get("?limit=-1")
    assert "x-limit" not in everything.headers
    assert len(everything.json()) == int(everything.headers["x-total-count"])
    assert w.get("").headers["x-limit"] == "100"


@row("list", "offset")
def _(w: World) -> None:
    ids = f"?id={w.good['id']},{w.bad['id']},{w.secret['id']}"
    page = w.get(f"{ids}&offset=1&limit=1")
    assert [one["id"] for one in page.json()] == [w.bad["id"]]
    assert page.headers["x-total-count"] == "3"
    assert w.get(f"{ids}&offset=2147483647").json() == []


@row("list", "sort")
def _(w: World) -> None:
    ids = f"id={w.good['id']},{w.bad['id']},{w.secret['id']}"
    assert w.ids(f"{ids}&sort=status,-timestamp") == [w.bad["id"], w.secret["id"], w.good["id"]]
    assert w.ids(f"{ids}&sort=-action,%2Btimestamp") == [w.secret["id"], w.good["id"], w.bad["id"]]
    assert w.ids(f"{ids}&sort=bogus") == w.ids(ids)
    assert w.ids(f"{ids}&sort=parent,name,id") == [w.good["id"], w.bad["id"], w.secret["id"]]


@row("list", "sort_asc")
def _(w: World) -> None:
    assert w.ids(f"id={w.bad['id']},{w.good['id']}&sort_asc=True") == [w.good["id"], w.bad["id"]]


@row("list", "sort_desc")
def _(w: World) -> None:
    both = f"id={w.bad['id']},{w.good['id']}"
    assert w.ids(f"{both}&sort_desc=x&sort_asc=x") == [w.bad["id"], w.good["id"]]


@row("list", "id")
def _(w: World) -> None:
    assert w.ids(f"id={w.bad['id']},%20{w.bad['id']}") == [w.bad["id"]]
    assert w.get(f"?id={'0' * 24}").json() == []
    assert "is not a valid ObjectId" in w.get("?id=bad", 400).json()["faultstring"]


@row("list", "status")
def _(w: World) -> None:
    assert w.bad["id"] in w.ids("status=failed")
    assert w.good["id"] not in w.ids("status=failed")
    for word in ("bogus", "waiting", "paused"):
        assert w.get(f"?status={word}").json() == []


@row("list", "parent")
def _(w: World) -> None:
    assert w.ids(f"parent={w.good['id']}") == [w.child["id"]]
    for word in ("null", "None", "NULL"):
        found = w.ids(f"parent={word}")
        assert (w.good["id"] in found) is (word != "None")
        assert w.child["id"] not in found


@row("list", "rule")
@row("list", "trigger")
@row("list", "trigger_type")
@row("list", "trigger_instance")
def _(w: World) -> None:
    for name in ("rule", "trigger", "trigger_type", "trigger_instance"):
        assert w.get(f"?{name}=some").json() == []
        assert w.good["id"] in w.ids(f"{name}=null")


@row("list", "action")
def _(w: World) -> None:
    assert w.ids("action=default.tabled") == [w.secret["id"]]
    assert w.get("?action=null").json() == []


@row("list", "runner")
def _(w: World) -> None:
    assert w.good["id"] in w.ids("runner=local-shell-cmd")
    assert w.ids("runner=noop") == []


@row("list", "user")
def _(w: World) -> None:
    assert w.good["id"] in w.ids("user=admin")
    assert w.ids("user=nobody") == []


@row("list", "liveaction")
def _(w: World) -> None:
    assert w.ids(f"liveaction={w.bad['liveaction']['id']}") == [w.bad["id"]]
    assert w.ids(f"liveaction={w.bad['id']}") == []


@row("list", "timestamp")
def _(w: World) -> None:
    first, last = w.good["start_timestamp"], w.bad["start_timestamp"]
    assert w.ids(f"timestamp={first}..{last}") == [w.good["id"], w.bad["id"]]
    assert w.ids(f"timestamp={last}..{first}") == [w.bad["id"], w.good["id"]]


@row("list", "timestamp_gt")
def _(w: World) -> None:
    found = w.ids(f"timestamp_gt={w.good['start_timestamp']}")
    assert w.good["id"] not in found
    assert found.index(w.bad["id"]) < found.index(w.secret["id"])
    blank = w.good["start_timestamp"].replace("T", "%20").replace("Z", "%2B00:00")
    assert w.ids(f"timestamp_gt={blank}") == found


@row("list", "timestamp_lt")
def _(w: World) -> None:
    found = w.ids(f"timestamp_lt={w.secret['start_timestamp']}")
    assert found == [w.bad["id"], w.good["id"]]


@row("list", "show_secrets")
def _(w: World) -> None:
    for flag, word in (("1", "hush-hush"), ("yes", "hush-hush"), ("no", "********"), ("False", "********")):
        (shown,) = w.get(f"?id={w.secret['id']}&show_secrets={flag}").json()
        assert shown["parameters"]["word"] == shown["liveaction"]["parameters"]["word"] == word
        assert shown["result"]["stdout"] == word


# --- create ---


@row("create", "show_secrets")
def _(w: World) -> None:
    given: dict[str, Any] = {"action": "default.tabled", "parameters": {"word": "hush-hush"}}
    assert w.create(**given)["parameters"]["word"] == "********"
    assert w.create("?show_secrets=true", **given)["parameters"]["word"] == "hush-hush"


@row("create", "st2-context")
def _(w: World) -> None:
    made = w.create(headers={"st2-context": '{"api_user": "chat", "pack": "mine"}'}, context={"a": 1})
    assert made["context"] == {"a": 1, "api_user": "chat", "user": "admin", "pack": "mine"}


@row("create", "id")
@row("create", "status")
@row("create", "start_timestamp")
@row("create", "end_timestamp")
@row("create", "result")
@row("create", "runner_info")
@row("create", "action_is_workflow")
def _(w: World) -> None:
    given: dict[str, Any] = {
        "id": "0" * 24, "status": "succeeded", "start_timestamp": "2020-01-01T00:00:00Z", "result": {"mine": 1},
        "end_timestamp": "2020-01-01T00:00:00Z", "runner_info": {"pid": 1}, "action_is_workflow": True, "bogus": 1,
    }  # fmt: skip
    made = w.create(**given)
    assert made["id"] != given["id"]
    assert made["status"] == "requested"
    assert made["start_timestamp"] > "2025"
    assert made["liveaction"]["runner_info"] == {}
    assert made["liveaction"]["action_is_workflow"] is False
    assert not {"result", "end_timestamp", "bogus"} & set(made)
    assert w.door.ended(made["id"])["result"] == {"failed": False, "succeeded": True, "return_code": 0}


@row("create", "action")
def _(w: World) -> None:
    made = w.create(action="core.echo", parameters={"message": "hi"})
    assert made["action"]["ref"] == made["liveaction"]["action"] == "core.echo"
    assert made["runner"]["name"] == "local-shell-cmd"
    assert re.fullmatch(r"[0-9a-f]{24}", made["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", made["start_timestamp"])


@row("create", "parameters")
def _(w: World) -> None:
    made = w.create(action="core.echo", parameters={"message": "{{ 1 + 1 }}"})
    assert made["parameters"]["message"] == "2"
    assert "parameters" not in w.create(parameters={})
    assert w.create(parameters={"anything": 5})["parameters"] == {"anything": 5}


@row("create", "context")
def _(w: World) -> None:
    made = w.create(context={"user": "x", "more": [1]})
    assert made["context"] == {"user": "admin", "pack": "core", "more": [1]}
    made = w.create(context={"parent": {"user": "elsa", "execution_id": w.bad["id"]}})
    assert (made["context"]["user"], made["parent"]) == ("elsa", w.bad["id"])
    assert made["id"] in w.get(f"/{w.bad['id']}").json()["children"]


@row("create", "callback")
def _(w: World) -> None:
    assert w.create(callback={"source": "x"})["liveaction"]["callback"] == {"source": "x"}
    assert w.create(callback=None)["liveaction"]["callback"] == {}


@row("create", "notify")
def _(w: World) -> None:
    given = {
        "on-complete": {"message": "m", "data": {"a": 1}, "routes": ["one"]},
        "on-failure": {"channels": ["two"]},
        "on-success": {},
    }
    made = w.create(notify=given)
    assert made["liveaction"]["notify"]["on-complete"] == given["on-complete"]
    assert made["liveaction"]["notify"]["on-failure"]["routes"] == ["two"]
    assert "notify" not in w.create(notify=None)["liveaction"]


@row("create", "delay")
def _(w: World) -> None:
    made = w.create(delay=60_000)
    assert made["delay"] == 60_000
    shown = w.get(f"/{made['id']}").json()
    assert [one["status"] for one in shown["log"]] == ["requested", "delayed"]
    assert w.door("DELETE", f"{BASE}/{made['id']}").expect(200).json()["status"] == "canceled"
    assert "delay" not in w.create(delay=0)
    assert "delay" not in w.create(delay=None)


@row("create", "user")
def _(w: World) -> None:
    assert w.create(user="elsa")["context"]["user"] == "elsa"
    assert w.create(user=None)["context"]["user"] == "admin"
    assert w.create(user="")["context"]["user"] == "admin"


# --- the rest ---


@row("filters", "types")
def _(w: World) -> None:
    everything = w.get("/views/filters").json()
    assert set(everything) == {"action", "status", "rule", "runner", "trigger", "trigger_type", "user"}
    assert "default.tabled" in everything["action"]
    assert "elsa" in everything["user"] or "admin" in everything["user"]
    assert all(isinstance(value, list) and None not in value for value in everything.values())
    assert set(w.get("/views/filters?types=user,status,bogus").json()) == {"user", "status"}


@row("get", "exclude_attributes")
def _(w: World) -> None:
    assert "result" not in w.get(f"/{w.good['id']}?exclude_attributes=result").json()
    refused = w.get(f"/{w.good['id']}?exclude_attributes=log", 400).json()["faultstring"]
    assert refused == "Invalid or unsupported exclude attribute specified: log"


@row("get", "include_attributes")
def _(w: World) -> None:
    assert set(w.get(f"/{w.good['id']}?include_attributes=id,children,id").json()) == {"id", "children"}
    refused = w.get(f"/{w.good['id']}?include_attributes=result.stdout", 400).json()["faultstring"]
    assert refused == (
        'Invalid or unsupported include attribute specified: Cannot resolve field "result.stdout"'
    )


@row("get", "show_secrets")
def _(w: World) -> None:
    assert w.get(f"/{w.secret['id']}?show_secrets=Y").json()["parameters"]["word"] == "hush-hush"
    assert w.get(f"/{w.secret['id']}").json() == w.secret


@row("get", "max_result_size")
def _(w: World) -> None:
    size = w.good["result_size"]
    path = f"/{w.good['id']}"
    assert "result" in w.get(f"{path}?max_result_size={size}").json()
    assert "result" in w.get(f"{path}?max_result_size=0").json()
    small = w.get(f"{path}?max_result_size={size - 1}&include_attributes=result,result_size").json()
    assert small == {"id": w.good["id"], "result_size": size}
    for wrong, text in (
        (-1, "max_result_size must be a positive number"),
        ((14 << 20) + 1, "max_result_size query parameter must be smaller than 14 MB"),
        ("x", 'Parameter "max_result_size" is not of type integer'),
    ):
        assert w.get(f"{path}?max_result_size={wrong}", 400).json() == {"faultstring": text}


@row("update", "status")
@row("update", "result")
@row("update", "show_secrets")
def _(w: World) -> None:
    made = w.create(action="default.tabled", parameters={"word": "hush-hush"}, delay=60_000)["id"]
    path = f"{BASE}/{made}"
    same = w.door("PUT", path, {"status": "delayed", "result": {"a": 1}}).expect(200).json()
    assert (same["status"], "result" in same) == ("delayed", False)
    ended = (
        w.door("PUT", f"{path}?show_secrets=1", {"status": "failed", "result": {"by": "hand"}})
        .expect(200)
        .json()
    )
    assert (ended["status"], ended["result"], ended["result_size"]) == ("failed", {"by": "hand"}, 13)
    assert ended["parameters"]["word"] == "hush-hush"
    assert "end_timestamp" in ended


@row("cancel", "show_secrets")
def _(w: World) -> None:
    made = w.create(action="default.tabled", parameters={"word": "hush-hush"}, delay=60_000)["id"]
    ended = w.door("DELETE", f"{BASE}/{made}?show_secrets=true").expect(200).json()
    assert ended["status"] == "canceled"
    assert ended["parameters"]["word"] == "hush-hush"
    assert w.door("DELETE", f"{BASE}/{made}").expect(200).json()["parameters"]["word"] == "********"


@row("attribute", "attribute")
def _(w: World) -> None:
    assert w.get(f"/{w.bad['id']}/attribute/status").json() == "failed"
    assert w.get(f"/{w.secret['id']}/attribute/result").json()["stdout"] == "********"
    assert w.get(f"/{w.secret['id']}/attribute/result?show_secrets=1").json()["stdout"] == "hush-hush"
    assert w.get(f"/{w.bad['id']}/attribute/trigger_instance").status == 200


@row("children", "depth")
def _(w: World) -> None:
    path = f"/{w.good['id']}/children"
    assert [one["id"] for one in w.get(path).json()] == [w.child["id"], w.grandchild["id"]]
    assert [one["id"] for one in w.get(f"{path}?depth=1").json()] == [w.child["id"]]
    assert [one["id"] for one in w.get(f"{path}?depth=-1").json()] == [w.child["id"], w.grandchild["id"]]
    assert w.get(f"/{w.secret['id']}/children").json() == []
    assert w.get(f"{path}?depth=abc", 400).json() == {
        "faultstring": 'Parameter "depth" is not of type integer'
    }


@row("children", "result_fmt")
def _(w: World) -> None:
    found = w.get(f"/{w.good['id']}/children?result_fmt=sorted").json()
    assert [one["id"] for one in found] == [w.child["id"], w.grandchild["id"]]
    assert found[0]["parent"] == w.good["id"]


@row("output", "output_type")
def _(w: World) -> None:
    path = f"/{w.good['id']}/output"
    assert w.get(f"{path}?output_type=stdout").body == b"out\n"
    assert w.get(f"{path}?output_type=stderr").body == b"err\n"
    assert w.get(f"{path}?output_type=bogus").body == b""
    whole = w.get(path)
    assert sorted(whole.body.split()) == [b"err", b"out"]
    assert whole.headers["content-type"] == "text/plain; charset=UTF-8"
    assert w.get("/last/output").status == 200
    assert w.get(f"/{w.secret['id']}/output").body == b"[masked]\n"


@row("re_run", "parameters")
def _(w: World) -> None:
    again = w.door.ended(w.re_run(parameters={"timeout": 7})["id"])
    assert again["parameters"] == {**w.good["parameters"], "timeout": 7}
    assert again["context"]["re-run"] == {"ref": w.good["id"]}
    assert again["result"]["stdout"] == "out"


@row("re_run", "show_secrets")
def _(w: World) -> None:
    shown = w.re_run("?show_secrets=true", w.secret["id"])
    assert shown["parameters"]["word"] == "hush-hush"
    again = w.door.ended(w.re_run(of=w.secret["id"])["id"])
    assert again["parameters"]["word"] == "********"
    assert w.get(f"/{again['id']}?show_secrets=1").json()["result"]["stdout"] == "hush-hush"


@row("re_run", "tasks")
@row("re_run", "reset")
def _(w: World) -> None:
    assert w.re_run(tasks=[], reset=[])["status"] == "requested"


@row("re_run", "user")
def _(w: World) -> None:
    assert w.re_run(user="elsa")["context"]["user"] == "elsa"
    assert w.re_run(user="")["context"]["user"] == "admin"


@row("re_run", "delay")
def _(w: World) -> None:
    made = w.re_run(delay=60_000)
    assert made["delay"] == 60_000
    w.door("DELETE", f"{BASE}/{made['id']}").expect(200)
    assert "delay" not in w.re_run(delay=0)


@row("result", "download")
def _(w: World) -> None:
    path = f"/{w.good['id']}/result"
    plain = w.get(path)
    assert (plain.json(), plain.headers["content-type"]) == (w.good["result"], "text/json")
    assert "content-disposition" not in w.get(f"{path}?download=0").headers
    named = f"attachment; filename=execution_{w.good['id']}_result.json"
    assert w.get(f"{path}?download=1").headers["content-disposition"] == named
    assert w.get(f"/{w.secret['id']}/result").json()["stdout"] == "********"


@row("result", "compress")
def _(w: World) -> None:
    packed = w.get(f"/{w.good['id']}/result?compress=1&download=1")
    assert json.loads(gzip.decompress(packed.body)) == w.good["result"]
    assert packed.headers["content-type"] == "application/x-gzip"
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["content-disposition"].endswith("_result.json.gz")


@row("result", "pretty_format")
def _(w: World) -> None:
    pretty = w.get(f"/{w.good['id']}/result?pretty_format=1").body
    assert pretty.startswith(b'{\n  "')
    assert json.loads(pretty) == w.good["result"]


@pytest.mark.parametrize(("operation", "parameter"), sorted(TABLE))
def test_published_parameter_does_what_it_says(world: World, operation: str, parameter: str) -> None:
    TABLE[operation, parameter](world)


def test_table_has_every_published_parameter() -> None:
    published = {(name, word) for name, words in PUBLISHED.items() for word in words.split()}
    assert published == set(TABLE)


MEMBERS: dict[str, type | tuple[type, ...]] = {
    "id": str, "status": str, "start_timestamp": str, "end_timestamp": str, "elapsed_seconds": float, "web_url": str,
    "parameters": dict, "context": dict, "result": dict, "result_size": int, "children": list, "log": list,
    "action.id": str, "action.ref": str, "action.uid": str, "action.name": str, "action.description": str,
    "action.enabled": bool, "action.runner_type": str, "action.entry_point": str, "action.pack": str,
    "action.parameters": dict, "action.tags": list, "action.notify": dict, "action.output_schema": dict,
    "action.metadata_file": str, "runner.id": str, "runner.uid": str, "runner.name": str, "runner.description": str,
    "runner.enabled": bool, "runner.runner_package": str, "runner.runner_module": str, "runner.runner_parameters": dict,
    "liveaction.id": str, "liveaction.action": str, "liveaction.action_is_workflow": bool,
    "liveaction.parameters": dict, "liveaction.callback": dict, "liveaction.runner_info": dict,
}  # fmt: skip


def test_execution_has_every_published_member_in_its_type(world: World) -> None:
    for path, kind in MEMBERS.items():
        value: Any = world.good
        for step in path.split("."):
            value = value[step]
        assert isinstance(value, kind), (path, value)
    assert world.child["parent"] == world.good["id"]
    assert {"status", "timestamp"} == set(world.good["log"][0])
    for absent in (
        "delay",
        "rule",
        "trigger",
        "trigger_type",
        "trigger_instance",
        "task_execution",
        "workflow_execution",
    ):
        assert absent not in world.good
    assert "status" not in world.good["liveaction"]
