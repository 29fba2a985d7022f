"""The Terraform door on the wire: locks, guards, tenants, addresses, archives that mean harm, large states, kill -9."""

import base64
import concurrent.futures
import gzip
import hashlib
import io
import json
import os
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ServerFactory
from tests.support.cli import Ran, environment_for, run_process
from tests.support.http import Answer, Api
from tests.support.server import Server
from tests.support.states import state
from tests.support.tenant import add_account

WORKSPACES = "/api/v2/organizations/default/workspaces"
ACCEPT = {"Accept": "application/vnd.api+json"}


def make(api: Api, name: str, **attributes: object) -> str:
    """Make a workspace for local execution and return its id."""
    given = {"name": name, "execution-mode": "local", **attributes}
    made = api.post(WORKSPACES, {"data": {"type": "workspaces", "attributes": given}}).expect(201)
    return str(made.json()["data"]["id"])


@pytest.fixture
def workspace(api: Api, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.replace("_", "-")[-60:]
    workspace_id = make(api, name)
    yield workspace_id
    api.request("DELETE", f"/api/v2/workspaces/{workspace_id}", headers=ACCEPT).expect(204)


def test_lock_parallel_lockers_exactly_one_wins_and_the_others_see_it(api: Api, workspace: str) -> None:
    path = f"/terraform/state/{workspace}"

    def lock(number: int) -> Answer:
        with api.clone() as own:
            return own.request("LOCK", path, {"ID": f"lock-{number}", "Who": f"who-{number}"})

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lock, range(8)))
    won = [one for one in answers if one.status == 200]
    assert [len(won), sum(one.status == 423 for one in answers)] == [1, 7]
    holder = won[0].json()
    assert all(one.json()["ID"] == holder["ID"] for one in answers)
    assert api.request("LOCK", path, holder).expect(200).json() == holder

    assert api.post(f"{path}?ID=other", state_of(1)).status == 423
    assert api.request("POST", path, state(1)).expect(423).json() == holder
    api.request("POST", f"{path}?ID={holder['ID']}", state(1)).expect(200)
    api.request("UNLOCK", path, {"ID": "other"}).expect(423)
    api.request("UNLOCK", path, holder).expect(200)
    api.request("UNLOCK", path, holder).expect(200)
    lost = api.request("POST", f"{path}?ID={holder['ID']}", state(2)).expect(409)
    assert "not held any more" in lost.json()["errors"][0]["detail"]


def state_of(serial: int) -> Any:
    return json.loads(state(serial))


def test_state_bodies_are_guarded_and_never_quoted(api: Api, workspace: str) -> None:
    path = f"/terraform/state/{workspace}"
    assert api.get(path).expect(204).body == b""
    body = state(1, secret="hunter2hunter2")
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    api.request("POST", path, body[:-1] + b" ", {"Content-MD5": md5}).expect(422)
    api.request("POST", path, body, {"Content-MD5": "no base64!"}).expect(422)
    api.request("POST", path, body, {"Content-MD5": md5}).expect(200)
    for wrong in (b"", b"hunter2hunter2", body[:50], b'{"lineage": "hunter2hunter2"}', b"[]"):
        answer = api.request("POST", path, wrong).expect(422)
        assert b"hunter2" not in answer.body
    answer = api.request("POST", path, state(1, secret="hunter2hunter2!")).expect(409)
    assert b"hunter2" not in answer.body
    found = api.get(path).expect(200)
    assert found.body == body
    assert found.headers["content-md5"] == md5
    assert found.headers["cache-control"] == "no-store"
    assert [one["number"] for one in api.get(f"{path}/versions").json()["versions"]] == [1]
    api.get(f"{path}/versions/2").expect(404)
    api.get(f"{path}/versions/x").expect(422)
    api.get(f"{path}/versions?limit=0").expect(422)
    api.request("LOCK", path, {"Who": "no id"}).expect(422)
    api.request("LOCK", path, b"no json").expect(400)
    api.request("LOCK", path, {"ID": 7}).expect(422)


