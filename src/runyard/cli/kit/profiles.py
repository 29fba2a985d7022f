"""Profiles: named servers with their tokens. Owns the file `$XDG_CONFIG_HOME/runyard/config.toml` (mode 0600).

A token is sent only to the address that it was stored with. Tokens come from stdin, a file or the environment, never
from the command line, which everybody on the machine can read.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from runyard.client.errors import InvalidConfiguration

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_PROFILE = "default"


@dataclass(frozen=True)
class Profile:
    """One server as the file keeps it."""

    url: str
    token: str | None = None


@dataclass(frozen=True)
class Book:
    """The whole file: profiles by name and which one is active."""

    active: str = DEFAULT_PROFILE
    profiles: Mapping[str, Profile] = field(default_factory=dict)

    def with_profile(self, name: str, profile: Profile) -> "Book":
        """Return a book in which `name` is this profile; the first one becomes active."""
        active = self.active if self.profiles else name
        return replace(self, active=active, profiles={**self.profiles, name: profile})

    def without(self, name: str) -> "Book":
        """Return a book that does not have `name`; when it was the active one, none is."""
        left = {key: one for key, one in self.profiles.items() if key != name}
        return Book("" if self.active == name else self.active, left)


@dataclass(frozen=True)
class Connection:
    """What a command talks to, and where that choice came from."""

    url: str
    token: str | None
    source: str
    """For people: `profile prod`, `environment`, `default`."""


def config_path() -> Path:
    """Return where profiles are kept."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(home) / "runyard" / "config.toml"


def load_book() -> Book:
    """Read the file; an absent one is an empty book. Raises InvalidConfiguration when it cannot be read."""
    path = config_path()
    try:
        raw = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Book()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error}") from error
    try:
        profiles = {
            str(name): Profile(str(entry["url"]), str(entry["token"]) if "token" in entry else None)
            for name, entry in raw.get("profiles", {}).items()
        }
    except (TypeError, KeyError, AttributeError) as error:
        raise InvalidConfiguration(f"{path}: every profile needs a url") from error
    return Book(str(raw.get("active", DEFAULT_PROFILE)), profiles)


def save_book(book: Book) -> None:
    """Write the file through a sibling, readable by its owner only from the first byte on."""
    path = config_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = [f"active = {_quote(book.active)}", ""]
    for name, profile in sorted(book.profiles.items()):
        lines += [f"[profiles.{_quote(name)}]", f"url = {_quote(profile.url)}"]
        lines += [f"token = {_quote(profile.token)}"] if profile.token is not None else []
        lines.append("")
    sibling = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(sibling, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        file.write("\n".join(lines))
    os.replace(sibling, path)


def choose_connection(named: str | None) -> Connection:
    """Decide what to talk to: `--profile` (or RUNYARD_PROFILE), then RUNYARD_URL and RUNYARD_TOKEN, then the file."""
    environment_url, environment_token = os.environ.get("RUNYARD_URL"), os.environ.get("RUNYARD_TOKEN")
    if named is not None:
        profile = profile_named(load_book(), named)
        return Connection(profile.url, profile.token, f"profile {named}")
    if environment_url and environment_token:
        return Connection(checked_url(environment_url), environment_token, "environment")
    book = load_book()
    wanted = os.environ.get("RUNYARD_PROFILE")
    stored = profile_named(book, wanted) if wanted else book.profiles.get(book.active)
    source = f"profile {wanted or book.active}" if stored else "default"
    url = checked_url(environment_url) if environment_url else (stored.url if stored else DEFAULT_URL)
    token = environment_token or (stored.token if stored and same_server(stored.url, url) else None)
    return Connection(url, token, "environment" if environment_url or environment_token else source)


def profile_named(book: Book, name: str) -> Profile:
    """Return one profile. Raises InvalidConfiguration, with the names that exist."""
    if name not in book.profiles:
        known = ", ".join(sorted(book.profiles)) or "none yet; make one with `runyard profile set`"
        raise InvalidConfiguration(f"there is no profile {name!r} (known: {known})")
    return book.profiles[name]


def checked_url(url: str) -> str:
    """Return the address of a server without a trailing slash. Raises InvalidConfiguration when it is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidConfiguration(f"{url!r} is not an http or https address")
    if parts.username or parts.password:
        raise InvalidConfiguration("an address with a user or password in it is refused; use a token")
    return url.rstrip("/")


def same_server(one: str, other: str) -> bool:
    """Tell whether two addresses name the same scheme, host and port, so that a token may be sent."""
    return _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _quote(text: str) -> str:
    """Write a TOML basic string."""
    body = "".join(
        f"\\u{ord(letter):04x}" if ord(letter) < 0x20 or letter == "\x7f" else letter
        for letter in text.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{body}"'
