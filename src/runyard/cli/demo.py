"""What `runyard serve --demo` shows: one command in an isolated runtime, run through the server's own front door.

A demonstration never harms: whatever goes wrong in it is a sentence, and the server goes on.
"""

import contextlib
from dataclasses import dataclass

from runyard.cli.kit.output import span, write_text
from runyard.cli.kit.profiles import (
    Profile,
    choose_connection,
    config_path,
    load_book,
    same_server,
    save_book,
)
from runyard.cli.kit.state import State
from runyard.client.errors import ClientError

PROFILE = "local"
COMMAND = 'echo "hello from $(hostname): I am $(id -un), and this is all that I can see:"; ps -eo pid,args'
SECONDS = 60


def find_token(url: str, known: str | None) -> str | None:
    """Return the token that the server just said, or else one that is stored for this address."""
    if known is not None:
        return known
    with contextlib.suppress(ClientError):
        chosen = choose_connection(None)
        if same_server(chosen.url, url):
            return chosen.token
        for profile in load_book().profiles.values():
            if same_server(profile.url, url):
                return profile.token
    return None


@dataclass(frozen=True)
class Demo:
    """One demonstration against one server."""

    state: State
    url: str
    token: str | None
    fresh: bool
    """The token was made just now, so nobody has stored it yet."""

    def show(self) -> None:
        """Run and show the command, store the token of a new server as a profile, say what to try next."""
        if self.token is None:
            write_text("\nThe demonstration needs a token: set RUNYARD_TOKEN, or use a new --data-dir.\n")
            return
        try:
            write_text(self._run())
        except ClientError as error:
            write_text(f"\nThe demonstration failed, the server goes on: {error.message}\n")
            return
        if self.fresh and self._store():
            write_text(f"The token is stored as profile {PROFILE!r} in {config_path()}.\n")
        elif find_token(self.url, None) is None:
            write_text(f"In another terminal: export RUNYARD_URL={self.url} RUNYARD_TOKEN=...\n")
        write_text("Try: runyard run -- python3 -V        Stop: Ctrl-C\n")

    def _run(self) -> str:
        """Create a runtime, run the command, delete the runtime; return what to show."""
        from runyard.client.client import Client
        from runyard.client.models import NewRuntime

        with Client(self.url, self.token) as client:
            made = client.runtimes.create(NewRuntime(name="demo", egress="none"))
            try:
                client.runtimes.wait_ready(made.id, seconds=SECONDS)
                done = client.runtimes.exec(made.id, COMMAND, timeout_secs=SECONDS)
            finally:
                client.runtimes.delete(made.id)
        took = span((done.duration_ms or 0) / 1000)
        shown = "".join(f"  {line}\n" for line in (done.stdout + done.stderr).splitlines())
        return f"\n$ runyard run --network none -c '{COMMAND}'\n{shown}  exit status {done.exit_code}, {took}\n\n"

    def _store(self) -> bool:
        """Store the token for the commands that come next, unless the profile's name is taken by another server."""
        try:
            book = load_book()
            taken = book.profiles.get(PROFILE)
            if taken is not None and not same_server(taken.url, self.url):
                return False
            save_book(book.with_profile(PROFILE, Profile(self.url, self.token)))
        except (ClientError, OSError):
            return False
        return True
