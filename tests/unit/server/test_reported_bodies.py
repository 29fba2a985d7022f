"""Bodies that pipelines report: they come in pieces, and not without end."""

from typing import Any
from unittest.mock import Mock

import pytest

from runyard.dialects.door import Call
from runyard.kernel.errors import TooLarge
from runyard.server.native.infrastructure import _pieces


async def test_body_that_is_reported_ends_at_its_limit() -> None:
    """What is over the limit is refused as soon as it comes, not when the disk is full."""
    asked = 0

    async def receive() -> Any:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"12345", "more_body": True}

    call = Call({"type": "http", "headers": []}, receive, Mock(), {}, "request")
    pieces = _pieces(call, 12)
    assert [await anext(pieces) for _ in range(2)] == [b"12345", b"12345"]
    with pytest.raises(TooLarge):
        await anext(pieces)
    assert asked == 3
