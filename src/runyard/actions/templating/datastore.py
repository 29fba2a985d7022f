"""The datastore as a template sees it. Owns the lazy `st2kv` names; reads through a protocol and stores nothing.

Rendering is synchronous and reading a key is not. `KnownKeys` closes the gap: it answers from what was fetched and notes
what was asked for, so that the caller fetches those and renders again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from jinja2.exceptions import UndefinedError

from runyard.actions.values import Json

SCOPES = ("system", "user")


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as it is kept."""

    text: str
    """Sealed when the key is a secret."""
    secret: bool = False


class Datastore(Protocol):
    """Where the keys are; the user's scope is that of the caller."""

    def read(self, scope: str, name: str) -> StoredKey | None:
        """Return a key, None when there is none by this name."""
        ...

    def decrypt(self, text: str) -> str:
        """Return the clear text of a sealed text. Raises a RunyardError when it cannot be opened."""
        ...


class Sealer(Protocol):
    """What opens sealed texts."""

    def decrypt(self, text: str) -> str:
        """Return the clear text of a sealed text. Raises a RunyardError when it cannot be opened."""
        ...


class KnownKeys:
    """A datastore of keys fetched before; `wanted` has what was asked for beyond them.

    Render, fetch `wanted`, render again, until nothing new is wanted: names can be made by templates, so one pass
    may not do. Outcomes of a pass that wanted something are void, errors included.
    """

    def __init__(self, known: Mapping[tuple[str, str], StoredKey | None], sealer: Sealer) -> None:
        """Answer from `known`, by scope and name; a value of None says that there is no such key."""
        self._known = known
        self._sealer = sealer
        self.wanted: set[tuple[str, str]] = set()

    def read(self, scope: str, name: str) -> StoredKey | None:
        """Return what is known and note what is not."""
        if (scope, name) not in self._known:
            self.wanted.add((scope, name))
            return None
        return self._known[scope, name]

    def decrypt(self, text: str) -> str:
        """Open a sealed text; while something is wanted, whatever is here is not final."""
        if self.wanted:
            return ""
        return self._sealer.decrypt(text)


class NoDatastore:
    """A datastore without keys, for places where none can be reached."""

    def read(self, scope: str, name: str) -> StoredKey | None:
        """Return None for every key."""
        del scope, name
        return None

    def decrypt(self, text: str) -> str:
        """Return the text as it is: nothing is sealed here."""
        return text


class Key:
    """A name below `st2kv.<scope>`. It is read only when its text is needed, and prints empty when absent.

    `st2kv.system.a.b` is the key `a:b`: the first name may be a key itself or the group of others.
    """

    __slots__ = ("_name", "_scope", "_store", "_text")

    def __init__(self, store: Datastore, scope: str, name: str) -> None:
        """Name a key, reading nothing."""
        self._store = store
        self._scope = scope
        self._name = name
        self._text: str | None = None

    def below(self, name: str) -> "Key":
        """Return the key of this group."""
        return Key(self._store, self._scope, f"{self._name}:{name}")

    def __str__(self) -> str:
        """Read the key."""
        if self._text is None:
            key = self._store.read(self._scope, self._name)
            self._text = key.text if key is not None else ""
        return self._text

    def __bool__(self) -> bool:
        """Tell whether there is a text."""
        return bool(str(self))

    def __len__(self) -> int:
        """Count characters."""
        return len(str(self))

    def __iter__(self) -> Iterator[str]:
        """Go through the characters."""
        return iter(str(self))

    def __contains__(self, part: object) -> bool:
        """Find a part of the text."""
        return isinstance(part, str) and part in str(self)

    def __eq__(self, other: object) -> bool:
        """Compare the text."""
        return str(self) == (str(other) if isinstance(other, Key) else other)

    def __hash__(self) -> int:
        """Hash as the text does."""
        return hash(str(self))


class Keys:
    """The root `st2kv` and, with a scope, `st2kv.<scope>`."""

    __slots__ = ("_scope", "_store")

    def __init__(self, store: Datastore, scope: str = "") -> None:
        """Stand for all scopes, or for one."""
        self._store = store
        self._scope = scope

    def below(self, name: str) -> "Key | Keys":
        """Return a scope of the root, or a key of the scope. Raises UndefinedError for another scope."""
        if self._scope:
            return Key(self._store, self._scope, name)
        if name not in SCOPES:
            raise UndefinedError(f"st2kv has no scope {name!r}: it is system or user")
        return Keys(self._store, name)

    def __str__(self) -> str:
        """Print nothing: a scope alone has no value."""
        return ""


def plain(value: Json) -> Json:
    """Return the text of a key, and any other value as it is."""
    return str(value) if isinstance(value, Key | Keys) else value
