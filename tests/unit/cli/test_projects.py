"""Projects on the command line."""

from tests.fakes.native_server import NativeServer
from tests.support.cli import Cli


def test_project_life_cycle(fake: NativeServer, cli: Cli) -> None:
    cli("project", "create", "web").expect(0)
    assert fake.seen[-1].json() == {"slug": "web"}
    made = cli("project", "create", "default/web/", "--name", "The shop", "--json").expect(0).json()
    assert fake.seen[-1].json() == {"slug": "web", "parent": "default", "name": "The shop"}
    assert made["path"] == "default/web"
    assert [one["path"] for one in cli("project", "list", "--json").json()["items"]] == [
        "/",
        "web",
        "default/web",
    ]
    assert "--yes" in cli("project", "delete", "web").expect(2).err
    cli("project", "delete", "web", "default/web", "--yes").expect(0)
    assert fake.projects == {}
    cli("project", "delete", "web", "--yes").expect(3)


def test_token_create_passes_the_project_on(fake: NativeServer, cli: Cli) -> None:
    cli("token", "create", "ci", "--project", "default/default").expect(0)
    assert fake.seen[-1].json() == {"name": "ci", "project": "default/default"}
