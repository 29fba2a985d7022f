"""The `st2` command of the vendor, unmodified, against a real server: what people type and what they read."""

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.http import Api
from tests.support.server import Server
from tests.support.st2 import St2, executable

PACK = {
    "pack.yaml": "ref: demo\nname: demo\nversion: 1.2.0\nauthor: Tester\ndescription: For tests.\n",
    "config.schema.yaml": "region: {type: string, default: north}\ntoken: {type: string, secret: true}\n",
    "actions/greet.yaml": (
        "name: greet\nrunner_type: python-script\nentry_point: greet.py\nparameters:\n"
        "  who: {type: string, required: true, position: 0}\n  mood: {type: string, default: fine}\n"
    ),
    "actions/greet.py": (
        "from st2common.runners.base_action import Action\n\nclass Greet(Action):\n"
        "    def run(self, who, mood):\n        self.logger.info('greeting %s', who)\n        print('on stdout')\n"
        "        self.action_service.set_value('seen', who, local=False)\n"
        "        if who == 'nobody':\n            raise ValueError('nobody is there')\n"
        "        if who == 'enemy':\n            return False, {'refused': who}\n"
        "        return {'hello': who, 'mood': mood, 'region': self.config['region']}\n"
    ),
    "actions/script.yaml": (
        "name: script\nrunner_type: local-shell-script\nentry_point: script.sh\nparameters:\n"
        "  first: {type: string, position: 0}\n  loud: {type: boolean, default: false}\n"
    ),
    "actions/script.sh": '#!/bin/bash\necho "args: $*"\necho "pack: $ST2_ACTION_PACK_NAME"\n',
    "actions/hide.yaml": (
        "name: hide\nrunner_type: local-shell-cmd\nparameters:\n  password: {type: string, secret: true, required: true}\n"
        "  cmd: {immutable: true, default: 'echo the word is {{ password }}'}\n"
    ),
}


@pytest.fixture(scope="module")
def st2(server: Server, tmp_path_factory: pytest.TempPathFactory) -> St2:
    """Return the command against the session's server, with a pack on disk."""
    folder = server.data_dir / "packs" / "demo"
    for name, content in PACK.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    command = St2(server, tmp_path_factory.mktemp("st2home"))
    assert command("pack", "register", "demo", "-j").ok().json()["actions"] == 3
    return command


def test_login_gives_a_token_that_works(st2: St2, server: Server) -> None:
    done = st2("auth", "admin", "-p", server.token, "-t").ok()
    token = done.out.strip()
    assert re.fullmatch(r"[0-9a-f]{32}", token)
    with_token = St2(server, st2.home, {"ST2_AUTH_TOKEN": token})
    assert 'logged in as "admin"' in with_token("whoami").ok().out
    assert st2("auth", "admin", "-p", "wrong", "-t").code != 0


def test_api_key_lives_and_dies(st2: St2, server: Server) -> None:
    key = st2("apikey", "create", "-k", "-m", '{"for": "life"}').ok().out.strip()
    with_key = St2(server, st2.home, {"ST2_API_KEY": key})
    assert with_key("runner", "get", "noop", "-j").ok().json()["name"] == "noop"
    listed = st2("apikey", "list", "-j", "-d").ok().json()
    (found,) = [one for one in listed if one["metadata"] == {"for": "life"}]
    assert found["key_hash"] == "********"
    st2("apikey", "disable", found["id"]).ok()
    assert with_key("runner", "list").code != 0
    st2("apikey", "enable", found["id"]).ok()
    with_key("runner", "list").ok()
    st2("apikey", "delete", found["id"]).ok()
    assert with_key("runner", "list").code != 0


def test_run_shows_result_and_tells_failure_by_its_status(st2: St2) -> None:
    found = st2.run("core.local", "cmd=echo out; echo '{\"a\": 1}' >&2; exit 3", code=1)
    assert found["status"] == "failed"
    assert found["result"] == {
        "failed": True,
        "succeeded": False,
        "return_code": 3,
        "stdout": "out",
        "stderr": {"a": 1},
    }
    assert st2.run("core.noop")["status"] == "succeeded"
    late = st2.run("core.local", "cmd=sleep 30", "timeout=1")
    assert (late["status"], late["result"]["return_code"]) == ("timeout", -9)
    assert late["result"]["error"] == "Action failed to complete in 1 seconds"


def test_python_actions_of_a_pack_run_with_config_and_datastore(st2: St2) -> None:
    found = st2.run("demo.greet", "who=world")
    assert found["result"]["result"] == {"hello": "world", "mood": "fine", "region": "north"}
    assert found["result"]["stdout"] == "on stdout\n"
    assert "greeting world" in found["result"]["stderr"]
    assert st2("key", "get", "seen", "-j").ok().json()["value"] == "world"
    assert st2.run("demo.greet", "who=enemy", code=1)["result"]["result"] == {"refused": "enemy"}
    broken = st2.run("demo.greet", "who=nobody", code=1)["result"]
    assert (broken["exit_code"], broken["result"]) == (1, "None")
    assert "ValueError: nobody is there" in broken["stderr"]


