"""Secrets by the native API and the command line: sealed in, injected, masked, never out."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import environment_for, run_process
from tests.support.http import Api
from tests.support.server import Server

SECRETS, RUNTIMES, EXECUTIONS = "/runyard/v1/secrets", "/runyard/v1/runtimes", "/runyard/v1/executions"


@pytest.fixture
def name(api: Api) -> Iterator[str]:
    """Return a name for a secret that is gone after the test."""
    made = f"key-{uuid.uuid4().hex[:8]}"
    yield made
    api.delete(f"{SECRETS}/{made}")


def test_secret_is_stored_replaced_and_deleted_without_ever_being_shown(api: Api, name: str) -> None:
    value = uuid.uuid4().hex
    made = api.put(f"{SECRETS}/{name}", {"value": value, "cache_ttl_secs": 60}).expect(200)
    assert set(made.json()) == {"id", "name", "project", "cache_ttl_secs", "created_at", "updated_at"}
    again = api.put(f"{SECRETS}/{made.json()['id']}", {"value": "other"}).expect(200).json()
    assert (again["id"], again["name"], again["cache_ttl_secs"]) == (made.json()["id"], name, 0)
    got = api.get(f"{SECRETS}/{name}").expect(200)
    listed = api.get(SECRETS).expect(200)
    assert name in [one["name"] for one in listed.json()["items"]]
    for answer in (made, got, listed):
        assert value not in answer.body.decode()
    api.delete(f"{SECRETS}/{name}").expect(204)
    assert api.get(f"{SECRETS}/{name}").expect(404).json()["code"] == "secret_not_found"
    assert api.delete(f"{SECRETS}/{name}").expect(404).json()["code"] == "secret_not_found"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("x", {"value": ""}, 422),
        ("x", {"value": "x" * 65_537}, 422),
        ("x", {"value": "x", "cache_ttl_secs": 3601}, 422),
        ("x", {"value": "x", "surprise": 1}, 422),
        ("x", {}, 422),
        ("x" * 64, {"value": "x"}, 422),
        ("runta-x", {"value": "x"}, 403),
        ("a%2Fb", {"value": "x"}, 422),
    ],
)
def test_secret_that_is_not_valid_is_refused(
    api: Api, path: str, body: dict[str, object], status: int
) -> None:
    api.put(f"{SECRETS}/{path}", body).expect(status)


def test_scopes_of_secrets(api: Api, name: str) -> None:
    def client(*scopes: str) -> Api:
        made = api.post("/runyard/v1/tokens", {"name": "s", "scopes": list(scopes)}).expect(201).json()
        return api.clone(made["secret"])

    reader, writer = client("secrets:read"), client("secrets:write")
    reader.put(f"{SECRETS}/{name}", {"value": "x"}).expect(403)
    writer.put(f"{SECRETS}/{name}", {"value": "x"}).expect(200)
    reader.get(f"{SECRETS}/{name}").expect(200)
    writer.get(SECRETS).expect(403)
    reader.delete(f"{SECRETS}/{name}").expect(403)


def test_secret_from_the_command_line_reaches_commands_and_is_masked(
    server: Server, api: Api, name: str, tmp_path: Path
) -> None:
    environment = environment_for(tmp_path, server.url, server.token)
    value = f"hidden-{uuid.uuid4().hex}"
    run_process(environment, "secret", "set", name, stdin=f"{value}\n".encode()).expect(0)
    runtime = run_process(
        environment,
        *("runtime", "create", "--secret-env", f"KEY={name}", "--secret-file", f"/root/.config/key={name}"),
        *("--output", "name"),
    )
    created = runtime.expect(0).out.strip()
    try:
        shown = api.get(f"{RUNTIMES}/{created}").expect(200)
        assert [(one["env"], one["files"]) for one in shown.json()["secrets"]] == [
            (["KEY"], []),
            ([], [".config/key"]),
        ]
        line = "echo $KEY; cat /root/.config/key; stat -c %a /root/.config/key"
        ran = run_process(environment, "exec", created, "-c", line).expect(0)
        assert ran.out == f"{value}\n{value}600\n"
        logs = run_process(environment, "logs", created).expect(0)
        assert value not in logs.out
        assert value not in shown.body.decode()
        run_process(environment, "secret", "remove", name, "--yes").expect(0)
        assert run_process(environment, "exec", created, "-c", "echo [$KEY]").expect(0).out == "[]\n"
    finally:
        api.delete(f"{RUNTIMES}/{created}").expect(204)


@pytest.mark.parametrize(
    "use",
    [
        {"name": "no-such-secret", "env": "KEY"},
        {"name": "{name}"},
        {"name": "{name}", "env": "1KEY"},
        {"name": "{name}", "file": "/etc/key"},
        {"name": "{name}", "file": "../key"},
        {"name": "{name}", "env": "KEY", "surprise": 1},
        {"env": "KEY"},
    ],
)
def test_runtime_with_a_secret_that_cannot_be_placed_is_refused(
    api: Api, name: str, use: dict[str, object]
) -> None:
    api.put(f"{SECRETS}/{name}", {"value": "x"}).expect(200)
    use = {key: str(text).replace("{name}", name) for key, text in use.items()}
    answer = api.post(RUNTIMES, {"secrets": [use]})
    assert (answer.status, answer.json()["code"]) == (422, "invalid_argument")
