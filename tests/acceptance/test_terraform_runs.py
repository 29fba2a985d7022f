"""Runs from the command line through the real Terraform command: a `cloud` block in remote execution."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http import Api
from tests.support.server import Server
from tests.support.terraform import Terraform, needs_terraform

pytestmark = needs_terraform
SECONDS = 60.0
CODE = """
variable "word" {
  type    = string
  default = "first"
}
variable "hidden" {
  type      = string
  default   = "correct-horse-battery"
  sensitive = true
}
resource "terraform_data" "a" { input = var.word }
resource "terraform_data" "b" { input = var.hidden }
output "shown" { value = terraform_data.a.output }
output "hidden" {
  value     = terraform_data.b.output
  sensitive = true
}
"""
SLOW = """
resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = "echo begun; sleep 60"
  }
}
"""


@pytest.fixture
def code(
    server: Server, api: Api, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Terraform]]:
    """Return a maker of a folder with a `cloud` block and an initialised workspace, which `init` itself makes."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-60:].strip("-")

    def make(text: str) -> Terraform:
        terraform = Terraform(server, tmp_path / name)
        terraform.write(terraform.cloud(name), text)("init", "-input=false").ok()
        return terraform

    yield make
    answer = api.delete(f"/api/v2/organizations/default/workspaces/{name}")
    assert answer.status in (204, 404), answer.body


def runs(api: Api, terraform: Terraform) -> list[dict[str, Any]]:
    """Return the attributes of the runs of a folder's workspace, the newest first."""
    found = api.get(f"/api/v2/workspaces/{terraform.folder.name}/runs").expect(200).json()["data"]
    return [{"id": one["id"], **one["attributes"]} for one in found]


def versions(api: Api, terraform: Terraform) -> list[int]:
    found = api.get(f"/terraform/state/{terraform.folder.name}/versions").expect(200).json()["versions"]
    return [one["number"] for one in found]


def test_plan_confirm_discard_save_and_destroy_from_the_terminal(
    api: Api, server: Server, code: Callable[[str], Terraform]
) -> None:
    terraform = code(CODE)
    planned = terraform("plan", "-target=terraform_data.a").ok()
    assert "1 to add" in planned.out
    assert "-target=terraform_data.a" in planned.out
    first = runs(api, terraform)[0]
    assert (first["status"], first["plan-only"], first["has-changes"]) == ("planned_and_finished", True, True)

    applied = terraform("apply", given="yes\n").ok()
    assert "2 to add" in applied.out
    assert "Apply complete! Resources: 2 added" in applied.out
    assert runs(api, terraform)[0]["status"] == "applied"
    assert json.loads(terraform("output", "-json").ok().out)["hidden"]["value"] == "correct-horse-battery"
    assert versions(api, terraform) == [1]

    refused = terraform("apply", '-var=word=sec"ond', "-replace=terraform_data.b", given="no\n")
    assert "must be replaced" in refused.out or "will be replaced" in refused.out
    assert 'sec\\"ond' in refused.out
    assert runs(api, terraform)[0]["status"] == "discarded"
    api.get(f"/terraform/state/{terraform.folder.name}/lock").expect(404)

    assert "2 to destroy" in terraform("plan", "-destroy").ok().out
    terraform("plan", "-out=saved", "-var=word=third").ok()
    saved = runs(api, terraform)[0]
    assert (saved["status"], saved["save-plan"]) == ("planned_and_saved", True)
    shown = terraform("show", "saved").ok().out
    assert '~ input  = "first" -> "third"' in shown
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in shown
    assert '~ shown  = "first" -> (known after apply)' in shown
    document = json.loads(terraform("show", "-json", "saved").ok().out)
    assert document["resource_changes"][0]["change"]["after"]["input"] == "third"
    assert "correct-horse-battery" not in shown + json.dumps(document)
    terraform("apply", "saved").ok()
    assert runs(api, terraform)[0]["status"] == "applied"
    assert api.get(f"/terraform/state/{terraform.folder.name}").json()["outputs"]["shown"]["value"] == "third"

    unchanged = terraform("plan", "-var=word=third", "-detailed-exitcode")
    assert unchanged.code == 0, unchanged.out
    assert versions(api, terraform) == [2, 1]
    assert "0 to add, 0 to change, 2 to destroy" in terraform("destroy", "-auto-approve").ok().out
    assert api.get(f"/terraform/state/{terraform.folder.name}").json()["resources"] == []
    for run in runs(api, terraform):
        log = api.get(f"/api/v2/plans/{run['id']}").json()["data"]["attributes"]["log-read-url"]
        assert (
            b"correct-horse-battery"
            not in api.get("/" + log.split("/", 3)[3] + "?offset=1&limit=1000000").body
        )
    assert "correct-horse-battery" not in server.log_path.read_text()


