"""What packs bring and reach: virtual environments, calls back into the server, the actions of the pack `packs`, and
packs that are not isolated by name.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_st2_wire import Door
from tests.conftest import ServerFactory
from tests.support.server import Server
from tests.support.tenant import add_account

ACTION = (
    "from st2common.runners.base_action import Action\n\n\nclass It(Action):\n    def run(self, **given):\n"
)
CALLING = f"""{ACTION}        import json, os, urllib.request
        def call(method, path, body=None, token=os.environ["ST2_AUTH_TOKEN"]):
            data = None if body is None else json.dumps(body).encode()
            headers = {{"X-Auth-Token": token, "Content-Type": "application/json"}}
            request = urllib.request.Request(os.environ["ST2_API_URL"] + path, data, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)
        body = {{"action": "core.noop", "context": {{"parent": {{"execution_id": os.environ["ST2_ACTION_EXECUTION_ID"]}}}}}}
        return {{
            "user": call("GET", "/user")[1]["username"],
            "same": os.environ["ST2_ACTION_API_URL"] == os.environ["ST2_API_URL"],
            "child": call("POST", "/executions", body)[0],
            "nobody": call("GET", "/user", token="0" * 32)[0],
            "lasting": call("POST", "/apikeys", {{"metadata": {{}}}})[0],
            "token": os.environ["ST2_AUTH_TOKEN"][::-1],
            "shown": os.environ["ST2_AUTH_TOKEN"],
        }}
"""
KEEPING = f"""{ACTION}        service = self.action_service
        def refused(call, /, **given):
            try:
                return service._channel.call(call, **given)
            except Exception as error:
                return str(error)
        service.set_value("word", "secret word", local=False, encrypt=True)
        found = service.get_value("word", local=False)
        return {{
            "sealed": found != "secret word",
            "opened": service.get_value("word", local=False, decrypt=True) == "secret word",
            "listed": [one.name for one in service.list_values(local=False, prefix="wor")],
            "deleted": service.delete_value("word", local=False),
            "again": service.delete_value("word", local=False),
            "who": service.get_user_info()["username"],
            "nonsense": refused("datastore.list", prefix="", limit="many"),
            "scope": refused("datastore.get", name="x", scope="nowhere"),
            "forged": refused("action.run", action="packs.delete", parameters={{"packs": ["backs"]}}),
        }}
"""
USING = f"{ACTION}        import sys, tiny_wheel\n        return {{'answer': tiny_wheel.ANSWER, 'prefix': sys.prefix}}\n"


def wheel() -> bytes:
    """Return a wheel of one module, so that nothing has to be fetched."""
    name = "tiny_wheel-1.0.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("tiny_wheel.py", "ANSWER = 42\n")
        archive.writestr(f"{name}/METADATA", "Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 1.0\n")
        archive.writestr(
            f"{name}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}/RECORD", "")
    return buffer.getvalue()


def write_pack(server: Server, ref: str, requirements: str | None = None, **actions: str) -> Path:
    """Write a pack of Python actions, and shell commands for sources that are one line."""
    folder = server.data_dir / "packs" / ref
    (folder / "actions").mkdir(parents=True, exist_ok=True)
    (folder / "pack.yaml").write_text(f"ref: {ref}\nname: {ref}\nversion: 1.0.0\nauthor: T\ndescription: D\n")
    for name, source in actions.items():
        head = f"name: {name}\nrunner_type: "
        if "\n" in source:
            text = f"{head}python-script\nentry_point: {name}.py\n"
            (folder / "actions" / f"{name}.py").write_text(source)
        else:
            text = f"{head}local-shell-cmd\nparameters:\n  cmd: {{immutable: true, default: {json.dumps(source)}}}\n"
        (folder / "actions" / f"{name}.yaml").write_text(text)
    if requirements is not None:
        (folder / "requirements.txt").write_text(requirements)
        (folder / "wheels").mkdir(exist_ok=True)
        (folder / "wheels" / "tiny_wheel-1.0-py3-none-any.whl").write_bytes(wheel())
    return folder


@pytest.fixture(scope="module")
def door(server: Server) -> Iterator[Door]:
    """Return the door of the session's server, with packs that call back and keep."""
    write_pack(
        server, "backs", calling=CALLING, keeping=KEEPING,
        shell='curl -s -H "X-Auth-Token: $ST2_ACTION_AUTH_TOKEN" $ST2_ACTION_API_URL/user',
    )  # fmt: skip
    with server.api() as api:
        door = Door(api)
        door("POST", "/v1/packs/register", {"types": ["all"], "packs": ["backs"]}).expect(200)
        yield door


