"""References on the command line. Owns how an id, a name or a pasted URL becomes the id or name that the API takes."""

from urllib.parse import unquote, urlsplit

from runyard.client.errors import InvalidUse

NOUNS = (
    "runtimes",
    "executions",
    "checkpoints",
    "tokens",
    "secrets",
    "projects",
    "workspaces",
    "runs",
    "guardrails",
)


def reference(text: str) -> str:
    """Return the id or name in an argument, which may be a URL of the API or of a page.

    The segment behind the last known noun counts; without one, the last segment. Raises InvalidUse when there is none.
    """
    if "://" not in text:
        return _checked(text)
    segments = [unquote(part) for part in urlsplit(text).path.split("/") if part]
    for index in range(len(segments) - 2, -1, -1):
        if segments[index] in NOUNS:
            return _checked(segments[index + 1])
    if not segments:
        raise InvalidUse(f"{text} names nothing: it has no id in its path")
    return _checked(segments[-1])


def _checked(text: str) -> str:
    """Refuse what could turn into another path of the API."""
    if not text or text in (".", "..") or "\x00" in text:
        raise InvalidUse(f"{text!r} is not an id or a name")
    return text


def remote_path(text: str) -> tuple[str, str] | None:
    """Split `RUNTIME:PATH`; None when the text is a local path (`./a:b` and `/a:b` are local, as with scp)."""
    head, colon, path = text.partition(":")
    if not colon or not head or "/" in head or head == ".":
        return None
    return _checked(head), path


def is_execution_id(text: str) -> bool:
    """Tell whether a text is spelled like an execution's id: 24 hexadecimal digits."""
    return len(text) == 24 and all(letter in "0123456789abcdef" for letter in text.lower())
