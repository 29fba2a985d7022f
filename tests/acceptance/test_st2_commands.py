"""More of what people type into the vendor's `st2`: every kind of parameter, every listing, refusals with their exit codes."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Done
from tests.support.server import Server
from tests.support.st2 import St2, executable

KINDS = """
name: kinds
runner_type: noop
description: Takes every kind.
parameters:
  text: {type: string}
  whole: {type: integer}
  part: {type: number}
  flag: {type: boolean}
  many: {type: array}
  thing: {type: object}
  code: {type: string, secret: true}
"""


@pytest.fixture(scope="module")
def st2(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[St2]:
    """Return the command against the session's server, with an action that takes every kind of parameter."""
    home = tmp_path_factory.mktemp("commands")
    command = St2(server, home)
    (home / "kinds.yaml").write_text(KINDS)
    command("action", "create", str(home / "kinds.yaml")).ok()
    command.run("core.noop")
    yield command
    command("action", "delete", "default.kinds").ok()


def assert_refused(done: Done, *texts: str) -> None:
    assert done.code == 1, f"{done.code}\n{done.out}"
    for text in texts:
        assert text in done.out


def test_run_types_its_parameters_by_the_metadata(st2: St2) -> None:
    (st2.home / "file.txt").write_text("from file")
    words = ("text=5", "whole=7", "part=1.5", "flag=true", "many=a,b", "thing=k1=v1,k2=v2")
    assert st2.run("default.kinds", *words)["parameters"] == {
        "text": "5", "whole": 7, "part": 1.5, "flag": True, "many": ["a", "b"], "thing": {"k1": "v1", "k2": "v2"},
    }  # fmt: skip
    given = st2.run(
        "default.kinds", f"@text={st2.home / 'file.txt'}", "many=[1,2]", 'thing={"a":{"b":1}}', "code=hush"
    )
    assert given["parameters"] == {
        "text": "from file",
        "many": [1, 2],
        "thing": {"a": {"b": 1}},
        "code": "********",
    }
    assert_refused(st2("run", "default.kinds", "whole=abc"), "invalid literal for int()")
    described = st2("run", "default.kinds", "-h").ok().out
    for name, kind in (("flag", "boolean"), ("many", "array"), ("part", "number"), ("thing", "object")):
        assert re.search(rf"{name}\n +Type: {kind}", described)
    assert "Takes every kind." in described


def test_run_refuses_what_is_not_there_and_shows_timeouts(st2: St2) -> None:
    assert_refused(st2("run", "core.nope"), 'Resource with id or reference "core.nope" doesn\'t exist.')
    late = st2("run", "core.local", "cmd=sleep 30", "timeout=1").ok().out
    assert "status: timeout" in late
    assert "error: Action failed to complete in 1 seconds" in late
    failed = st2("run", "core.local", "cmd=exit 2")
    assert failed.code == 1
    assert "status: failed" in failed.out
    assert "return_code: 2" in failed.out


def test_executions_are_listed_shown_and_refused(st2: St2) -> None:
    started = st2("run", "-a", "core.local", "cmd=sleep 60").ok().out
    made = re.search(r"st2 execution get ([0-9a-f]{24})", started)
    assert made is not None
    name = made[1]
    assert f"st2 execution tail {name}" in started
    (listed,) = (
        st2("execution", "list", "--action", "core.local", "--status", "running", "-n", "1", "-j").ok().json()
    )
    assert listed["id"] == name
    table = st2("execution", "list", "-n", "1").ok()
    assert re.search(rf"{name} \| core.local +\| admin +\| (running|scheduled|requested)", table.out)
    assert "Note: Only one action execution is displayed." in table.err + table.out
    shown = st2("execution", "get", name).ok().out
    assert f"id: {name}\naction.ref: core.local\ncontext.user: admin\nparameters: \n  cmd: sleep 60" in shown
    assert "- status: requested" in shown
    pausing = st2("execution", "pause", name)
    assert_refused(
        pausing, "Unable to pause liveaction", 'because it is not supported by the "local-shell-cmd" runner.'
    )
    resuming = st2("execution", "resume", name)
    assert_refused(resuming, "Unable to resume liveaction", 'and not in "paused" state.')
    missing = "0" * 24
    canceled = st2("execution", "cancel", name, missing).ok().out
    assert f"action execution with id {name} canceled." in canceled
    assert f'Unable to identify resource with id "{missing}".' in canceled
    assert_refused(st2("execution", "get", missing), f'Action Execution "{missing}" is not found.')
    assert_refused(
        st2("execution", "re-run", missing), f'Action execution with id "{missing}" cannot be found.'
    )
    assert_refused(st2("execution", "tail", missing), "not found")
    assert st2("execution", "get", name, "-j").ok().json()["status"] in ("canceling", "canceled")


