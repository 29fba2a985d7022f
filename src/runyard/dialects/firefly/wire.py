"""What all requests and answers of the dialect share, and the smallest of them. The others are beside it by noun.

A member that may be null or left out has a default; UNSET tells "left out" from null where that makes a difference.
"""

from typing import Any, TypeAlias

import msgspec
from msgspec import UnsetType

Text: TypeAlias = str | None
Texts: TypeAlias = list[str] | None
MaybeText: TypeAlias = str | UnsetType | None
MaybeTexts: TypeAlias = list[str] | UnsetType | None


class Camel(msgspec.Struct, rename="camel", kw_only=True):
    """Members in the dialect's spelling."""


class LoginIn(Camel):
    """A key pair."""

    access_key: str
    secret_key: str


class LoginOut(Camel):
    """A token and its end."""

    access_token: str
    expires_at: int
    """Seconds since 1970."""
    token_type: str


class StatusOut(Camel):
    """That it was done."""

    status: int


class SearchIn(Camel):
    """What to look for."""

    projection: Texts = None
    """Members to keep of each item; its id stays anyway."""
    search_value: Text = None
    """Part of any member that is searched, case ignored."""
    sort: Any = None
    """One object, or an array of objects, of members with `{"order": 1}` or `{"order": -1}`."""
