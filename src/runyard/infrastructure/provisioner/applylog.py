"""What an apply with `-json` prints, as people read it. Owns the way from its lines to text; keeps the lines too.

Only the published fields are read (`@message`, `diagnostic`, `outputs`); a line that is no JSON passes as it is.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Final

LONGEST_LINE: Final = 1 << 20
_KEPT: Final = frozenset(
    {"apply_start", "apply_complete", "apply_errored", "apply_progress", "change_summary"}
)


class ApplyLines:
    """Takes bytes as they come and gives text, line by line."""

    def __init__(self, say: Callable[[bytes], object], kept: IO[bytes], limit: int) -> None:
        """Write text with `say`; keep the lines that tell of resources, at most `limit` bytes of them."""
        self._say = say
        self._kept = kept
        self._left = limit
        self._rest = bytearray()

    def write(self, data: bytes) -> int:
        """Take some bytes."""
        self._rest += data
        *lines, last = self._rest.split(b"\n")
        self._rest = bytearray(last)
        for line in lines:
            self._take(bytes(line))
        if len(self._rest) > LONGEST_LINE:
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Take what has no line end yet."""
        if self._rest:
            line, self._rest = bytes(self._rest), bytearray()
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            message: Any = json.loads(line)
        except (ValueError, RecursionError):  # an error here would end the apply in its middle
            message = None
        if not isinstance(message, dict) or "@message" not in message:
            self._say(line + b"\n")
            return
        if message.get("type") in _KEPT and len(line) < self._left:
            self._left -= len(line) + 1
            self._kept.write(line + b"\n")
        for text in shown(message):
            self._say(f"{text}\n".encode("utf-8", "replace"))


def shown(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of text of one message."""
    kind = message.get("type")
    if kind == "version":
        return
    diagnostic = message.get("diagnostic")
    if isinstance(diagnostic, Mapping):
        yield from _diagnostic(diagnostic)
        return
    outputs = message.get("outputs")
    yield str(message.get("@message", ""))
    if isinstance(outputs, Mapping):
        for name, output in outputs.items():
            if isinstance(output, Mapping) and "value" in output:
                # As it is: a secret that was written in escapes would not be recognised and masked.
                value = json.dumps(output["value"], ensure_ascii=False)
                yield f"  {name} = {'(sensitive value)' if output.get('sensitive') else value}"


def _diagnostic(diagnostic: Mapping[str, Any]) -> Iterator[str]:
    severity = str(diagnostic.get("severity", "error")).capitalize()
    yield f"{severity}: {diagnostic.get('summary', '')}"
    if diagnostic.get("address"):
        yield f"  with {diagnostic['address']}"
    place = diagnostic.get("range")
    if isinstance(place, Mapping) and isinstance(place.get("start"), Mapping):
        yield f"  on {place.get('filename', '')} line {place['start'].get('line', '')}"
    for line in str(diagnostic.get("detail", "")).splitlines():
        yield f"  {line}"