def run(door: Door, action: str, **parameters: Any) -> dict[str, Any]:
    """Run an action to its end."""
    made = door("POST", "/v1/executions", {"action": action, "parameters": parameters})
    return door.ended(made.expect(201).json()["id"])


def test_actions_call_the_server_with_a_token_that_ends_with_them(door: Door) -> None:
    ended = run(door, "backs.calling")
    assert ended["status"] == "succeeded", ended
    found = ended["result"]["result"]
    token = found.pop("token")[::-1]
    assert found == {
        "user": "admin", "same": True, "child": 201, "nobody": 401, "lasting": 403, "shown": "********",
    }  # fmt: skip
    assert door("GET", f"/v1/executions/{ended['id']}/children").json()[0]["action"]["ref"] == "core.noop"
    assert door("GET", f"/v1/user?x-auth-token={token}", headers={}).status == 401
    shell = run(door, "backs.shell")
    assert shell["result"]["stdout"]["username"] == "admin", shell


def test_actions_keep_values_in_the_datastore(door: Door) -> None:
    ended = run(door, "backs.keeping")
    assert ended["result"]["result"] == {
        "sealed": True, "opened": True, "listed": ["word"], "deleted": True, "again": False, "who": "admin",
        "nonsense": "the call is not understood: invalid literal for int() with base 10: 'many'",
        "scope": "there is no scope 'nowhere'",
        "forged": "only actions that come with the server may ask it to act",
    }, ended  # fmt: skip


def test_virtual_environment_is_made_once_and_used(door: Door, server: Server) -> None:
    folder = write_pack(server, "wheeled", "--no-index\n--find-links wheels\ntiny-wheel\n", using=USING)
    counts = run(door, "packs.load", packs=["wheeled"])
    assert counts["result"]["result"] == {"packs": 1, "actions": 1, "configs": 0}, counts
    first = run(door, "wheeled.using")
    assert first["status"] == "succeeded", first["result"]
    assert first["result"]["result"] == {"answer": 42, "prefix": "/root/.runyard/virtualenv"}
    assert (
        "Successfully set up" not in run(door, "packs.setup_virtualenv", packs=["core"])["result"]["result"]
    )
    (folder / "requirements.txt").write_text("--no-index\n--find-links wheels\nnot-there\n")
    refused = run(door, "packs.setup_virtualenv", packs=["wheeled"])
    assert refused["status"] == "failed"
    for words in ('The virtual environment of the pack "wheeled" is missing', "not-there"):
        assert words in refused["result"]["stderr"]


