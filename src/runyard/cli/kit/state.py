"""What one invocation knows: output format, profile, terminal. Owns the choice of server and token for the commands.

Imports the client only when a command asks for it.
"""

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runyard.cli.kit.profiles import Connection
    from runyard.client.client import Client


@dataclass
class State:
    """The shared options of one invocation, as far as they are known."""

    json: bool = False
    output: str | None = None
    wide: bool = False
    quiet: bool = False
    no_color: bool = False
    profile: str | None = None
    remote: bool = False
    """The running command passes a remote exit status on."""

    @property
    def as_json(self) -> bool:
        """Tell whether data and errors are printed as JSON."""
        return self.json or self.output == "json"

    @property
    def as_names(self) -> bool:
        """Tell whether only one name a line is wanted."""
        return self.output == "name" and not self.json

    @property
    def colour(self) -> bool:
        """Tell whether stdout may be coloured: a terminal, and nobody said no."""
        refused = self.no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return not refused and is_terminal(1)

    @property
    def relative_times(self) -> bool:
        """Tell whether times are for a person who looks at a terminal."""
        return is_terminal(1)

    @property
    def progress(self) -> bool:
        """Tell whether a line on stderr may be drawn over and over."""
        return not self.quiet and not self.as_json and is_terminal(2)

    def say(self, text: str) -> None:
        """Tell something that is not data: on stderr, unless `--quiet`."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def connection(self) -> "Connection":
        """Return the address and token to use: profile named on the line, then environment, then active profile."""
        from runyard.cli.kit.profiles import choose_connection

        return choose_connection(self.profile)

    def client(self) -> "Client":
        """Open a client for the chosen server; the caller closes it (`with`)."""
        from runyard.client.client import Client

        chosen = self.connection()
        return Client(chosen.url, chosen.token)


def is_terminal(descriptor: int) -> bool:
    """Tell whether a descriptor of this process is a terminal; a closed one is not."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