def test_scripts_get_their_parameters_as_arguments(st2: St2) -> None:
    found = st2.run("demo.script", "first=one two", "loud=true")
    assert found["result"]["stdout"] == "args: --loud one two\npack: demo"


def test_secret_parameters_are_masked_everywhere(st2: St2, api: Api) -> None:
    found = st2.run("demo.hide", "password=open-sesame")
    shown = st2("execution", "get", found["id"], "-j", "-d").ok().json()
    assert shown["parameters"]["password"] == "********"
    assert shown["result"]["stdout"] == "the word is ********"
    for path in ("executions/{}", "executions/{}/history", "executions/{}/output"):
        assert b"open-sesame" not in api.get("/runyard/v1/" + path.format(found["id"])).expect(200).body
    clear = api.get(f"/v1/executions/{found['id']}?show_secrets=true&x-auth-token={api.token}").json()
    assert clear["parameters"]["password"] == "open-sesame"
    assert clear["result"]["stdout"] == "the word is open-sesame"


def test_actions_of_the_pack_packs_act_on_the_server(st2: St2) -> None:
    loaded = st2.run("packs.load", "packs=demo")
    assert loaded["result"]["result"] == {"packs": 1, "actions": 3, "configs": 1}
    assert st2.run("packs.get", "pack=demo")["result"]["result"]["pack"]["version"] == "1.2.0"
    refused = st2.run("packs.search", "query=demo", code=1)
    assert "no index of packs" in refused["result"]["stderr"]


def test_config_is_set_and_masked(st2: St2, api: Api) -> None:
    headers = f"?x-auth-token={api.token}"
    set_to = {"region": "south", "token": "config-secret"}
    shown = api.put(f"/v1/configs/demo{headers}", set_to).expect(200).json()
    assert shown["values"] == {"region": "south", "token": "********"}
    assert st2.run("demo.greet", "who=world")["result"]["result"]["region"] == "south"
    assert api.put(f"/v1/configs/demo{headers}", {"region": "north"}).status == 200


def test_tail_shows_output_while_it_comes(st2: St2) -> None:
    done = st2("run", "core.local", "cmd=for i in 1 2 3; do echo line $i; sleep 0.3; done", "--tail").ok()
    assert "line 1\nline 2\nline 3\n" in done.out
    assert "has completed (status=succeeded)" in done.out
    assert "line 3" in st2("execution", "tail", "last").ok().out


def test_cancel_ends_the_processes(st2: St2, api: Api) -> None:
    marker = "271.8281828"
    done = st2("run", "-a", "core.local", f"cmd=sleep {marker} & sleep {marker}").ok()
    execution = re.findall(r"[0-9a-f]{24}", done.out)[0]
    wait_for(lambda: sleeping(marker) >= 2)
    assert "canceled" in st2("execution", "cancel", execution).ok().out
    wait_for(lambda: status(api, execution) == "canceled")
    assert sleeping(marker) == 0
    shown = full(st2, execution)
    assert shown["result"] == {"message": "Action canceled by user.", "user": "admin"}
    assert shown["context"]["cancelled_by"] == "admin"
    again = st2("execution", "cancel", execution).ok().out
    assert "canceled" in again


def test_delay_re_run_trace_and_refusals(st2: St2) -> None:
    late = st2.run("core.local", "cmd=echo later", "--delay", "300", "--trace-tag", "mine")
    logged = [entry["status"] for entry in full(st2, late["id"])["log"]]
    assert logged == ["requested", "delayed", "scheduled", "running", "succeeded"]
    assert full(st2, late["id"])["elapsed_seconds"] >= 0.3
    done = st2("execution", "re-run", late["id"], "cmd=echo again", "-j").ok()
    again = full(st2, re.findall(r"[0-9a-f]{24}", done.out)[0])
    assert again["result"]["stdout"] == "again"
    assert again["context"]["re-run"] == {"ref": late["id"]}
    trace = st2("trace", "list", "--trace-tag", "mine", "-j").ok().json()
    parts = st2("trace", "get", trace["id"], "-j").ok().out
    assert late["id"] in parts
    assert again["id"] in parts
    refused = st2("execution", "pause", late["id"])
    assert "already in completed state" in refused.out
    assert "Action cannot be canceled. State = succeeded." in st2("execution", "cancel", late["id"]).out


def test_actions_are_created_changed_and_deleted(st2: St2, tmp_path: Path) -> None:
    file = tmp_path / "made.yaml"
    file.write_text(
        "name: made\npack: default\nrunner_type: local-shell-cmd\n"
        "parameters: {cmd: {default: 'echo {{ word }}', immutable: true}, word: {type: string, default: first}}\n"
    )
    st2("action", "create", str(file)).ok()
    assert st2("action", "create", str(file)).code != 0
    assert st2.run("default.made")["result"]["stdout"] == "first"
    file.write_text(file.read_text().replace("default: first", "default: second"))
    st2("action", "update", "default.made", str(file)).ok()
    assert st2.run("default.made")["result"]["stdout"] == "second"
    st2("action", "disable", "default.made").ok()
    assert "is disabled" in st2("run", "default.made").out
    st2("action", "enable", "default.made").ok()
    st2("action", "clone", "default.made", "demo", "copied").ok()
    assert st2.run("demo.copied", "word=third")["result"]["stdout"] == "third"
    for ref in ("default.made", "demo.copied"):
        st2("action", "delete", ref).ok()
        assert st2("action", "get", ref).code != 0


