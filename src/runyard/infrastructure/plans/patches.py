"""Reading the output of `git diff`. Owns its grammar; a name inside is a stranger's and is used for nothing but show.

Expected is `git diff --no-color --no-ext-diff --no-textconv --full-index -M BASE HEAD`.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Final

import msgspec

MAX_PATCH: Final = 256 << 10
"""Bytes that are kept of the patch of one file."""
_CUT: Final = b"\\ The rest of this patch is not kept.\n"
_ESCAPE: Final = re.compile(rb'\\([abtnvfr"\\]|[0-7]{3})')
_ESCAPES: Final = {
    b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r", b'"': b'"', b"\\": b"\\",
}  # fmt: skip


class FilePatch(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit did to one file."""

    path: str
    status: str
    """`added`, `modified`, `removed` or `renamed`."""
    previous_path: str = ""
    additions: int = 0
    deletions: int = 0
    binary: bool = False
    patch: bytes = b""


def read_patches(diff: bytes) -> Iterator[FilePatch]:
    """Yield the files of a diff in its order. What does not look like one is skipped."""
    # A bare carriage return is part of a line: what follows it must not pass for the head of a file.
    lines = [line + b"\n" for line in diff.removesuffix(b"\n").split(b"\n")]
    starts = [index for index, line in enumerate(lines) if line.startswith(b"diff --git ")]
    for start, end in itertools.pairwise([*starts, len(lines)]):
        found = _file(lines[start:end])
        if found is not None:
            yield found


def _file(lines: list[bytes]) -> FilePatch | None:
    status, old, new, binary = "modified", b"", b"", False
    body = next((index for index, line in enumerate(lines) if line.startswith(b"@@")), len(lines))
    for line in lines[1:body]:
        word = line.rstrip(b"\r\n")
        if word.startswith(b"new file mode"):
            status = "added"
        elif word.startswith(b"deleted file mode"):
            status = "removed"
        elif word.startswith(b"rename from "):
            status, old = "renamed", _name(word[len(b"rename from ") :])
        elif word.startswith(b"rename to "):
            new = _name(word[len(b"rename to ") :])
        elif word.startswith(b"--- ") and word != b"--- /dev/null":
            old = _side(word[4:])
        elif word.startswith(b"+++ ") and word != b"+++ /dev/null":
            new = _side(word[4:])
        elif word.startswith((b"Binary files ", b"GIT binary patch")):
            binary = True
    path = new or old or _from_header(lines[0])
    if not path:
        return None
    hunks = [line for line in lines[body:] if line[:1] in (b"+", b"-")]
    patch = b"".join(lines)
    return FilePatch(
        path=_shown(path),
        status=status,
        previous_path=_shown(old) if status == "renamed" else "",
        additions=sum(line.startswith(b"+") for line in hunks),
        deletions=sum(line.startswith(b"-") for line in hunks),
        binary=binary,
        patch=patch if len(patch) <= MAX_PATCH else patch[:MAX_PATCH].rpartition(b"\n")[0] + b"\n" + _CUT,
    )


def _from_header(line: bytes) -> bytes:
    """Return the name of a header whose file has no other line with it: a new mode, an empty or a binary file."""
    names = line.rstrip(b"\r\n")[len(b"diff --git ") :]
    if names.startswith(b'"'):
        return _side(names[names.rfind(b' "') + 1 :])
    half = (len(names) - 1) // 2
    left, right = names[:half], names[half + 1 :]
    return right[2:] if left[2:] == right[2:] else right.rpartition(b" b/")[2]


def _side(text: bytes) -> bytes:
    """Return a name without the letter of its side."""
    return _name(text.rstrip(b"\t"))[2:]


def _name(text: bytes) -> bytes:
    """Return a name without the quotes and escapes that git puts around odd ones."""
    if len(text) < 2 or not (text.startswith(b'"') and text.endswith(b'"')):
        return text
    return _ESCAPE.sub(_unescaped, text[1:-1])


def _unescaped(match: "re.Match[bytes]") -> bytes:
    code = match[1]
    return _ESCAPES[code] if code in _ESCAPES else bytes([int(code, 8) & 0xFF])


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "replace").replace("\0", "\ufffd")