def test_saved_plan_holds_up_no_other_run_and_goes_stale(api: Api, code: Callable[[str], Terraform]) -> None:
    terraform = code(CODE)
    terraform("plan", "-out=first").ok()
    terraform("plan", "-out=second").ok()
    terraform("apply", "second").ok()
    assert [one["status"] for one in runs(api, terraform)] == ["applied", "planned_and_saved"]
    stale = terraform("apply", "first")
    assert stale.code == 1
    assert "changed by another operation after the plan was created" in stale.out
    assert versions(api, terraform) == [1]

    terraform("plan", "-out=third", "-var=word=third").ok()
    saved = runs(api, terraform)[0]["id"]
    with running(terraform, "apply", "-var=word=fourth") as process:
        until(lambda: runs(api, terraform)[0]["status"] == "planned")
        refused = api.post(f"/api/v2/runs/{saved}/actions/apply").expect(409).json()["errors"][0]
        assert "another run of the workspace" in refused["detail"]
        assert process.stdin is not None
        process.stdin.write("yes\n")
        process.stdin.flush()
        assert process.wait(SECONDS) == 0
    assert versions(api, terraform) == [2, 1]


NEEDY = """
variable "word" {}
variable "words" { type = list(string) }
variable "hidden" { sensitive = true }
resource "terraform_data" "a" { input = "${var.word} ${var.words[0]} ${var.hidden}" }
"""


def test_import_in_the_terminal_gets_the_variables_of_the_workspace_but_no_secret(
    api: Api, code: Callable[[str], Terraform]
) -> None:
    terraform = code(NEEDY)
    variables = [
        {"key": "word", "value": "1.10", "sensitivity": "string", "destination": "iac"},
        {"key": "words", "value": '["x"]', "sensitivity": "string", "destination": "iac"},
        {"key": "hidden", "value": "correct-horse-battery", "sensitivity": "secret", "destination": "iac"},
    ]
    path = f"/api/v2/organizations/default/workspaces/{terraform.folder.name}"
    workspace = api.get(path).expect(200).json()["data"]["id"]
    answer = api.post(f"/v2/runners/variables/workspaces/{workspace}/variables", {"variables": variables})
    answer.expect(204)
    imported = terraform("import", "terraform_data.a", "known").ok()
    assert "Value for var.hidden unavailable" in imported.out
    assert terraform("state", "list").ok().out == "terraform_data.a\n"
    listed = api.get(f"/api/v2/workspaces/{workspace}/all-vars").expect(200).json()["data"]
    shown = {one["attributes"]["key"]: one["attributes"] for one in listed}
    assert [shown[name]["hcl"] for name in ("word", "words", "hidden")] == [False, True, False]
    assert (shown["hidden"]["value"], shown["hidden"]["sensitive"]) == (None, True)
    assert shown["word"]["category"] == "terraform"


def test_generated_configuration_is_refused_and_texts_of_any_language_come_through(
    code: Callable[[str], Terraform],
) -> None:
    terraform = code('variable "word" {}\noutput "said" { value = var.word }\n')
    refused = terraform("plan", "-generate-config-out=made.tf", "-var=word=x")
    assert refused.code == 1
    assert "-generate-config-out is not implemented" in refused.out
    word = 'naïve "ünï" ${x} %{y} \\ 😀\ttab'
    applied = terraform("apply", "-auto-approve", f"-var=word={word}").ok()
    assert "said = " + json.dumps(word, ensure_ascii=False) in applied.out
    assert json.loads(terraform("output", "-json").ok().out)["said"]["value"] == word


def test_interrupt_cancels_the_run_and_frees_the_lock(api: Api, code: Callable[[str], Terraform]) -> None:
    terraform = code(SLOW)
    with running(terraform, "apply", "-auto-approve") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "begun" in line or "Provisioning with" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=SECONDS)[0]
    assert "cancel" in rest.lower(), rest
    until(lambda: runs(api, terraform)[0]["status"] == "canceled")
    api.get(f"/terraform/state/{terraform.folder.name}/lock").expect(404)


