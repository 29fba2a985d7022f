"""Users and roles of actions on the command line."""

from pathlib import Path

from tests.fakes.native_server import NativeServer
from tests.support.cli import Cli

ROLE = """
name: runners
description: May run what is in core.
permission_grants:
  - resource_uid: "pack:core"
    permission_types: [action_execute]
  - permission_types: [execution_list]
"""


def test_users_are_created_and_listed(fake: NativeServer, cli: Cli) -> None:
    cli("user", "create", "bob", "--role", "operator").expect(0)
    assert fake.seen[-1].json() == {"name": "bob", "role": "operator", "kind": "user"}
    made = cli("user", "create", "robot", "--service", "--json").expect(0).json()
    assert (made["name"], made["kind"]) == ("robot", "service")
    assert "bob" in cli("user", "list").expect(0).out
    assert [one["name"] for one in cli("user", "list", "--json").json()["items"]] == ["bob", "robot"]
    cli("token", "create", "laptop", "--user", "bob").expect(0)
    assert fake.seen[-1].json() == {"name": "laptop", "user": "bob"}


def test_roles_of_a_folder_are_applied_as_one_document(fake: NativeServer, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "roles").mkdir()
    (tmp_path / "assignments").mkdir()
    (tmp_path / "roles" / "runners.yaml").write_text(ROLE)
    (tmp_path / "assignments" / "bob.yml").write_text("username: bob\nroles: [runners, observer]\n")
    assert "1 roles and 1 users" in cli("role", "apply", str(tmp_path)).expect(0).err
    sent = fake.seen[-1].json()
    grants = [
        {"permission_types": ["action_execute"], "resource_uid": "pack:core"},
        {"permission_types": ["execution_list"]},
    ]
    assert sent["roles"][0]["permission_grants"] == grants
    assert sent["assignments"] == [{"username": "bob", "roles": ["runners", "observer"]}]
    assert "runners" in cli("role", "list").expect(0).out
    assert cli("role", "list", "--json").json()["assignments"][0]["username"] == "bob"


def test_folders_that_define_nothing_or_wrongly_are_refused(cli: Cli, tmp_path: Path) -> None:
    assert "neither roles" in cli("role", "apply", str(tmp_path)).expect(2).err
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles" / "bad.yaml").write_text("name: [")
    assert "bad.yaml" in cli("role", "apply", str(tmp_path)).expect(2).err
    (tmp_path / "roles" / "bad.yaml").write_text("name: 5\n")
    assert "Expected `str`" in cli("role", "apply", str(tmp_path)).expect(2).err