def test_packs_are_shown_forgotten_and_deleted_by_actions(door: Door, server: Server) -> None:
    folder = write_pack(server, "passes", one="true")
    (folder / "config.schema.yaml").write_text("word: {type: string, secret: true}\n")
    assert run(door, "packs.register", packs=["passes"])["status"] == "succeeded"
    door("PUT", "/v1/configs/passes", {"word": "hidden-word"}).expect(200)
    shown = run(door, "packs.get", pack="passes")["result"]["result"]["pack"]
    assert (shown["ref"], shown["version"]) == ("passes", "1.0.0")
    assert run(door, "packs.get_config", pack="passes")["result"]["result"]["values"] == {"word": "********"}
    assert run(door, "packs.unload", packs=["passes"])["result"]["result"] == {"packs": ["passes"]}
    assert door("GET", "/v1/actions/passes.one").status == 404
    assert run(door, "packs.delete", packs=["passes"])["status"] == "succeeded"
    assert not folder.exists()
    given: dict[str, Any]
    for action, given in (("unload", {"packs": ["core"]}), ("delete", {"packs": ["../data"]})):
        assert run(door, f"packs.{action}", **given)["status"] == "failed"
    assert server.data_dir.exists()
    for action, given, words in (
        ("search", {"query": "x"}, "no index of packs"),
        ("download", {"packs": ["x"]}, "packs are not downloaded"),
        ("load", {"packs": ["nowhere"]}, "not found on disk"),
    ):
        ended = run(door, f"packs.{action}", **given)
        assert ended["status"] == "failed"
        assert words in ended["result"]["stderr"], ended


def test_named_packs_are_not_isolated_and_others_are(fresh_server: ServerFactory) -> None:
    server = fresh_server(actions__unisolated_packs='["loose"]')
    probe = f"{ACTION}        import os\n        return {{'inode': os.stat('/proc/self/ns/pid').st_ino}}\n"
    script = f'echo "$ST2_ACTION_PACK_NAME"; test -e {server.data_dir}; echo $?'
    for ref in ("loose", "tight"):
        write_pack(server, ref, probe=probe, look=script)
    ours = Path("/proc/self/ns/pid").stat().st_ino
    with server.api() as api:
        door = Door(api)
        door("POST", "/v1/packs/register", {"packs": ["loose", "tight"]}).expect(200)
        loose, tight = run(door, "loose.probe"), run(door, "tight.probe")
        assert loose["result"]["result"] == {"inode": ours}, loose
        assert tight["result"]["result"]["inode"] != ours
        assert run(door, "loose.look")["result"]["stdout"] == "loose\n0"
        assert run(door, "tight.look")["result"]["stdout"] == "tight\n1"
        # Only the folder is trusted: whoever may write actions must not be able to run what it likes as the server.
        spy = {"pack": "loose", "name": "spy", "runner_type": "local-shell-cmd"}
        door("POST", "/v1/actions", spy).expect(201)
        copied = {"dest_pack": "loose", "dest_action": "copied"}
        door("POST", "/v1/actions/core.local/clone", copied).expect(201)
        look = door("GET", "/v1/actions/loose.look").expect(200).json()
        changed = {"name": "look", "pack": "loose", "runner_type": "local-shell-cmd", "entry_point": ""}
        door("PUT", f"/v1/actions/{look['id']}", {**changed, "metadata_file": look["metadata_file"]}).expect(
            200
        )
        for ref in ("loose.spy", "loose.copied", "loose.look"):
            ended = run(door, ref, cmd=f"test -e {server.data_dir}; echo $?")
            assert ended["result"]["stdout"] in (1, "1"), ref
    assert "isolation_lifted" in server.log_path.read_text()
    assert not list((server.data_dir / "isolation" / "process" / "live").iterdir())


def test_folders_of_packs_are_not_for_other_tenants_to_delete(fresh_server: ServerFactory) -> None:
    server = fresh_server()
    assert server.stop() == 0
    token = add_account(server, "other")
    server.start()
    folder = write_pack(server, "shared", one="true")
    with server.api() as api, api.clone(token) as client:
        other = Door(client)
        assert run(other, "packs.register", packs=["shared"])["status"] == "succeeded"
        refused = run(other, "packs.delete", packs=["shared"])
        assert (refused["status"], folder.exists()) == ("failed", True)
        assert "whole installation" in refused["result"]["stderr"]
        narrow = api.post("/runyard/v1/tokens", {"name": "n", "project": "default"}).expect(201).json()
        with api.clone(narrow["secret"]) as part:
            assert run(Door(part), "packs.delete", packs=["shared"])["status"] == "failed"
        assert run(Door(api), "packs.delete", packs=["shared"])["status"] == "succeeded"
        assert not folder.exists()
