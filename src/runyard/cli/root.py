"""The table of commands. Owns their order and the one line that `runyard --help` says about each; imports none of them."""

import click

from runyard import __version__
from runyard.cli.kit.commands import LazyGroup, Member

MEMBERS = {
    "exec": Member("runyard.cli.exec:exec_", "Run a command in a runtime."),
    "run": Member("runyard.cli.run:run", "Run a command in a fresh runtime and delete it after."),
    "ps": Member("runyard.cli.ps:ps", "List what is running now."),
    "logs": Member("runyard.cli.logs:logs", "Print what an execution printed."),
    "execution": Member("runyard.cli.execution:execution", "Look into the ledger of executions."),
    "runtime": Member("runyard.cli.runtime:runtime", "Create, list and manage runtimes."),
    "checkpoint": Member("runyard.cli.checkpoint:checkpoint", "Copy and restore the files of runtimes."),
    "image": Member("runyard.cli.image:image", "Import, list and remove what runtimes are made from."),
    "secret": Member("runyard.cli.secret:secret", "Store, list and remove secrets for runtimes."),
    "workspace": Member("runyard.cli.workspace:workspace", "Plan and apply infrastructure."),
    "state": Member("runyard.cli.state:state", "Look at the Terraform states of workspaces."),
    "guardrail": Member("runyard.cli.guardrail:guardrail", "Look at the rules that judge plans."),
    "integration": Member("runyard.cli.integration:integration", "Say where repositories are."),
    "task": Member("runyard.cli.task:task", "Import tasks for agents."),
    "project": Member("runyard.cli.project:project", "Create, list and delete projects."),
    "token": Member("runyard.cli.token:token", "Create, list and revoke tokens."),
    "user": Member("runyard.cli.user:user", "Create and list users."),
    "member": Member("runyard.cli.member:member", "Say who has which role on a project."),
    "role": Member("runyard.cli.role:role", "Say who may do what with StackStorm actions."),
    "profile": Member("runyard.cli.profile:profile", "Choose which server to talk to."),
    "serve": Member("runyard.cli.serve:serve", "Start the server."),
    "doctor": Member("runyard.cli.doctor:doctor", "Say what this host can enforce and what is missing."),
    "completion": Member("runyard.cli.completion:completion", "Print the completion script of a shell."),
    "version": Member("runyard.cli.version:version", "Print the versions of this command and of the server."),
}

root = LazyGroup(
    "runyard",
    summary="Run commands in isolated runtimes, with one record of every execution.",
    examples=(
        "runyard serve                              # start a server; it prints the first token",
        "runyard run -- python3 -V                  # in a fresh runtime that is deleted after",
        "runyard runtime create web",
        "runyard exec web -- ls -la /               # the exit status is that of ls",
        "runyard logs -f 6745a2f09b1c8e5d3f7a0b12   # follow an execution, Ctrl-C only detaches",
    ),
    members=MEMBERS,
)


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    """Answer `--version` among other options; alone it is answered before anything is loaded."""
    if wanted:
        click.echo(f"runyard {__version__}")
        ctx.exit()


root.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        help="Print the version.",
        callback=_print_version,
    )
)
