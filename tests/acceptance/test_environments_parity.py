"""What the vendor's client decides by itself, and what the server says of the same: both must be one."""

import hashlib
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.support.dn import Dn
from tests.support.environments import push, upload
from tests.support.server import Server

WEB = "services:\n  web:\n    image: python:3.11-alpine\n    command: python3 -m http.server 8080\n    ports: ['8080:8080']\n"


@pytest.fixture(scope="module")
def dn(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Dn:
    """Return the command with a home of its own."""
    return Dn(server, tmp_path_factory.mktemp("home"))


def test_task_that_the_client_lets_pass_is_taken_in(dn: Dn) -> None:
    fields = (
        "instruction: Reach the cache at redis://localhost:6379 and {{web_url}}.\nauthor: 2022\n"
        "ports: {web: ['8080']}\nmax_agent_timeout_sec: '60'\n"
        "verification: {method: script, script: verify.sh, timeout: '30'}\n"
    )
    files = {"task.yaml": fields, "docker-compose.yaml": WEB, "verify.sh": "#!/bin/sh\n"}
    push(dn, "spelled", files)
    found = dn.server.api().get("/api/v1/org/default/tasks/spelled").expect(200).json()
    assert (found["ports"], found["author"]) == ({"web": [8080]}, "2022")


def test_instruction_of_the_server_is_that_of_the_client(dn: Dn, server: Server) -> None:
    names = (
        "web_url",
        "web_host",
        "web_port",
        "web_url_8080",
        "web_host_8080",
        "web_port_8080",
        "n",
        "flag",
        "none",
        "other",
    )
    template = " ".join(f"{{{{{name}}}}}" for name in names)
    files = {"task.yaml": f"instruction: '{template}'\nports: {{web: [8080]}}\n", "docker-compose.yaml": WEB}
    push(dn, "rendered", files)
    inputs = {"n": 5, "flag": True, "none": None}
    found = dn.script(
        f"""
import asyncio, json
from dreadnode import configure, task_env
configure(server={server.url!r}, api_key={server.token!r}, organization="default", workspace="default")
async def main():
    async with task_env("rendered", inputs={inputs!r}) as env:
        path = f"/org/default/tasks/rendered/instruction?sandbox_id={{env.id}}"
        theirs = await asyncio.to_thread(env.api_client.request, "GET", path)
        return [env.render_instruction(), theirs.json()["instruction"]]
print(json.dumps(asyncio.run(main())))
"""
    )
    assert found[0] == found[1]
    assert found[0].endswith("8080 5 true {{none}} {{other}}")


def test_grader_of_the_client_reads_a_translated_verification(
    fresh_server: ServerFactory, tmp_path: Path
) -> None:
    one = fresh_server(environments__translate_verification="true")
    digits = hashlib.sha256(b"FLAG").hexdigest().upper()
    blocks = {
        "by-value": "{method: flag, submission_path: /tmp/f, value: ' FLAG '}",
        "by-hash": f"{{method: flag, path: /tmp/f, flag_hash: 'SHA256:{digits}'}}",
        "by-script": "{script: verify.sh}",
    }
    with one.api() as api:
        for name, block in blocks.items():
            files = {"task.yaml": f"verification: {block}\n", "verify.sh": "#!/bin/sh\ngrep -q FLAG /tmp/f\n"}
            upload(api, tmp_path, name, files)
    found = Dn(one, tmp_path).script(
        f"""
import asyncio, json
from dreadnode import configure, task_env
from dreadnode.training.env_rollouts import verify_env_state
configure(server={one.url!r}, api_key={one.token!r}, organization="default", workspace="default")
async def judged(name):
    async with task_env(name) as env:
        before = await verify_env_state(env, None, env.context["task_verification"])
        await env.execute("echo FLAG > /tmp/f")
        after = await verify_env_state(env, None, env.context["task_verification"])
        return [before.passed, after.passed]
async def main():
    return [await judged(name) for name in {list(blocks)!r}]
print(json.dumps(asyncio.run(main())))
"""
    )
    assert found == [[False, True]] * len(blocks)
