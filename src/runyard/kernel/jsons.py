"""JSON on its way out. Owns the one encoder: typed ids are texts, which msgspec refuses to see in a subclass of `str`."""

from typing import Any

import msgspec


def _plain(value: object) -> object:
    """Encode typed ids, which are texts of their own kinds."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is no JSON")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def encode_json(document: object) -> bytes:
    """Return a document as compact JSON in UTF-8."""
    return _encoder.encode(document)


def encode_canonical(document: object) -> bytes:
    """Return a document as compact JSON with sorted members: equal documents are equal bytes."""
    return msgspec.json.encode(document, enc_hook=_plain, order="deterministic")


def builtins_of(document: object) -> Any:  # noqa: ANN401  whatever the document is made of
    """Return a document as plain dictionaries, lists and texts."""
    return msgspec.to_builtins(document, enc_hook=_plain)
