"""Integrations on the command line: a credential comes from stdin or a file, never from argv."""

from pathlib import Path

from tests.fakes.native_server import NativeServer
from tests.support.cli import Cli, run_process


def test_integrations_are_created_listed_and_removed(
    fake: NativeServer, cli: Cli, environment: dict[str, str], tmp_path: Path
) -> None:
    given = ("--type", "github", "--username", "x", "--password", "--json")
    run_process(environment, "integration", "create", "hub", *given, stdin=b"token\n").expect(0)
    assert fake.seen[-1].json() == {"name": "hub", "type": "github", "username": "x", "password": "token"}
    key = tmp_path / "key"
    key.write_text("-----BEGIN\n")
    where = ("--url", "git@forge:", "--ssh-key", str(key), "--repository", "acme/infra")
    cli("integration", "create", "forge", "--type", "git", *where).expect(0)
    assert fake.seen[-1].json()["ssh_key"] == "-----BEGIN\n"
    assert fake.seen[-1].json()["repositories"] == ["acme/infra"]
    listed = cli("integration", "list", "--json").expect(0).json()["items"]
    assert [(one["name"], one["has_credential"]) for one in listed] == [("hub", True), ("forge", True)]
    assert "yes" in cli("integration", "list").expect(0).out
    assert cli("integration", "create", "x", "--type", "svn").status == 2
    assert "--yes" in cli("integration", "remove", listed[0]["id"]).expect(2).err
    cli("integration", "remove", *(one["id"] for one in listed), "--yes").expect(0)
    assert fake.integrations == {}
