"""The vendor's `dn` command, unmodified: log-in by key and by device, tasks from scaffold to removal, secrets."""

import json
import re
import subprocess
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml

from tests.support.dn import Dn, executable
from tests.support.http import Api
from tests.support.packages import TASK
from tests.support.server import Server


@pytest.fixture(scope="module")
def dn(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Dn:
    """Return the command with a home of its own, told by its five variables where to go."""
    return Dn(server, tmp_path_factory.mktemp("dn"))


def run(home: Path, dn: Dn, *words: str) -> str:
    """Run the command with nothing but a home: what it knows, it knows from its profile."""
    process = subprocess.run(
        [str(executable()), *words],
        env={**dn.bare(), "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=home,
    )
    assert process.returncode == 0, f"{process.stdout}\n{process.stderr}"
    return process.stdout


def test_login_by_key_writes_a_profile_that_works(dn: Dn, server: Server, tmp_path: Path) -> None:
    said = run(tmp_path, dn, "login", "--server", server.url, "--profile", "t", server.token)
    assert "as admin" in said
    assert "default/default/default" in said
    assert '"username": "admin"' in run(tmp_path, dn, "whoami", "--json")
    assert "No secrets" in run(tmp_path, dn, "secret", "list")


def test_flags_alone_need_no_profile_and_make_none(dn: Dn, server: Server, tmp_path: Path) -> None:
    place = ["--organization", "default", "--workspace", "default"]
    said = run(
        tmp_path, dn, "env", "list", "--server", server.url, "--api-key", server.token, *place, "--json"
    )
    assert isinstance(json.loads(said), list)
    assert not (tmp_path / ".dreadnode" / "config.yaml").exists()


def test_wrong_key_is_told_as_such(dn: Dn) -> None:
    done = dn("task", "list", "--json", DREADNODE_API_KEY="dn_key_wrong")
    assert done.code == 1
    assert "401: the token is not valid" in done.out + done.err


def test_login_by_device_makes_a_key_after_somebody_confirmed(
    dn: Dn, server: Server, api: Api, tmp_path: Path
) -> None:
    process = dn.start("login", "--server", server.url, environment={**dn.bare(), "HOME": str(tmp_path)})
    assert process.stdout is not None
    said, code = "", None
    while code is None:
        line = process.stdout.readline()
        assert line, said
        said += line
        code = re.search(r"\b([B-Z]{4}-[B-Z]{4})\b", said)
    form = urlencode({"code": code.group(1).lower(), "token": server.token}).encode()
    page = api.anonymous().request(
        "POST", "/login/device", form, {"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert (page.status, b"Confirmed" in page.body) == (200, True)
    said += process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    stored = yaml.safe_load((tmp_path / ".dreadnode" / "config.yaml").read_text())
    key = stored["servers"][stored["active"]]["api_key"]
    assert key.startswith("dn_key_")
    mine = api.clone(key)
    named = [
        one
        for one in mine.get("/api/v1/user/api-keys").expect(200).json()
        if one["masked_key"][-4:] == key[-4:]
    ]
    assert [one["allow_self_revoke"] for one in named] == [True]
    mine.delete("/api/v1/user/api-keys/self").expect(204)
    mine.get("/api/v1/user").expect(401)


def test_task_goes_from_scaffold_to_registry_and_back(dn: Dn) -> None:
    dn("task", "init", "demo", "--flag-value", "FLAG{a}", "--description", "d", "--source", "s").ok()
    dn("task", "validate", "demo").ok()
    assert "Pushed default/demo@0.1.0" in dn("task", "push", "demo").ok().out
    skipped = dn("task", "push", "demo").ok().out
    listed = dn("task", "list", "--json").ok().json()
    assert [(one["name"], one["version"]) for one in listed if one["name"] == "demo"] == [("demo", "0.1.0")]
    assert "challenge_url" in dn("task", "info", "demo").ok().out
    dn("task", "pull", "demo", "-o", "out").ok()
    same = ["task.yaml", "docker-compose.yaml", "challenge/Dockerfile"]
    for name in same:
        assert (dn.home / "out" / name).read_bytes() == (dn.home / "demo" / name).read_bytes()
    detail = dn.server.api().get("/api/v1/org/default/tasks/demo/0.1.0").expect(200).json()
    assert detail["oci_digest"] in skipped.replace("\n", "")


def test_task_publish_sync_and_delete(dn: Dn) -> None:
    root = dn.home / "several"
    for name in ("alpha", "beta"):
        (root / name).mkdir(parents=True)
        (root / name / "task.yaml").write_text(yaml.safe_dump({**TASK, "name": name}))
    assert "2 uploaded" in dn("task", "sync", "several").ok().out
    (root / "beta" / "more.txt").write_text("more")
    said = dn("task", "sync", "several").ok().out
    assert "1 uploaded" in said
    assert "1 skipped" in said
    dn("task", "publish", "alpha").ok()
    assert {one["name"]: one["is_public"] for one in dn("task", "list", "--json").ok().json()}["alpha"]
    dn("task", "unpublish", "alpha").ok()
    for name in ("alpha", "beta"):
        dn("task", "delete", f"{name}@0.1.0", "--yes").ok()
    assert not {"alpha", "beta"} & {one["name"] for one in dn("task", "list", "--json").ok().json()}
    assert dn("task", "info", "alpha").code == 1


def test_task_that_the_registry_refuses_is_told_why(dn: Dn) -> None:
    dn("task", "init", "broken", "--remote", "--flag-value", "x", "--description", "d", "--source", "s").ok()
    path = dn.home / "broken" / "task.yaml"
    document = yaml.safe_load(path.read_text())
    document["provision"] = {"script": "absent.sh"}
    path.write_text(yaml.safe_dump(document))
    done = dn("task", "push", "broken", "--skip-validate")
    assert done.code == 1
    assert "absent.sh" in done.out + done.err


def test_secret_list_shows_names_and_no_values(dn: Dn, api: Api) -> None:
    made = (
        api.post("/api/v1/user/secrets", {"name": "dn_shown", "value": "a-value-of-some-length"})
        .expect(201)
        .json()
    )
    listed = dn("secret", "list").ok().out
    assert "DN_SHOWN" in listed
    assert "a-value" not in listed
    api.delete(f"/api/v1/user/secrets/{made['id']}").expect(204)
