"""`runyard guardrail`. Owns the commands that show guardrails and what was told of them; the Firefly API makes them."""

import click

from runyard.cli.kit.commands import LazyGroup, Member, command
from runyard.cli.kit.options import limit_option
from runyard.cli.kit.refs import reference
from runyard.cli.kit.state import State

_ID = "6745a2f09b1c8e5d3f7a0b12"

guardrail = LazyGroup(
    "guardrail",
    summary="Look at the rules that judge plans. They are made through the Firefly API, see docs/guardrails.md.",
    examples=(
        "runyard guardrail list",
        f"runyard guardrail get {_ID}",
        f"runyard guardrail deliveries {_ID}",
    ),
    members={
        "list": Member("runyard.cli.guardrail:list_", "List guardrails."),
        "get": Member("runyard.cli.guardrail:get", "Show a guardrail."),
        "deliveries": Member("runyard.cli.guardrail:deliveries", "List what was sent to its webhook."),
    },
)


@command("list", examples=("runyard guardrail list", "runyard guardrail list --text prod --json"))
@click.option("--text", default="", help="A part of the name.")
@limit_option()
@click.pass_obj
def list_(state: State, /, text: str, limit: int) -> None:
    """List the guardrails of your project and of those below, the newest first. Needs the permission guardrails:read."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import GUARDRAIL_COLUMNS

    with state.client() as client:
        rows = client.guardrails.list(text=text, limit=limit)
    print_list(state, rows, GUARDRAIL_COLUMNS, name=lambda one: one.id, empty="there are no guardrails")


@command(
    "get", examples=(f"runyard guardrail get {_ID}", f"runyard guardrail get {_ID} --json | jq .criteria")
)
@click.argument("guardrail")
@click.pass_obj
def get(state: State, /, guardrail: str) -> None:
    """Show a guardrail with what it looks at and forbids."""
    from runyard.cli.kit.output import print_one
    from runyard.cli.views import GUARDRAIL_DETAILS

    with state.client() as client:
        found = client.guardrails.get(reference(guardrail))
    print_one(state, found, GUARDRAIL_DETAILS, name=lambda one: one.id)


@command(
    "deliveries",
    examples=(
        f"runyard guardrail deliveries {_ID}",
        f"runyard guardrail deliveries {_ID} --json | jq -r '.items[].last_error'",
    ),
)
@click.argument("guardrail")
@click.pass_obj
def deliveries(state: State, /, guardrail: str) -> None:
    """List the newest messages to the webhook of a guardrail, with how often each was tried and what came back."""
    from runyard.cli.kit.output import print_list
    from runyard.cli.views import DELIVERY_COLUMNS

    with state.client() as client:
        rows = client.guardrails.deliveries(reference(guardrail))
    print_list(state, rows, DELIVERY_COLUMNS, name=lambda one: one.id, empty="nothing was sent")