def test_runners_are_listed_and_switched(st2: St2) -> None:
    assert "announcement" in st2("runner", "list").ok().out
    assert st2("runner", "get", "noop", "-j").ok().json()["enabled"] is True
    assert_refused(st2("runner", "get", "nope"), 'Runner "nope" is not found.')
    st2("runner", "disable", "announcement").ok()
    try:
        assert st2("runner", "get", "announcement", "-j").ok().json()["enabled"] is False
        refused = st2("run", "core.announcement", "message=x", "experimental=true")
        assert_refused(refused, 'Unable to execute. Runner "announcement" is disabled.')
    finally:
        st2("runner", "enable", "announcement").ok()
    assert st2("runner", "get", "announcement", "-j").ok().json()["enabled"] is True


def test_packs_and_actions_are_listed_and_shown(st2: St2) -> None:
    names = {one["ref"] for one in st2("pack", "list", "-j").ok().json()}
    assert names >= {"chatops", "core", "default", "linux", "packs"}
    assert re.search(r"name +\| core", st2("pack", "get", "core").ok().out)
    assert_refused(st2("pack", "get", "nopack"), 'Pack "nopack" is not found.')
    unconfigured = st2("pack", "config", "core")
    assert unconfigured.code != 0
    assert "doesn't exist or doesn't have a config schema defined" in unconfigured.out
    actions = {one["ref"]: one for one in st2("action", "list", "--pack", "default", "-j").ok().json()}
    assert actions["default.kinds"]["description"] == "Takes every kind."
    assert re.search(r"ref +\| default.kinds", st2("action", "get", "default.kinds").ok().out)
    assert_refused(st2("action", "get", "nope.nope"), 'Action "nope.nope" is not found.')
    refused = st2("action", "delete", "core.local")
    assert "Resources belonging to system level packs can't be manipulated" in refused.out


def test_keys_are_loaded_listed_and_deleted_by_prefix(st2: St2) -> None:
    keys = [
        {"name": "set.one", "value": "1", "scope": "system"},
        {"name": "set.two", "value": "2", "scope": "system", "secret": True},
    ]
    (st2.home / "keys.json").write_text(json.dumps(keys))
    assert "set.one" in st2("key", "load", str(st2.home / "keys.json")).ok().out
    listed = {one["name"]: one for one in st2("key", "list", "--prefix", "set.", "-j", "-d").ok().json()}
    assert {name: one["value"] for name, one in listed.items()} == {"set.one": "1", "set.two": "2"}
    sealed = st2("key", "list", "--prefix", "set.two", "-j").ok().json()
    assert "'2'" not in str(sealed)
    mine = st2("key", "set", "set.mine", "v", "--scope", "user", "-l", "60", "-j").ok().json()
    assert (mine["scope"], mine["value"]) == ("st2kv.user", "v")
    assert "expire_timestamp" in mine
    assert "Deleted 2 keys" in st2("key", "delete_by_prefix", "--prefix", "set.").ok().out
    assert_refused(st2("key", "get", "set.one"), 'Key Value Pair "set.one" is not found.')


def test_log_in_is_kept_and_used_by_later_commands(st2: St2, server: Server, tmp_path: Path) -> None:
    command = St2(server, tmp_path)
    environment = {
        k: v for k, v in command.environment().items() if k not in ("ST2_AUTH_TOKEN", "ST2_CLI_SKIP_CONFIG")
    }

    def plain(*words: str) -> Done:
        done = subprocess.run(
            [str(executable()), *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    assert "Logged in as admin" in plain("login", "admin", "-p", server.token, "--write-password").ok().out
    assert (tmp_path / ".st2" / "token-admin").exists()
    assert 'Currently logged in as "admin".' in plain("whoami").ok().out
    wrong = plain("login", "admin", "-p", "wrong")
    assert wrong.code != 0
    assert "Failed to log in as admin" in wrong.out


def test_inquiries_and_traces_are_shown(st2: St2) -> None:
    asked = st2("run", "core.ask", "--trace-tag", "asked").ok().out
    found = re.search(r"id: ([0-9a-f]{24})", asked)
    assert found is not None
    assert "status: pending" in asked
    shown = st2("inquiry", "get", found[1], "-j").ok().json()
    assert (shown["id"], shown["ttl"], shown["schema"]["properties"]["continue"]["type"]) == (
        found[1],
        1440,
        "boolean",
    )
    assert (
        f"Response accepted for inquiry {found[1]}."
        in st2("inquiry", "respond", "-r", '{"continue": true}', found[1]).ok().out
    )
    assert "not found" in st2("inquiry", "get", "0" * 24).out
    assert_refused(st2("inquiry", "respond", "-r", '{"continue": true}', found[1]), "doesn't exist")
    trace = st2("trace", "list", "--trace-tag", "asked", "-j").ok().json()
    assert (
        found[1] in st2("trace", "get", trace["id"] if isinstance(trace, dict) else trace[0]["id"]).ok().out
    )
