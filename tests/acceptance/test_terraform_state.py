"""States through the real Terraform command: the `http`, `remote` and `cloud` backends in local execution."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http import Api
from tests.support.server import Server
from tests.support.terraform import HOST, Terraform, needs_terraform, one_resource

pytestmark = needs_terraform
SECRET = "correct-horse-battery-staple"


@pytest.fixture
def workspace(api: Api, request: pytest.FixtureRequest) -> Iterator[str]:
    """Make a workspace for local execution and return its name."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[-60:].strip("-")
    attributes = {"name": name, "execution-mode": "local"}
    body = {"data": {"type": "workspaces", "attributes": attributes}}
    api.post("/api/v2/organizations/default/workspaces", body).expect(201)
    yield name
    api.delete(f"/api/v2/organizations/default/workspaces/{name}").expect(204)


def block(terraform: Terraform, kind: str, workspace: str) -> str:
    return {
        "http": terraform.backend_http(workspace),
        "http-post": terraform.backend_http(workspace, methods=True),
        "remote": terraform.backend_remote(workspace),
        "cloud": terraform.cloud(workspace),
    }[kind]


def history(api: Api, workspace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (
        api.get(f"/terraform/state/{workspace}/versions").expect(200).json()["versions"]
    )
    return found


@pytest.mark.parametrize("kind", ["http", "http-post", "remote", "cloud"])
def test_backend_keeps_state_locks_and_grows_only_on_change(
    server: Server, api: Api, workspace: str, tmp_path: Path, kind: str
) -> None:
    terraform = Terraform(server, tmp_path / "code")
    backend = block(terraform, kind, workspace)
    terraform.write(backend, one_resource("one", secret=SECRET))("init", "-input=false").ok()
    terraform("apply", "-auto-approve").ok()
    assert terraform("plan", "-detailed-exitcode").ok().code == 0
    terraform("apply", "-auto-approve").ok()
    assert [one["number"] for one in history(api, workspace)] == [1]
    shown = json.loads(terraform("output", "-json").ok().out)
    assert shown["hidden"] == {"sensitive": True, "type": "string", "value": SECRET}
    terraform.write(backend, one_resource("two", secret=SECRET))
    terraform("apply", "-auto-approve").ok()
    versions = history(api, workspace)
    assert [one["number"] for one in versions] == [2, 1]
    first = api.get(f"/terraform/state/{workspace}/versions/1").expect(200)
    assert first.json()["serial"] == versions[1]["serial"]

    lock = f"/terraform/state/{workspace}/lock"
    api.post(lock, {"ID": "held-elsewhere", "Who": "somebody@elsewhere"}).expect(200)
    refused = terraform("apply", "-auto-approve")
    assert refused.code == 1
    assert "Error acquiring the state lock" in refused.out
    if kind.startswith("http"):
        assert "already locked: ID=held-elsewhere" in refused.out
    api.request("DELETE", lock, {"ID": "held-elsewhere"}).expect(200)
    terraform("destroy", "-auto-approve").ok()
    assert history(api, workspace)[0]["resources"] == 0
    assert SECRET not in server.log_path.read_text()


def test_states_are_sealed_on_the_disk(server: Server, api: Api, workspace: str, tmp_path: Path) -> None:
    terraform = Terraform(server, tmp_path / "code")
    terraform.write(terraform.cloud(workspace), one_resource(secret=SECRET))("init", "-input=false").ok()
    terraform("apply", "-auto-approve").ok()
    assert SECRET in json.dumps(api.get(f"/terraform/state/{workspace}").json())
    files = [path for path in server.data_dir.rglob("*") if path.is_file() and "isolation" not in path.parts]
    assert any("states" in path.parts for path in files)
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path


def test_force_unlock_of_the_command_breaks_the_lock(
    server: Server, api: Api, workspace: str, tmp_path: Path
) -> None:
    lock = f"/terraform/state/{workspace}/lock"
    for kind, lock_id in (("http", "abc"), ("cloud", f"default/{workspace}")):
        terraform = Terraform(server, tmp_path / kind)
        terraform.write(block(terraform, kind, workspace), one_resource())("init", "-input=false").ok()
        api.post(lock, {"ID": "abc"}).expect(200)
        terraform("force-unlock", "-force", lock_id).ok()
        api.get(lock).expect(404)


def test_local_state_moves_in_and_older_ones_only_by_force(
    server: Server, api: Api, workspace: str, tmp_path: Path
) -> None:
    terraform = Terraform(server, tmp_path / "code")
    terraform.write(one_resource())("init", "-input=false").ok()
    terraform("apply", "-auto-approve").ok()
    terraform.write(terraform.backend_remote(workspace), one_resource())
    terraform("init", "-input=false", "-migrate-state", "-force-copy").ok()
    assert terraform("plan", "-detailed-exitcode").code == 0
    state = api.get(f"/terraform/state/{workspace}").expect(200).json()
    (terraform.folder / "older.json").write_text(json.dumps({**state, "serial": 0, "outputs": {}}))
    assert terraform("state", "push", "older.json").code == 1
    assert len(history(api, workspace)) == 1
    terraform("state", "push", "-force", "older.json").ok()
    assert history(api, workspace)[0]["forced"]
    assert api.get(f"/terraform/state/{workspace}").json()["outputs"] == {}

    other = json.dumps({**state, "lineage": "another", "serial": 9}).encode()
    path = f"/terraform/state/{workspace}"
    assert "lineage" in api.request("POST", path, other).expect(409).json()["errors"][0]["detail"]
    api.request("POST", f"{path}?force=true", other).expect(200)
    assert api.get(path).json()["lineage"] == "another"


def test_workspaces_are_made_and_chosen_by_tags_prefix_and_project(
    server: Server, api: Api, tmp_path: Path
) -> None:
    made = []
    for kind, which, first, second in (
        ("cloud", 'tags = ["plain"]', "tags-one", "tags-two"),
        ("cloud", 'tags = { team = "net" }', "keys-one", "keys-two"),
        ('backend "remote"', 'prefix = "app-"', "", "dev"),
    ):
        terraform = Terraform(server, tmp_path / f"code-{second}")
        terraform.write(
            f'terraform {{\n{kind} {{\n hostname = "{HOST}"\n organization = "default"\n'
            f" workspaces {{\n {which}\n }}\n}}\n}}\n"
        )
        terraform("init", given=f"{first}\n")
        terraform("workspace", "new", second).ok()
        listed = terraform("workspace", "list").ok().out.replace("*", "").split()
        assert listed == [name for name in (first, second) if name]
        made += [f"app-{name}" if "remote" in kind else name for name in listed]
    terraform = Terraform(server, tmp_path / "code-project")
    terraform.write(
        f'terraform {{\ncloud {{\n hostname = "{HOST}"\n organization = "default"\n'
        ' workspaces {\n tags = ["placed"]\n project = "Net Team"\n }\n}\n}\n'
    )
    terraform("init", given="placed-one\n").ok()
    terraform("workspace", "new", "placed-two").ok()
    listed = terraform("workspace", "list").ok().out.replace("*", "").split()
    assert listed == ["placed-one", "placed-two"], "one project was made and both are in it"
    made += listed
    found = api.get("/api/v2/organizations/default/workspaces/keys-two").expect(200).json()["data"]
    assert found["attributes"]["tag-names"] == ["team:net"]
    for name in made:
        api.post(f"/api/v2/organizations/default/workspaces/{name}/actions/safe-delete").expect(204)
