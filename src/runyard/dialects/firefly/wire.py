"""The shapes of requests and answers. Owns names and types of the dialect's members; computes nothing."""

import msgspec


class LoginIn(msgspec.Struct, rename="camel"):
    """A key pair."""

    access_key: str
    secret_key: str


class LoginOut(msgspec.Struct, rename="camel"):
    """A token and its end."""

    access_token: str
    expires_at: int
    """Seconds since 1970."""
    token_type: str
