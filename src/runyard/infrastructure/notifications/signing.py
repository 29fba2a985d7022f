"""The signature of a webhook. Owns its form; pure.

`X-Runyard-Signature: t=<seconds since 1970>,v1=<hex>`, where the hex is HMAC-SHA256 with the notification's key over the
seconds, a dot and the body. A receiver computes the same, compares in constant time, and refuses what is older than minutes.
"""

import hashlib
import hmac
from datetime import datetime

HEADER = "X-Runyard-Signature"


def signature(key: bytes, at: datetime, body: bytes) -> str:
    """Return the value of the header."""
    seconds = int(at.timestamp())
    return f"t={seconds},v1={_digest(key, seconds, body)}"


def verify(key: bytes, header: str, body: bytes, now: datetime, tolerance_seconds: int = 300) -> bool:
    """Tell whether a header is right for a body and not too old; for receivers in Python, and for tests."""
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    if not parts.get("t", "").isdigit():
        return False
    seconds = int(parts["t"])
    fresh = abs(int(now.timestamp()) - seconds) <= tolerance_seconds
    return hmac.compare_digest(_digest(key, seconds, body), parts.get("v1", "")) and fresh


def _digest(key: bytes, seconds: int, body: bytes) -> str:
    return hmac.new(key, str(seconds).encode() + b"." + body, hashlib.sha256).hexdigest()
