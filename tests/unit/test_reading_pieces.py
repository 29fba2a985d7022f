"""Bodies that come in pieces: not without end, and not from somebody who left."""

from collections.abc import Iterable, Mapping
from typing import Any
from unittest.mock import Mock

import pytest

from runyard.dialects import reading
from runyard.dialects.door import Call, ClientGone
from runyard.kernel.errors import TooLarge


def asked(messages: Iterable[Mapping[str, Any]], *headers: tuple[bytes, bytes]) -> tuple[Call, list[None]]:
    """Return a call whose client sends these messages, and a list that grows with each that was asked for."""
    left, count = iter(messages), list[None]()

    async def receive() -> Any:
        count.append(None)
        return next(left)

    return Call({"type": "http", "headers": headers}, receive, Mock(), {}, "request"), count


def piece(body: bytes, *, more: bool = True) -> Mapping[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_pieces_beyond_the_limit_are_refused_as_soon_as_they_come() -> None:
    call, count = asked([piece(b"12345")] * 9)
    pieces = reading.pieces(call, 12)
    assert [await anext(pieces) for _ in range(2)] == [b"12345", b"12345"]
    with pytest.raises(TooLarge):
        await anext(pieces)
    assert len(count) == 3


async def test_pieces_of_a_declared_length_beyond_the_limit_are_not_even_asked_for() -> None:
    call, count = asked([piece(b"12345")], (b"content-length", b"13"))
    with pytest.raises(TooLarge):
        await anext(reading.pieces(call, 12))
    assert count == []


async def test_pieces_without_a_limit_come_to_the_end_without_empty_ones() -> None:
    call, _ = asked([piece(b"a"), piece(b""), piece(b"b", more=False)])
    assert [one async for one in reading.pieces(call)] == [b"a", b"b"]


async def test_pieces_of_a_client_that_leaves_end_with_that() -> None:
    call, _ = asked([piece(b"a"), {"type": "http.disconnect"}])
    pieces = reading.pieces(call)
    assert await anext(pieces) == b"a"
    with pytest.raises(ClientGone):
        await anext(pieces)
