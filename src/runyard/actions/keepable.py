"""What can be kept. Owns the check of values from outside against what every database and every client can hold.

Halves of surrogate pairs and infinite numbers have no place in JSON as it is stored here, and PostgreSQL holds no NUL.
"""

import re
from typing import Final

import msgspec

from runyard.actions.values import Json
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.jsons import encode_json

_NUL: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def read(body: bytes) -> Json:
    """Parse JSON that can be kept. Raises ValueError with the reason."""
    try:
        value = msgspec.json.decode(body)
        encoded = encode_json(value)
    except (msgspec.DecodeError, UnicodeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
    if _NUL.search(encoded):
        raise ValueError("a text contains a NUL character")
    return value


def cleaned(value: Json) -> Json:
    """Return a value with replacement characters in place of NULs. Raises InvalidArgument when it cannot be kept."""
    try:
        encoded = encode_json(value)
    except (TypeError, UnicodeError, OverflowError, RecursionError) as error:
        raise InvalidArgument(f"the value cannot be kept: {error}") from None
    if b"\\u0000" not in encoded:
        return value
    return msgspec.json.decode(_NUL.sub(rb"\1\\ufffd", encoded))
