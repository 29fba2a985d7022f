"""The vendor's Python SDKs, unmodified, through whole life cycles. The server must please them, never the reverse."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.http import Api
from tests.support.proxy import CuttingProxy
from tests.support.sdk import run_script, sdk
from tests.support.server import Server

OLD, LATE, V2 = "0.1.4", "0.1.21", "0.2.5"
CLIENTS = [(version, flavour) for version in (OLD, LATE, V2) for flavour in ("sync", "async")]
every_client = pytest.mark.parametrize(("version", "flavour"), CLIENTS)


def run(server: Server, version: str, flavour: str, case: str, **options: object) -> Any:
    """Run one scenario with one client against the server."""
    name = f"sdk-{version.replace('.', '-')}-{flavour}-{case}"
    given = {"case": case, "flavour": flavour, "name": name, **options}
    return run_script(sdk(version), "lifecycle.py", server.url, server.token, options=given)


@every_client
def test_sdk_life_cycle_follows_the_contract(server: Server, version: str, flavour: str) -> None:
    found = run(server, version, flavour, "life")
    assert found["health"] is True
    assert found["name"] == found["by_id"] == f"sdk-{version.replace('.', '-')}-{flavour}-life"
    assert found["created"] == "running"
    assert [found[key] for key in ("by_name", "listed", "listed_running", "listed_paused", "twin")] == [
        True,
        True,
        True,
        False,
        True,
    ]
    assert [found[key] for key in ("paused", "resumed", "stopped", "started")] == [
        "paused",
        "running",
        "shutdown",
        "running",
    ]
    for key in ("exec_paused", "exec_stopped"):
        assert "409" in found[key]["text"], found[key]
    assert found["process_kept"]["out"].strip() == "1"
    assert found["file_kept"]["out"].split() == ["kept", "0"]
    assert found["resized"] == [600, 600]
    assert (found["gone"]["class"], found["gone"]["status"], found["gone"]["code"]) == (
        "ApiError",
        404,
        "not_found",
    )


def test_sdk_exec_while_paused_names_the_status(server: Server) -> None:
    found = run(server, OLD, "sync", "life", name="paused-message")
    assert "is not running (status: paused)" in found["exec_paused"]["text"]
    assert "is not running (status: shutdown)" in found["exec_stopped"]["text"]
    assert found["exec_paused"]["code"] == "failed_precondition"


@every_client
def test_sdk_exec_takes_every_form(server: Server, version: str, flavour: str) -> None:
    found = run(server, version, flavour, "execs")
    assert (found["string"]["code"], found["string"]["out"], found["string"]["err"]) == (0, "a\n", "b\n")
    assert found["list"]["out"] == "x y|z|"
    assert found["single"]["code"] == 0
    assert found["env"]["out"] == "1 2\n"
    assert found["cwd"]["out"] == "/usr\n"
    assert found["cwd_list"]["out"] == "/usr/bin\n"
    assert found["cwd_missing"]["code"] != 0
    assert found["stdin"]["out"].strip() == "200000"
    assert found["stdin_bytes"]["out"] == "bytes\n"
    assert (len(found["cap"]["out"]), found["cap"]["cut"], found["cap"]["err"]) == (
        1000,
        [True, False],
        "err\n",
    )
    assert (found["timeout"]["code"], found["timeout"]["out"]) == (124, "before\n")
    assert found["timeout"]["err"].strip().endswith("Command timed out after 1 seconds.")
    assert found["timeout"]["seconds"] < 15
    assert found["missing"]["code"] == 127
    assert found["exit"]["code"] == 7
    assert found["killed"]["code"] == 137
    assert found["home"]["out"].split() == ["/root", "0", "/root"]


@every_client
def test_sdk_exec_parallel_background_and_detached(server: Server, version: str, flavour: str) -> None:
    stream = version == V2 or (version == LATE and flavour == "async")
    found = run(server, version, flavour, "many", stream=stream)
    assert found["alive"]["out"].strip() == "1"
    assert found["outs"] == [f"{number}\n" for number in range(6)]
    assert found["seconds"] < 11, "six commands of two seconds did not run beside each other"


@every_client
def test_sdk_files_and_trees_go_both_ways(server: Server, version: str, flavour: str) -> None:
    found = run(server, version, flavour, "files", trees_down=version != OLD)
    assert found["read"] is True
    assert found["read_cut"] == 10
    assert found["ran"]["out"] == "ran\n"
    assert found["uploaded"]["out"].split()[0] == "1024000"
    assert found["downloaded"] is True
    assert found["tree_up"].split() == ["4", "tree/one.txt", "80000", "tree/sub/two.txt", "80004", "total"]
    if version != OLD:
        assert found["tree_down"] == ["one.txt", "two.txt"]
    if version == V2:
        assert found["contents_down"] == 80000
    assert (found["missing"]["class"], found["missing"]["status"]) == ("ApiError", 404)


@every_client
def test_sdk_checkpoint_restores_the_files(server: Server, version: str, flavour: str) -> None:
    found = run(server, version, flavour, "checkpoints")
    name = f"sdk-{version.replace('.', '-')}-{flavour}-checkpoints"
    assert found["name"] == f"{name}-cp"
    assert (found["state"], found["listed"], found["own"]) == ("ready", True, True)
    assert (found["twin_name"], found["fork_name"]) == (name, "fork")
    assert found["markers"] == ["after", "before", "before"]
    assert (found["gone"]["class"], found["gone"]["status"]) == ("ApiError", 404)


@every_client
def test_sdk_secrets_never_come_back(server: Server, version: str, flavour: str) -> None:
    found = run(server, version, flavour, "secrets")
    assert found["made"][1] == 60
    assert (found["same"], found["listed"], found["left"]) == (True, True, False)
    assert "very-secret-value" not in found["shown"]
    assert found["gone"]["status"] == 404


@pytest.mark.parametrize("flavour", ["sync", "async"])
def test_sdk_egress_helpers_of_014_switch_open_and_none(server: Server, flavour: str) -> None:
    found = run(server, OLD, flavour, "egress_old")
    assert [found[key]["enabled"] for key in ("opened", "closed", "again")] == [False, True, False]
    assert (found["hosts"]["status"], found["hosts"]["code"]) == (501, "unimplemented")


@pytest.mark.parametrize(("version", "flavour"), [one for one in CLIENTS if one[0] != OLD])
def test_sdk_egress_policy_switches_open_and_none(server: Server, version: str, flavour: str) -> None:
    found = run(server, version, flavour, "egress_new")
    assert found["modes"] == ["denylist", "allowlist", "denylist"]
    assert [(one["status"], one["code"]) for one in found["refused"]] == [(501, "unimplemented")] * 2


@pytest.mark.parametrize("flavour", ["sync", "async"])
def test_sdk_sessions_of_014_run_commands(server: Server, flavour: str) -> None:
    found = run(server, OLD, flavour, "sessions")
    assert found["out"]["out"] == "in session\n"
    assert found["listed"] is True


@every_client
def test_sdk_unknown_token_is_unauthenticated(server: Server, version: str, flavour: str) -> None:
    found = run(server, version, flavour, "bad_token")
    assert (found["class"], found["status"], found["code"]) == ("ApiError", 401, "unauthenticated")


@pytest.mark.parametrize("flavour", ["sync", "async"])
def test_sdk_v2_exec_survives_cut_connections(
    server: Server, api: Api, make_runtime: Callable[..., str], flavour: str
) -> None:
    runtime = make_runtime()
    options = {
        "case": "long_exec",
        "flavour": flavour,
        "runtime": runtime,
        "command": "echo run >> /root/runs; for i in 1 2 3 4 5 6; do echo $i; sleep 1; done; echo end >&2; exit 3",
    }
    found: list[Any] = []
    with CuttingProxy(server.port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        thread = threading.Thread(
            target=lambda: found.append(
                run_script(sdk(V2), "lifecycle.py", url, server.token, options=options)
            )
        )
        thread.start()
        deadline = time.monotonic() + 30
        while api.read_file(runtime, "/root/runs").status != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        cuts = 0
        for _ in range(2):
            time.sleep(1.5)  # the watcher must have said `running` once before each cut
            cuts += proxy.cut()
        thread.join(60)
    assert cuts >= 2
    assert (found[0]["code"], found[0]["out"], found[0]["err"]) == (3, "1\n2\n3\n4\n5\n6\n", "end\n")
    assert api.read_file(runtime, "/root/runs").body == b"run\n"


def test_sdk_v1_exec_outlasts_the_clients_silence_limit(
    server: Server, make_runtime: Callable[..., str]
) -> None:
    found = run(server, OLD, "sync", "long_exec", runtime=make_runtime(), command="sleep 33; echo late")
    assert found["out"] == "late\n"
