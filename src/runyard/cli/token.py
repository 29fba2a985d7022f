"""`runyard token`. Owns the commands on credentials; a secret is printed exactly once, by `create`."""

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.known import complete_projects
from runyard.cli.kit.options import Duration, confirm, limit_option, token_argument, yes_option
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State

token = LazyGroup(
    "token",
    summary="Create, list and revoke tokens.",
    examples=(
        "runyard token create ci --scope runtimes:exec --scope runtimes:read --expires 30d",
        "runyard token list",
        "runyard token revoke 6745a2f09b1c8e5d3f7a0b12",
    ),
    members={
        "create": Member("runyard.cli.token:create", "Make a token and print its secret once."),
        "list": Member("runyard.cli.token:list_", "List tokens, without their secrets."),
        "revoke": Member("runyard.cli.token:revoke", "Make a token useless at once."),
    },
)


@command(
    "create",
    names=False,
    examples=(
        "runyard token create laptop",
        "runyard token create ci --scope runtimes:exec --expires 30d > ci.token",
        "runyard token create agent --expires 12h --json | jq -r .secret",
        "runyard token create team --project default/web",
        "runyard token create laptop --user bob",
        "runyard token create terraform --key-pair",
        "runyard token create laptop --harness",
    ),
)
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, help="What it may do; repeat it. Default: all that you may."
)
@click.option(
    "--project",
    metavar="PROJECT",
    shell_complete=complete_projects,
    help="Only within this project and below it: an id, or slugs such as default/web.",
)
@click.option("--user", metavar="NAME", help="For another user of the account; needs the permission admin.")
@click.option("--expires", type=Duration(), help="Useless after so long: 12h, 30d.")
@click.option(
    "--key-pair", is_flag=True, help="Print access key and secret key, for clients of the Firefly API."
)
@click.option("--harness", is_flag=True, help="In the form that hc and harness demand.")
@click.pass_obj
def create(
    state: State,
    /,
    name: str,
    scopes: tuple[str, ...],
    project: str | None,
    user: str | None,
    expires: int | None,
    key_pair: bool,
    harness: bool,
) -> None:
    """Make a token and print its secret, once: the server keeps only a hash."""
    from runyard.cli.kit.output import print_json, write_text
    from runyard.client.models import NewToken

    wanted = NewToken(
        name=name,
        scopes=list(scopes),
        project=reference(project) if project else None,
        user=user,
        expires_in_secs=expires,
        shape="harness" if harness else None,
    )
    with state.client() as client:
        made = client.tokens.create(wanted)
    if state.as_json:
        print_json({"access_key": made.token.id, "secret_key": made.secret} if key_pair else made)
        return
    if key_pair:
        state.say("the secret key is shown only once:")
        write_text(f"access key  {made.token.id}\nsecret key  {made.secret}\n")
        return
    state.say(f"token {made.token.name or name} ({made.token.id}); this is shown only once:")
    write_text(f"{made.secret}\n")


@command("list", examples=("runyard token list", "runyard token list --wide"))
@limit_option(200)
@click.pass_obj
def list_(state: State, /, limit: int) -> None:
    """List tokens, without their secrets."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import TOKEN_COLUMNS

    with state.client() as client:
        rows = list(client.tokens.list(limit=limit))
    print_list(state, rows, TOKEN_COLUMNS, name=lambda one: one.id, empty="there are no tokens")


@command("revoke", examples=("runyard token revoke 6745a2f09b1c8e5d3f7a0b12 --yes",))
@token_argument()
@yes_option()
@click.pass_obj
def revoke(state: State, /, token: str, yes: bool) -> None:
    """Make a token useless at once."""
    from runyard.cli.kit.output import print_deleted

    wanted = reference(token)
    confirm(f"Revoke token {wanted}?", yes=yes)
    with state.client() as client:
        client.tokens.revoke(wanted)
    print_deleted(state, "token", [wanted])