def test_credentials_are_basic_or_bearer_and_permissions_count(api: Api, workspace: str) -> None:
    path = f"/terraform/state/{workspace}"
    nobody = api.anonymous()
    refused = nobody.get(path).expect(401)
    assert refused.headers["www-authenticate"].startswith("Basic")

    def basic(password: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"x:{password}".encode()).decode()}

    assert nobody.request("GET", path, headers=basic(str(api.token))).status == 204
    for wrong in (basic("wrong-token"), basic(""), {"Authorization": "Basic !"}, basic("rys_" + "x" * 43)):
        nobody.request("GET", path, headers=wrong).expect(401)
    made = api.post(
        "/runyard/v1/tokens", {"name": "reader", "scopes": ["state:read", "workspaces:read"]}
    ).expect(201)
    reader = api.clone(made.json()["secret"])
    reader.get(path).expect(204)
    reader.request("POST", path, state(1)).expect(403)
    reader.request("LOCK", path, {"ID": "a"}).expect(403)
    reader.post(f"/api/v2/workspaces/{workspace}/actions/lock", {"data": {}}).expect(403)
    reader.post("/api/v2/runs", {"data": {}}).expect(403)


def test_protocol_locks_belong_to_users(api: Api, workspace: str) -> None:
    base = f"/api/v2/workspaces/{workspace}/actions"
    locked = api.post(f"{base}/lock", {"data": {"attributes": {"reason": "Locked by Terraform"}}}).expect(200)
    assert locked.json()["data"]["attributes"]["locked"] is True
    api.post(f"{base}/lock", {"data": {}}).expect(409)
    holder = api.get(f"/terraform/state/{workspace}/lock").expect(200).json()
    assert (holder["Who"], holder["Info"]) == ("admin", "Locked by Terraform")
    assert api.request("LOCK", f"/terraform/state/{workspace}", {"ID": "b"}).expect(423).json() == holder
    body = state(1)
    announced = announce(api, workspace, body).expect(201).json()["data"]
    assert announced["attributes"]["status"] == "pending"
    address = announced["attributes"]["hosted-state-upload-url"].split("/", 3)[3]
    nobody = api.anonymous()
    nobody.request("PUT", f"/{address}", state(2)).expect(422)
    nobody.request("PUT", f"/{address}", body).expect(200)
    nobody.request("PUT", f"/{address}", body).expect(200)
    for other in (
        f"/{address[:-3]}AAA",
        f"/{address}".replace("/state/", "/configuration/"),
        "/api/v2/objects/state/x",
    ):
        nobody.request("PUT", other, body).expect(404)
    nobody.get(f"/{address}".replace("/state/", "/log/")).expect(404)
    kept = api.get(f"/api/v2/state-versions/{announced['id']}").expect(200).json()["data"]["attributes"]
    assert (kept["status"], kept["version-number"]) == ("finalized", 1)
    assert api.get("/" + kept["hosted-state-download-url"].split("/", 3)[3]).body == body
    again = announce(api, workspace, body).expect(201).json()["data"]
    assert again["id"] == announced["id"]
    api.post(f"{base}/unlock").expect(200)
    api.post(f"{base}/unlock").expect(409)
    api.post(f"{base}/force-unlock").expect(409)
    listed = api.get(
        f"/api/v2/state-versions?filter%5Bworkspace%5D%5Bname%5D={name_of(api, workspace)}"
        "&filter%5Borganization%5D%5Bname%5D=default"
    ).expect(200)
    assert [one["id"] for one in listed.json()["data"]] == [announced["id"]]
    inline = {"state": base64.b64encode(state(2)).decode(), "md5": "0" * 32}
    path = f"/api/v2/workspaces/{workspace}/state-versions"
    api.post(path, {"data": {"attributes": inline}}).expect(422)
    inline["md5"] = hashlib.md5(state(2)).hexdigest()
    api.post(path, {"data": {"attributes": inline}}).expect(201)
    outputs = (
        api.get(f"/api/v2/workspaces/{workspace}/current-state-version-outputs").expect(200).json()["data"]
    )
    assert [(one["attributes"]["name"], one["attributes"]["value"]) for one in outputs] == [("secret", None)]
    one = api.get(f"/api/v2/state-version-outputs/{outputs[0]['id']}").expect(200).json()["data"]
    assert one["attributes"]["value"] == "plain"


