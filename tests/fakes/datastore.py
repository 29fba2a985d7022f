"""A datastore in memory. Seals by turning the text around, so that sealed and clear text cannot be mistaken."""

from runyard.actions.templating.datastore import StoredKey


class FakeDatastore:
    """Keys by `scope.name`; a name that ends with `!` makes its value a secret."""

    def __init__(self, **scopes: dict[str, str]) -> None:
        """Take the keys of each scope."""
        self.reads: list[str] = []
        self._keys: dict[tuple[str, str], StoredKey] = {}
        for scope, keys in scopes.items():
            for name, value in keys.items():
                secret = name.endswith("!")
                text = seal(value) if secret else value
                self._keys[scope, name.removesuffix("!")] = StoredKey(text, secret)

    def read(self, scope: str, name: str) -> StoredKey | None:
        """Return a key and note that it was read."""
        self.reads.append(f"{scope}.{name}")
        return self._keys.get((scope, name))

    def decrypt(self, text: str) -> str:
        """Open a sealed text."""
        if not text.startswith("sealed:"):
            raise ValueError("this text is not sealed")
        return text.removeprefix("sealed:")[::-1]


def seal(value: str) -> str:
    """Return the sealed form of a text."""
    return f"sealed:{value[::-1]}"
