"""Masking of secrets in a stream of bytes. Owns what is masked and when a byte may be let go.

Rules. A value shorter than `MIN_SECRET_BYTES` is not masked: it would tear holes into every output and tell more
than it hides. A value of several lines is masked as a whole and line by line, because terminals and `sed` change
line ends; lines shorter than `MIN_LINE_BYTES` are not masked alone. Occurrences that overlap become one mask.
A secret that is torn between stdout and stderr, or encoded by the command, cannot be seen.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

MIN_SECRET_BYTES: Final = 4
MIN_LINE_BYTES: Final = 8
MASK: Final = b"[masked]"
_PROBE: Final = 4
"""Leading bytes by which a begun secret is looked for."""

Bytes = bytes | bytearray | memoryview


def needles(secrets: Iterable[bytes]) -> Sequence[bytes]:
    """Return the byte strings to mask for some secret values, each once, longest first."""
    found: set[bytes] = set()
    for secret in secrets:
        for value in (secret, secret.strip(b"\r\n")):
            if len(value) >= MIN_SECRET_BYTES:
                found.add(value)
        lines = [line.strip() for line in secret.splitlines()]
        if len(lines) > 1:
            found.update(line for line in lines if len(line) >= MIN_LINE_BYTES)
    return sorted(found, key=lambda value: (-len(value), value))


def mask_bytes(data: bytes, secrets: Iterable[bytes]) -> bytes:
    """Return a whole value with the secrets masked."""
    redactor = Redactor(needles(secrets))
    return redactor.feed(data) + redactor.finish()


def mask_text(text: str, secrets: Iterable[bytes]) -> str:
    """Return a text with the secrets masked, for commands, names, parameters and messages that are kept."""
    if not text:
        return text
    raw = text.encode("utf-8", "surrogateescape")
    masked = mask_bytes(raw, secrets)
    return text if masked == raw else masked.decode("utf-8", "replace")


def mask_document(value: Any, secrets: Sequence[bytes]) -> Any:  # noqa: ANN401  any JSON document
    """Return a JSON document with the secrets masked in every text of it, names of fields included."""
    match value:
        case str():
            return mask_text(value, secrets)
        case Mapping():
            return {
                mask_text(str(name), secrets): mask_document(inner, secrets) for name, inner in value.items()
            }
        case list() | tuple():
            return [mask_document(inner, secrets) for inner in value]
    return value


class Redactor:
    """Masks one stream. Bytes that may be the start of a secret are withheld until more come or the stream ends.

    What comes out, put together, is what masking the whole stream at once would give, wherever it was cut.
    It never holds more than the longest needle.
    """

    __slots__ = ("_carry", "_covered", "_needles")

    def __init__(self, needles: Sequence[bytes]) -> None:
        """Mask these byte strings (see `needles`)."""
        self._needles = tuple(needles)
        self._carry = b""
        self._covered = 0
        """Bytes at the begin of the carry that an issued mask stands for; kept because a match may begin there."""

    def feed(self, data: Bytes) -> bytes:
        """Take bytes and return those that are decided now, masked."""
        buffer = self._carry + bytes(data) if self._carry else bytes(data)
        out, self._carry, self._covered = self._decide(buffer, self._undecided(buffer))
        return out

    def finish(self) -> bytes:
        """Return what was withheld: the stream has ended."""
        out, self._carry, self._covered = self._decide(self._carry, len(self._carry))
        return out

    def _decide(self, buffer: bytes, until: int) -> tuple[bytes, bytes, int]:
        """Mask `buffer[:until]`; return it, the rest, and how much of the rest is masked already."""
        intervals = self._intervals(buffer)
        if not intervals and not self._covered:
            return (buffer, b"", 0) if until == len(buffer) else (buffer[:until], buffer[until:], 0)
        parts: list[bytes] = []
        position = self._covered
        for start, end in intervals:
            if start >= until and start >= position:
                break
            if start >= position:
                parts += (buffer[position:start], MASK)
            position = max(position, end)
        if position < until:
            parts.append(buffer[position:until])
        return b"".join(parts), buffer[until:], max(0, position - until)

    def _intervals(self, buffer: bytes) -> list[tuple[int, int]]:
        """Find all occurrences, merged per needle where they overlap themselves, in order of their start."""
        found: list[tuple[int, int]] = []
        for needle in self._needles:
            size = len(needle)
            start = buffer.find(needle)
            while start >= 0:
                end = start + size
                # The last occurrence that begins inside reaches furthest; the ones between are covered by both.
                while (later := buffer.rfind(needle, end - size + 1, end + size - 1)) >= 0:
                    end = later + size
                found.append((start, end))
                start = buffer.find(needle, end)
        if len(self._needles) > 1:
            found.sort()
        return found

    def _undecided(self, buffer: bytes) -> int:
        """Return where the longest unfinished secret at the end begins: bytes before it are decided."""
        length = len(buffer)
        earliest = length
        for needle in self._needles:
            floor = max(0, length - len(needle) + 1)
            if floor < earliest:
                earliest = min(earliest, _begun(buffer, needle, floor))
        return earliest


def _begun(buffer: bytes, needle: bytes, floor: int) -> int:
    """Return the first position from `floor` on where the buffer ends with a begin of the needle."""
    length = len(buffer)
    probe = needle[:_PROBE]
    position = buffer.find(probe, floor)
    while position >= 0:
        if needle.startswith(buffer[position:]):
            return position
        position = buffer.find(probe, position + 1)
    for position in range(max(floor, length - _PROBE + 1), length):
        if needle.startswith(buffer[position:]):
            return position
    return length