@contextlib.contextmanager
def running(terraform: Terraform, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a command beside the test, and end it in any case."""
    with terraform.start(*words) as process:
        try:
            yield process
        finally:
            process.kill()


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not reached():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)


def test_run_waits_for_a_persons_lock_and_says_what_is_wrong(
    api: Api, code: Callable[[str], Terraform]
) -> None:
    terraform = code('resource "terraform_data" "a" { input = var.missing }')
    lock = f"/terraform/state/{terraform.folder.name}/lock"
    api.post(lock, {"ID": "mine", "Who": "me"}).expect(200)
    with running(terraform, "plan") as process:
        until(lambda: bool(runs(api, terraform)))
        assert runs(api, terraform)[0]["status"] == "pending"
        # By it the command says that it waits for a lock, and counts the runs before its own.
        path = f"/api/v2/organizations/default/workspaces/{terraform.folder.name}"
        related = api.get(path).expect(200).json()["data"]["relationships"]
        assert related["current-run"]["data"]["id"] == runs(api, terraform)[0]["id"]
        api.request("DELETE", lock, {"ID": "mine"}).expect(200)
        out = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 1
    assert "Reference to undeclared input variable" in out
    assert runs(api, terraform)[0]["status"] == "errored"

    broken = (
        'resource "terraform_data" "a" {\n provisioner "local-exec" {\n command = "echo oh; exit 3"\n }\n}'
    )
    terraform.write(terraform.cloud(terraform.folder.name), broken)
    failed = terraform("apply", "-auto-approve")
    assert failed.code == 1
    assert "exit status 3" in failed.out
    assert "The run ended: terraform apply failed" in failed.out
    assert runs(api, terraform)[0]["status"] == "errored"
    assert api.get(f"/terraform/state/{terraform.folder.name}").expect(200).json()["resources"]


def guard(api: Api, workspace: str, severity: int) -> str:
    """Make a guardrail against creations in one workspace and return its id."""
    everything = {"include": ["*"]}
    scope = {"workspaces": {"include": [workspace]}, "repositories": everything, "branches": everything}
    resource = {
        "actions": ["create"],
        "specificResources": [],
        "regions": everything,
        "assetTypes": {"include": ["terraform_data"]},
    }
    body = {
        "createdBy": "test",
        "name": f"nothing new ({severity})",
        "type": "resource",
        "scope": {**scope, "labels": everything},
        "criteria": {"resource": resource},
        "isEnabled": True,
        "severity": severity,
    }
    answer = api.post("/v2/guardrails", body)
    assert answer.status in (200, 201), answer.body
    return str(answer.json()["ruleId"])


def answered(process: "subprocess.Popen[str]", answers: dict[str, str]) -> str:
    """Read what a command prints to its end, and answer its questions as they come."""
    assert process.stdin is not None
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        for question, answer in answers.items():
            if question in line:
                process.stdin.write(f"{answer}\n")
                process.stdin.flush()
    assert process.wait(SECONDS) == 0, "".join(lines)
    return "".join(lines)


def test_guardrails_show_as_policy_checks_of_the_command(api: Api, code: Callable[[str], Terraform]) -> None:
    terraform = code('resource "terraform_data" "a" { input = "x" }')
    strict = guard(api, terraform.folder.name, 2)
    refused = terraform("apply", "-auto-approve")
    assert refused.code == 1
    assert "nothing new (2)" in refused.out
    assert runs(api, terraform)[0]["status"] == "errored"
    api.delete(f"/v2/guardrails/{strict}")

    flexible = guard(api, terraform.folder.name, 1)
    declined = terraform("apply", given="no\n")
    assert declined.code == 1
    assert "soft failed" in declined.out.lower()
    until(lambda: runs(api, terraform)[0]["status"] == "discarded")
    with running(terraform, "apply") as process:
        accepted = answered(process, {"'override' will": "override", "'yes' will": "yes"})
    assert "[flexible] nothing new (1)" in accepted
    assert "Apply complete! Resources: 1 added" in accepted
    assert runs(api, terraform)[0]["status"] == "applied"
    api.delete(f"/v2/guardrails/{flexible}")


CLAIMS = """
resource "terraform_data" "a" {
  provisioner "local-exec" {
    interpreter = ["/bin/sh", "-c"]
    command     = "cat $AWS_WEB_IDENTITY_TOKEN_FILE; cut -d. -f2 $AWS_WEB_IDENTITY_TOKEN_FILE | tr _- /+ | base64 -d 2>/dev/null; true"
  }
}
"""


def test_token_for_a_cloud_says_which_run_it_is_and_is_masked(
    api: Api, code: Callable[[str], Terraform]
) -> None:
    terraform = code(CLAIMS)
    terraform.write(terraform.backend_remote(terraform.folder.name), CLAIMS)
    shutil.rmtree(terraform.folder / ".terraform")
    terraform("init", "-input=false").ok()
    path = f"/api/v2/organizations/default/workspaces/{terraform.folder.name}"
    workspace = api.get(path).expect(200).json()["data"]["id"]
    answer = api.put(f"/v2/runners/workspaces/{workspace}", {"oidcAuthentication": True})
    assert answer.status == 200, answer.body
    out = terraform("apply", "-auto-approve").ok().out
    found = re.search(r'[{]"sub":.*?[}]', out)
    assert found is not None, out
    claims = json.loads(found[0])
    issuer = api.get("/v2/.well-known/openid-configuration").expect(200).json()["issuer"]
    assert (claims["iss"], claims["aud"], claims["phase"]) == (issuer, "sts.amazonaws.com", "apply")
    assert (claims["workspace"], f"run-{claims['run']}") == (
        terraform.folder.name,
        runs(api, terraform)[0]["id"],
    )
    assert claims["sub"] == f"account:{claims['account']}"
    assert "eyJ" not in out