def test_inquiry_waits_for_an_answer(st2: St2) -> None:
    asked = st2.run("core.ask")
    assert asked["status"] == "pending"
    assert asked["id"] in st2("inquiry", "list").ok().out
    assert (
        "did not pass schema validation"
        in st2("inquiry", "respond", "-r", '{"continue": "x"}', asked["id"]).out
    )
    st2("inquiry", "respond", "-r", '{"continue": true}', asked["id"]).ok()
    ended = full(st2, asked["id"])
    assert (ended["status"], ended["result"]["response"]) == ("succeeded", {"continue": True})
    assert [entry["status"] for entry in ended["log"]][-2:] == ["pending", "succeeded"]


def test_keys_are_kept_sealed_and_expire(st2: St2) -> None:
    st2("key", "set", "plain", "value").ok()
    assert st2("key", "get", "plain", "-j").ok().json()["value"] == "value"
    st2("key", "set", "-e", "hidden", "treasure").ok()
    assert "treasure" not in st2("key", "get", "hidden", "-j").ok().out
    assert st2("key", "get", "hidden", "-d", "-j").ok().json()["value"] == "treasure"
    found = st2.run("core.echo", "message={{ st2kv.system.hidden | decrypt_kv }}")
    assert found["result"]["stdout"] == "treasure"
    st2("key", "delete", "plain").ok()
    assert "not found" in st2("key", "get", "plain").out


def test_execs_of_other_doors_are_listed(st2: St2, api: Api, make_runtime: Callable[..., str]) -> None:
    assert api.sh(make_runtime(), "echo elsewhere") == "elsewhere\n"
    (newest, *_) = st2("execution", "list", "-n", "1", "-j", "--action", "runyard.exec").ok().json()
    shown = full(st2, newest["id"])
    assert shown["action"]["ref"] == "runyard.exec"
    assert shown["parameters"] == {"cmd": "echo elsewhere"}
    assert shown["status"] == "succeeded"


def test_classic_ports_need_the_base_address_only(
    fresh_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = fresh_server(actions__classic_ports=True)
    variables = {"ST2_BASE_URL": "http://127.0.0.1"}
    command = St2(server, tmp_path, variables)
    environment = {
        name: value
        for name, value in command.environment().items()
        if name not in ("ST2_API_URL", "ST2_AUTH_URL", "ST2_STREAM_URL")
    }
    done = subprocess.run(
        [str(executable()), "auth", "admin", "-p", server.token, "-t"],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    environment["ST2_AUTH_TOKEN"] = done.stdout.strip()
    tailed = subprocess.run(
        [str(executable()), "run", "core.local", "cmd=echo classic", "--tail"],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "classic\n" in tailed.stdout
    for port, kind, ending in (
        (9101, "text/plain", "classic\n"),
        (9102, "text/event-stream", "event: EOF\ndata: ''\n\n"),
    ):
        with Api("127.0.0.1", port, server.token) as api:
            answer = api.request("GET", "/v1/executions/last/output", None, {"X-Auth-Token": server.token})
        assert answer.headers["content-type"].startswith(kind)
        assert answer.body.decode().endswith(ending)


def test_what_waits_outlives_a_killed_server_and_what_ran_is_abandoned(
    fresh_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = fresh_server()
    command = St2(server, tmp_path)
    headers = {"X-Auth-Token": server.token}
    with server.api() as api:
        made = {}
        for name, more in (("late", {"delay": 6000}), ("running", {}), ("asked", {"action": "core.ask"})):
            body = {"action": "core.local", "parameters": {"cmd": "sleep 40"}, **more}
            if name != "running":
                body["parameters"] = {"cmd": "echo late"} if name == "late" else {}
            answer = api.request("POST", "/v1/executions", body, headers)
            made[name] = answer.expect(201).json()["id"]
        wait_for(lambda: status(api, made["running"]) == "running")
        server.kill()
    server.start()
    with server.api() as api:
        assert status(api, made["running"]) == "abandoned"
        wait_for(lambda: status(api, made["late"]) == "succeeded")
    assert full(command, made["late"])["result"]["stdout"] == "late"
    command("inquiry", "respond", "-r", '{"continue": true}', made["asked"]).ok()
    assert full(command, made["asked"])["status"] == "succeeded"


def full(st2: St2, execution: str) -> Any:
    """Return all members of an execution."""
    return st2("execution", "get", execution, "-j", "--attr", "all").ok().json()


def status(api: Api, execution: str) -> str:
    """Return the status as the ledger has it."""
    return str(api.get(f"/runyard/v1/executions/{execution}").expect(200).json()["status"])


def sleeping(marker: str) -> int:
    """Count the processes of the host that sleep for so long."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += path.read_bytes() == f"sleep\0{marker}\0".encode()
        except OSError:
            continue
    return count


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so, at most 15 seconds."""
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
