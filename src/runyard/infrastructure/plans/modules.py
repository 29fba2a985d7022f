"""Module addresses. Owns how `module.a["x.y"].module.b` falls into its modules; pure."""

from collections.abc import Iterator


def module_path(address: str) -> Iterator[tuple[str, str]]:
    """Yield each module on the way to an address, the outermost first: its own name, `a["x.y"]`, and its address."""
    start = 0
    for end in _ends(address):
        name = address[start:end].removeprefix("module.")
        yield name, address[:end]
        start = end + 1


def _ends(address: str) -> Iterator[int]:
    """Yield where modules end: at a dot before `module.`, outside of quotes and brackets."""
    quoted = escaped = False
    depth = 0
    for position, one in enumerate(address):
        if quoted:
            quoted = escaped or one != '"'
            escaped = one == "\\" and not escaped
        elif one == '"':
            quoted = True
        elif one in "[]":
            depth += 1 if one == "[" else -1
        elif one == "." and depth == 0 and address.startswith("module.", position + 1):
            yield position
    if address:
        yield len(address)