def test_locks_of_one_user_hold_off_another(api: Api, workspace: str) -> None:
    api.post("/runyard/v1/users", {"name": "bob", "role": "operator"}).expect(201)
    bob = api.clone(
        api.post("/runyard/v1/tokens", {"name": "bob", "user": "bob"}).expect(201).json()["secret"]
    )
    path, actions = f"/terraform/state/{workspace}", f"/api/v2/workspaces/{workspace}/actions"
    api.post(f"/runyard/v1/workspaces/{workspace}/lock", {"reason": "audit"}).expect(200)
    held = bob.request("LOCK", path, {"ID": "b"}).expect(423).json()
    assert (held["Who"], held["Info"]) == ("admin", "audit")
    bob.post(f"{actions}/lock", {"data": {}}).expect(409)
    api.request("LOCK", path, {"ID": "a"}).expect(200)
    api.request("UNLOCK", path, {"ID": "a"}).expect(200)
    api.post(f"/runyard/v1/workspaces/{workspace}/unlock", {}).expect(200)

    bob.post(f"{actions}/lock", {"data": {}}).expect(200)
    api.post(f"{actions}/unlock").expect(409)
    body = state(1)
    announced = announce(api, workspace, body).expect(409).json()["errors"][0]
    assert "locked by bob" in announced["detail"]
    address = (
        announce(bob, workspace, body).expect(201).json()["data"]["attributes"]["hosted-state-upload-url"]
    )
    api.post(f"{actions}/force-unlock").expect(200)
    lost = api.anonymous().request("PUT", "/" + address.split("/", 3)[3], body).expect(409)
    assert "not held any more" in lost.json()["errors"][0]["detail"]
    api.get(path).expect(204)


def announce(api: Api, workspace: str, body: bytes) -> Answer:
    document = json.loads(body)
    attributes = {
        "serial": document["serial"],
        "lineage": document["lineage"],
        "md5": hashlib.md5(body).hexdigest(),
    }
    path = f"/api/v2/workspaces/{workspace}/state-versions"
    return api.post(path, {"data": {"type": "state-versions", "attributes": attributes}})


def name_of(api: Api, workspace: str) -> str:
    found = api.request("GET", f"/api/v2/workspaces/{workspace}", headers=ACCEPT).expect(200)
    return str(found.json()["data"]["attributes"]["name"])


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


huge = entry("main.tf")
huge.size = 600 << 20
HOSTILE = {
    "not an archive": b"hello",
    "cut short": archive((entry("main.tf"), b"x" * 4000))[:60],
    "parent": archive((entry("../../etc/cron.d/x"), b"x")),
    "absolute": archive((entry("/etc/passwd"), b"x")),
    "link out": archive((entry("a", tarfile.SYMTYPE, "../../../etc"), b"")),
    "device": archive((entry("null", tarfile.CHRTYPE), b"")),
    "bomb": gzip.compress(huge.tobuf()),
}


def test_configurations_that_mean_harm_are_refused_with_the_reason(api: Api, workspace: str) -> None:
    path = f"/api/v2/workspaces/{workspace}/configuration-versions"
    nobody = api.anonymous()

    def upload(body: bytes) -> tuple[Answer, dict[str, Any], str]:
        made = api.post(path, {"data": {"attributes": {"speculative": True}}}).expect(201).json()["data"]
        address = "/" + made["attributes"]["upload-url"].split("/", 3)[3]
        answer = nobody.request("PUT", address, body)
        found = api.get(f"/api/v2/configuration-versions/{made['id']}").expect(200).json()["data"]
        return answer, found["attributes"], address

    for name, body in HOSTILE.items():
        answer, found, address = upload(body)
        assert answer.status in (413, 422), name
        assert (found["status"], bool(found["error-message"])) == ("errored", True), name
        nobody.request("PUT", address, body).expect(409)
    good = archive((entry("main.tf"), b""), (entry("link", tarfile.SYMTYPE, "main.tf"), b""))
    answer, found, address = upload(good)
    assert (answer.status, found["status"]) == (200, "uploaded")
    nobody.request("PUT", address, good).expect(409)
    api.post(path, {"data": {"attributes": {"auto-queue-runs": True}}}).expect(422)


def test_large_state_goes_in_and_out(api: Api, server: Server, workspace: str) -> None:
    path = f"/terraform/state/{workspace}"
    body = state(1, padding=50 << 20)
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    before = resident(server.pid)
    api.request("POST", path, body).expect(200)
    assert hashlib.sha256(api.get(path).expect(200).body).digest() == hashlib.sha256(body).digest()
    grown = resident(server.pid) - before
    assert grown < 190 << 20, f"{grown >> 20} MiB more than before"


