"""`runyard completion`. Owns printing the scripts; what is completed is declared at each argument."""

import click

from runyard.cli.kit.commands import command

VARIABLE = "_RUNYARD_COMPLETE"


@command(
    "completion",
    data=False,
    examples=(
        'eval "$(runyard completion bash)"                          # in ~/.bashrc',
        "runyard completion zsh > ~/.zfunc/_runyard",
        "runyard completion fish > ~/.config/fish/completions/runyard.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell. Ids and names are completed too; the server is asked for them."""
    from click.shell_completion import ShellComplete, get_completion_class

    from runyard.cli.kit.output import write_text
    from runyard.cli.root import root

    kind = get_completion_class(shell)
    assert kind is not None
    # The base class's method: bash's own would start a bash only to look at its version.
    write_text(ShellComplete.source(kind(root, {}, "runyard", VARIABLE)) + "\n")
