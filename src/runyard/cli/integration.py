"""`runyard integration`. Owns the commands on where repositories are; a credential is read from stdin, a hidden prompt
or a file, never from argv.
"""

from pathlib import Path

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.known import complete_integrations
from runyard.cli.kit.options import confirm, yes_option
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State

KINDS = ("github", "gitlab", "bitbucket", "bitbucketdc", "codecommit", "azuredevops", "git")

integration = LazyGroup(
    "integration",
    summary="Say where repositories are and how they are reached.",
    examples=(
        "runyard integration create github --type github --username x --password < token.txt",
        "runyard integration create local --type git --url file:///srv/git",
        "runyard integration list",
    ),
    members={
        "create": Member("runyard.cli.integration:create", "Add an integration."),
        "list": Member("runyard.cli.integration:list_", "List integrations."),
        "remove": Member("runyard.cli.integration:remove", "Remove integrations."),
    },
)


@command(
    "create",
    examples=(
        "runyard integration create github --type github --username x --password < token.txt",
        "runyard integration create forge --type git --url git@forge.example: --ssh-key ~/.ssh/deploy",
        "runyard integration create local --type git --url file:///srv/git",
        "runyard integration create lab --type gitlab --url https://lab.example --repository acme/infra",
    ),
)
@click.argument("name")
@click.option(
    "--type", "kind", type=click.Choice(KINDS), required=True, help="What kind of version control it is."
)
@click.option(
    "--url",
    default="",
    metavar="URL",
    help="What stands before the name of a repository; default: the public host.",
)
@click.option("--username", default="", help="For http(s); any name where a token is the password.")
@click.option("--password", "asked", is_flag=True, help="Read a token or password from stdin or a prompt.")
@click.option(
    "--ssh-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File of a private key."
)
@click.option(
    "--known-hosts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of host keys to accept.",
)
@click.option(
    "--repository", "repositories", multiple=True, metavar="NAME", help="Offer it in listings; repeat it."
)
@click.pass_obj
def create(
    state: State,
    /,
    name: str,
    kind: str,
    url: str,
    username: str,
    asked: bool,
    ssh_key: Path | None,
    known_hosts: Path | None,
    repositories: tuple[str, ...],
) -> None:
    """Add an integration. Needs the permission admin.

    Repositories in files of the server's host are read only below the folders of the setting
    `infrastructure.local_repositories`.
    """
    from runyard.cli.kit.output import print_one
    from runyard.cli.secret import read_value
    from runyard.cli.views import INTEGRATION_COLUMNS
    from runyard.client.integrations import NewIntegration

    new = NewIntegration(
        name=name,
        type=kind,
        url=url,
        username=username,
        password=read_value(raw=False) if asked else "",
        ssh_key=ssh_key.read_text() if ssh_key else "",
        known_hosts=known_hosts.read_text() if known_hosts else "",
        repositories=repositories,
    )
    with state.client() as client:
        made = client.integrations.create(new)
    print_one(state, made, INTEGRATION_COLUMNS, name=lambda one: one.id)


@command(
    "list",
    examples=("runyard integration list", "runyard integration list --json | jq -r '.items[].id'"),
)
@click.pass_obj
def list_(state: State, /) -> None:
    """List integrations, without their credentials. Needs the permission admin."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import INTEGRATION_COLUMNS

    with state.client() as client:
        rows = client.integrations.list()
    print_list(state, rows, INTEGRATION_COLUMNS, name=lambda one: one.id, empty="there are no integrations")


@command(
    "remove", examples=("runyard integration remove github", "runyard integration remove github forge --yes")
)
@click.argument(
    "integrations", metavar="INTEGRATION...", nargs=-1, required=True, shell_complete=complete_integrations
)
@yes_option()
@click.pass_obj
def remove(state: State, /, integrations: tuple[str, ...], yes: bool) -> None:
    """Remove integrations, by name or id. Workspaces that use one can be checked out no more."""
    from runyard.cli.kit.output import print_deleted

    wanted = [reference(one) for one in integrations]
    confirm(f"Remove {', '.join(wanted)}?", yes=yes)
    with state.client() as client:
        for one in wanted:
            client.integrations.delete(one)
    print_deleted(state, "integration", wanted)