def resident(pid: int) -> int:
    """Return the most memory that a process had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")


def test_kill_between_lock_and_write_leaves_the_state_whole_and_other_tenants_out(
    fresh_server: ServerFactory,
) -> None:
    """One server for both: what a killed one left is read again, and by nobody else."""
    server = fresh_server()
    with server.api() as api:
        workspace = make(api, "net")
        path = f"/terraform/state/{workspace}"
        api.request("POST", path, state(1)).expect(200)
        api.request("LOCK", path, {"ID": "mine", "Who": "me"}).expect(200)
        configurations = f"/api/v2/workspaces/{workspace}/configuration-versions"
        configuration = api.post(configurations, {"data": {}}).expect(201).json()["data"]["id"]
        kill_while_writing(server, path)
    token = add_account(server, "other")
    server.start()
    with server.api() as api:
        assert api.request("LOCK", path, {"ID": "other"}).expect(423).json()["ID"] == "mine"
        versions = api.get(f"{path}/versions").expect(200).json()["versions"]
        for one in versions:
            found = api.get(f"{path}/versions/{one['number']}").expect(200).body
            assert hashlib.md5(found).hexdigest() == one["md5"]
        assert [one["number"] for one in versions] == list(range(len(versions), 0, -1))
        assert api.get(path).expect(200).body == state(versions[0]["serial"], secret=SECRETS)
        assert not list(server.data_dir.rglob(".incoming.*"))
        api.request("POST", f"{path}?ID=mine", state(9999)).expect(200)
        api.request("UNLOCK", path, {"ID": "mine"}).expect(200)
        see_nothing(api.clone(token), workspace, versions[0]["id"], configuration)
        assert api.get(path).expect(200).body == state(9999)
    assert os.listdir(server.data_dir / "states")


def see_nothing(other: Api, workspace: str, version: str, configuration: str) -> None:
    """Ask as another tenant for everything of a workspace."""
    path, one = f"/terraform/state/{workspace}", f"/api/v2/workspaces/{workspace}"
    for method, asked, body in (
        ("GET", path, None),
        ("GET", "/terraform/state/net", None),
        ("GET", f"{path}/versions", None),
        ("POST", path, state(3)),
        ("LOCK", path, {"ID": "x"}),
        ("UNLOCK", path, None),
        ("GET", "/api/v2/organizations/default", None),
        ("GET", f"{WORKSPACES}/net", None),
        ("GET", "/api/v2/organizations/other/workspaces/net", None),
        ("POST", f"{one}/actions/lock", {"data": {}}),
        ("POST", f"{one}/actions/force-unlock", None),
        ("GET", f"{one}/current-state-version", None),
        ("GET", f"{one}/runs", None),
        ("GET", f"/api/v2/state-versions/{version}", None),
        ("GET", f"/api/v2/state-version-outputs/{version}-secret", None),
        ("GET", f"/api/v2/configuration-versions/{configuration}", None),
    ):
        answer = other.request(method, asked, body)
        assert answer.status == 404, (method, asked, answer.status, answer.body)
    run = {"data": {"relationships": {"workspace": {"data": {"type": "workspaces", "id": workspace}}}}}
    other.post("/api/v2/runs", run).expect(404)
    assert other.get("/api/v2/organizations/other/workspaces").expect(200).json()["data"] == []


SECRETS = "s" * 2000


def kill_while_writing(server: Server, path: str) -> None:
    """Kill a server while one state is half sent and others are written as fast as it goes."""
    body = state(2, padding=8 << 20)
    head = (
        f"POST {path}?ID=mine HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(head.encode() + body[: 5 << 20])
        written = threading.Event()
        writer = threading.Thread(target=write_on, args=(server, path, written))
        writer.start()
        assert written.wait(30)
        server.kill()
        writer.join()


def write_on(server: Server, path: str, written: threading.Event) -> None:
    """Write version after version until the server is gone; say so after some."""
    with server.api(timeout=10) as api:
        for serial in range(2, 9000):
            try:
                answer = api.request("POST", f"{path}?ID=mine", state(serial, secret=SECRETS))
            except Exception:  # noqa: BLE001  the server was killed, in whatever way that shows
                written.set()
                return
            assert answer.status == 200, answer.body
            if serial == 12:
                written.set()


def test_command_line_shows_history_content_and_lock(
    api: Api, server: Server, workspace: str, tmp_path: Path
) -> None:
    path = f"/terraform/state/{workspace}"
    environment = environment_for(tmp_path, server.url, server.token)

    def runyard(*words: str) -> Ran:
        return run_process(environment, "state", *words)

    assert runyard("history", workspace).expect(0).err == "there is no state yet\n"
    assert "no state yet" in runyard("pull", workspace).expect(3).err
    for serial in (1, 2, 3):
        api.request("POST", path, state(serial)).expect(200)
    listed = runyard("history", workspace, "--json").expect(0).json()["items"]
    assert [one["number"] for one in listed] == [3, 2, 1]
    assert runyard("pull", workspace, "--version", "2").expect(0).out == state(2).decode()
    output = tmp_path / "state.json"
    runyard("pull", name_of(api, workspace), "--to", str(output)).expect(0)
    assert (output.read_bytes(), output.stat().st_mode & 0o777) == (state(3), 0o600)
    runyard("lock", workspace).expect(3)
    api.request("LOCK", path, {"ID": "held", "Who": "ann@laptop"}).expect(200)
    assert "ann@laptop" in runyard("lock", workspace).expect(0).out
    assert runyard("unlock", workspace).status == 2
    runyard("unlock", workspace, "--id", "other", "--yes").expect(6)
    assert runyard("unlock", workspace, "--yes", "--json").expect(0).json()["id"] == "held"
    runyard("unlock", workspace, "--yes").expect(3)


VALUES: tuple[Any, ...] = (
    None, True, -1, 2**70, 1.5, "", "x" * 5000, "\0", "../..", "é\u202e", [], ["x"], [{}], {}, {"a": 1},
)  # fmt: skip
ATTRIBUTES = {
    "workspaces": (
        "name", "description", "working-directory", "terraform-version", "auto-apply", "execution-mode", "operations",
        "iac-type",
    ),
    "state-versions": ("serial", "lineage", "md5", "force", "state"),
    "configuration-versions": ("speculative", "auto-queue-runs"),
    "runs": (
        "message", "is-destroy", "plan-only", "save-plan", "auto-apply", "refresh", "refresh-only", "target-addrs",
        "replace-addrs", "variables",
    ),
}  # fmt: skip


def test_wrong_values_at_every_place_are_no_fault_of_the_server(api: Api, workspace: str) -> None:
    one = f"/api/v2/workspaces/{workspace}"
    paths = {
        "workspaces": [("POST", WORKSPACES), ("PATCH", one)],
        "state-versions": [("POST", f"{one}/state-versions")],
        "configuration-versions": [("POST", f"{one}/configuration-versions")],
        "runs": [("POST", "/api/v2/runs")],
    }
    related: dict[str, Any] = {"workspace": {"data": {"type": "workspaces", "id": workspace}}}
    made: set[str] = set()
    for kind, asked in paths.items():
        for name in ATTRIBUTES[kind]:
            for value in VALUES:
                given = {"md5": "0" * 32, "execution-mode": "local", name: value}
                for method, path in asked:
                    body = {"data": {"type": kind, "attributes": given, "relationships": related}}
                    answer = api.request(method, path, body, ACCEPT)
                    assert answer.status < 500, (kind, name, value, answer.body)
                    if method == "POST" and path == WORKSPACES and answer.status == 201:
                        made.add(answer.json()["data"]["id"])
    shapeless: tuple[Any, ...] = (
        [],
        1,
        {"data": []},
        {"data": {"attributes": []}},
        {"data": {"relationships": {"tags": {"data": 3}}}},
    )
    for wrong_body in shapeless:
        for method, path in [pair for asked in paths.values() for pair in asked]:
            assert api.request(method, path, wrong_body, ACCEPT).status < 500
    for wrong in ({"workspace": {"data": {"id": value}}} for value in VALUES):
        assert api.post("/api/v2/runs", {"data": {"relationships": wrong}}).status < 500
    for query in (
        "page%5Bnumber%5D=0",
        "page%5Bsize%5D=x",
        "search%5Bname%5D=%00",
        "filter%5Bproject%5D%5Bid%5D=%F0",
    ):
        assert api.get(f"{WORKSPACES}?{query}").status < 500
    for workspace_id in made:
        api.request("DELETE", f"/api/v2/workspaces/{workspace_id}", headers=ACCEPT).expect(204)
