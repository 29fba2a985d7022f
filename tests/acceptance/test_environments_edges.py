"""What odd tasks and narrow callers get of environments: an end instead of a hang, nothing secret, nothing of others."""

import time
from pathlib import Path

import pytest

from tests.support.environments import BASE, Made, create, ready, upload
from tests.support.server import Server

SERVICE = "services:\n  web:\n    image: python:3.11-alpine\n"


def _failed(made: Made) -> str:
    deadline = time.monotonic() + 30
    while (seen := made.get())["state"] != "failed":
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return str(seen["error"])


@pytest.mark.parametrize(
    "files",
    [
        {"docker-compose.yaml": f"{SERVICE}    healthcheck: {{test: 'true', retries: .inf}}\n"},
        {
            "task.yaml": "provision: {script: provision.sh}\n",
            "provision.sh": '#!/bin/sh\necho \'{"a": "\\\\ud800"}\'\n',
        },
    ],
    ids=["compose", "answer"],
)
def test_what_nobody_expected_fails_the_environment(
    server: Server, tmp_path: Path, files: dict[str, str], request: pytest.FixtureRequest
) -> None:
    with server.api() as api:
        made = create(api, upload(api, tmp_path, f"odd-{request.node.callspec.id}", files))
        assert _failed(made)


def test_secrets_that_services_print_are_masked_in_the_logs(server: Server, tmp_path: Path) -> None:
    command = (
        "    command: [sh, -c, 'echo got $$KEY.; sleep 300']\n    environment: {KEY: '${PRINTED_KEY}'}\n"
    )
    with server.api() as api:
        task = upload(api, tmp_path, "printing", {"docker-compose.yaml": SERVICE + command})
        secret = {"name": "printed_key", "value": "s3cr3t-of-the-service"}
        made_secret = api.post("/api/v1/user/secrets", secret).expect(201).json()
        made = ready(api, task, secret_ids=[made_secret["id"]])
        deadline = time.monotonic() + 20
        while "got" not in (logs := api.get(made.path("logs")).expect(200).json()["logs"]):
            assert time.monotonic() < deadline, logs
            time.sleep(0.05)
        made.delete()
        api.delete(f"/api/v1/user/secrets/{made_secret['id']}").expect(204)
    assert "s3cr3t" not in logs
    assert "got [masked]" in logs


def test_teardown_script_has_the_way_out_of_its_task(server: Server, tmp_path: Path) -> None:
    script = '#!/bin/bash\n[ "$(curl -s -o /dev/null -w %{http_code} http://elsewhere.test/)" = 403 ]\n'
    files = {
        "task.yaml": "egress: {allow: [example.test]}\nteardown: {script: teardown.sh}\n",
        "teardown.sh": script,
    }
    with server.api() as api:
        made = ready(api, upload(api, tmp_path, "leaving-out", files))
        made.delete()
        query = f"/runyard/v1/executions?place=environment:{made.id}&text=teardown"
        deadline = time.monotonic() + 30
        while not (found := api.get(query).expect(200).json()["items"]) or found[0]["status"] == "running":
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
    assert found[0]["status"] == "succeeded", found


def test_project_above_the_callers_part_does_not_widen_it(server: Server, tmp_path: Path) -> None:
    with server.api() as api:
        task = upload(api, tmp_path, "narrowed")
        api.post("/runyard/v1/projects", {"slug": "inner", "parent": "default/default"}).expect(201)
        token = {"name": "narrow", "project": "default/default/inner"}
        secret = api.post("/runyard/v1/tokens", token).expect(201).json()["secret"]
        projects = api.get("/api/v1/org/default/ws/default/projects").expect(200).json()
        ids = {one["key"]: one["id"] for one in projects}
        narrow = api.clone(secret)
        made = create(narrow, task, project_id=ids["default"])
        assert made.first["project_id"] == ids["default.inner"]
        assert narrow.get(f"{BASE}/{made.id}").status == 200
        made.delete()


def test_secrets_that_a_judge_prints_are_masked(server: Server, tmp_path: Path) -> None:
    files = {
        "task.yaml": "outputs: [/work]\nverification: {script: verify.sh}\n",
        "verify.sh": "#!/bin/bash\necho found $(cat /work/note)\n",
    }
    with server.api() as api:
        task = upload(api, tmp_path, "telling-judge", files)
        secret = {"name": "told_key", "value": "s3cr3t-of-the-agent"}
        made_secret = api.post("/api/v1/user/secrets", secret).expect(201).json()
        made = ready(api, task, secret_ids=[made_secret["id"]])
        made.sh("mkdir /work; echo $TOLD_KEY > /work/note")
        assert made.verify()["output"] == "found [masked]\n"
        made.delete()
        api.delete(f"/api/v1/user/secrets/{made_secret['id']}").expect(204)
