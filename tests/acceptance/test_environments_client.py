"""Environments through the vendor's `dn` command and SDK, unmodified."""

import json

import pytest

from tests.support.dn import Dn
from tests.support.environments import push
from tests.support.server import Server


@pytest.fixture(scope="module")
def dn(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Dn:
    """Return the command with a home of its own."""
    return Dn(server, tmp_path_factory.mktemp("home"))


def test_remote_task_goes_the_whole_way_from_create_to_delete(dn: Dn) -> None:
    dn(
        "task",
        "init",
        "remote-demo",
        "--remote",
        "--flag-value",
        "FLAG{a}",
        "--description",
        "d",
        "--source",
        "s",
    ).ok()
    dn("task", "push", "remote-demo").ok()
    made = (
        dn(
            "env",
            "create",
            "remote-demo",
            "--input",
            "target=https://x",
            "--timeout-sec",
            "600",
            "--wait",
            "--json",
        )
        .ok()
        .json()
    )
    assert made["state"] == "ready"
    one, token = made["id"], made["execute_token"]
    done = dn("env", "exec", one, "--token", token, "--json", "--", "echo out; echo err 1>&2; exit 3")
    assert done.code == 3
    assert done.json()["output"] == "out\nerr\n"
    wrong = dn("env", "exec", one, "--token", "wrong", "--json", "--", "true")
    assert wrong.code == 1
    assert "401:" in wrong.out + wrong.err
    seen = dn(
        "env", "exec", one, "--json", "--", "echo $target $TARGET", DREADNODE_ENVIRONMENT_TOKEN=token
    ).ok()
    assert seen.json()["output"] == "https://x https://x\n"
    listed = dn("env", "list", "--json").ok().json()
    assert one in json.dumps(listed)
    got = dn("env", "get", one, "--json").ok()
    assert token not in got.out
    assert dn("env", "wait", one, "--json").ok().json()["state"] == "ready"
    dn("env", "delete", one, "--yes").ok()
    assert dn("env", "get", one, "--json").ok().json()["state"] == "torn_down"
    after = dn("env", "exec", one, "--token", token, "--json", "--", "true")
    assert after.code == 1
    assert "409:" in after.out + after.err
    dn("env", "delete", one, "--yes").ok()
    missing = dn("env", "create", "nosuch")
    assert missing.code == 1


def test_sdk_task_env_provisions_executes_and_tears_down(dn: Dn, server: Server) -> None:
    push(dn, "sdk-demo", {"task.yaml": "instruction: Look at {{target}}\n"})
    found = dn.script(
        f"""
import asyncio, json
import dreadnode
from dreadnode import configure, task_env
configure(server={server.url!r}, api_key={server.token!r}, organization="default", workspace="default")
async def main():
    async with task_env("default/sdk-demo@0.1.0", inputs={{"target": "https://x"}}) as env:
        code, output = await env.execute("echo $TARGET; exit 4")
        logs = await env.logs()
        text = env.render_instruction()
    return {{"code": code, "output": output, "text": text, "logs": isinstance(logs, str)}}
print(json.dumps(asyncio.run(main())))
"""
    )
    assert found["code"] == 4
    assert found["output"] == "https://x\n"
    assert found["text"].strip() == "Look at https://x"
    assert found["logs"]
