"""The clock. Owns how time is read and written; no other module calls `datetime.now` or `time.time`.

Wall-clock times are aware datetimes in UTC; durations come from the monotonic clock.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Now = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the current time as an aware datetime in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds from an arbitrary start that never jumps; only differences mean something."""
    return time.monotonic()


def unix_micros(moment: datetime) -> int:
    """Return whole microseconds since 1970 of an aware datetime, the form the database keeps."""
    if moment.tzinfo is None:
        raise ValueError("a naive datetime has no place on the time line")
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_unix_micros(value: int) -> datetime:
    """Return the aware UTC datetime for microseconds since 1970."""
    seconds, micros = divmod(value, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def rfc3339(moment: datetime) -> str:
    """Write a moment as RFC 3339 in UTC with microseconds and a `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
