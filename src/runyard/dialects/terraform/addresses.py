"""Addresses that carry their own permission: where a client sends a state or an archive, or reads a log, without a token.

Owns what such an address holds: what it opens, for what, until when, sealed, so that nobody can make one or change it.
"""

import base64
import binascii
from datetime import timedelta
from enum import StrEnum
from typing import Final

import msgspec

from runyard.dialects.door import Call
from runyard.dialects.reading import header
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.crypto import CannotUnseal, Vault
from runyard.kernel.errors import NotFound
from runyard.kernel.jsons import encode_json

_CONTEXT: Final = b"terraform-address"
BASE: Final = "/api/v2"


class Purpose(StrEnum):
    """What an address is good for."""

    STATE = "state"
    STATE_JSON = "state-json"
    CONFIGURATION = "configuration"
    LOG = "log"


_LIFETIMES: Final = {
    Purpose.STATE: timedelta(hours=1),
    Purpose.STATE_JSON: timedelta(hours=1),
    Purpose.CONFIGURATION: timedelta(hours=1),
    Purpose.LOG: timedelta(days=1),
}


class _Content(msgspec.Struct, array_like=True):
    purpose: str
    subject: str
    until: int
    detail: str = ""


class Addresses:
    """Makes and opens such addresses."""

    def __init__(self, vault: Vault, public_url: str | None, now: Now = utc_now) -> None:
        """Seal with a vault; without a public address, clients come back to where they are."""
        self._vault = vault
        self._public_url = public_url
        self._now = now

    def base(self, call: Call) -> str:
        """Return the address of the server as the caller knows it, without a slash at its end."""
        if self._public_url:
            return self._public_url.rstrip("/")
        host = header(call, b"host") or "localhost"
        return f"{call.scope.get('scheme', 'http')}://{host}"

    def make(self, call: Call, purpose: Purpose, subject: str, detail: str = "") -> str:
        """Return an address for one purpose and subject."""
        until = int((self._now() + _LIFETIMES[purpose]).timestamp())
        content = encode_json(_Content(purpose.value, str(subject), until, detail))
        sealed = base64.urlsafe_b64encode(self._vault.seal(content, _CONTEXT)).rstrip(b"=").decode()
        return f"{self.base(call)}{BASE}/objects/{purpose.value}/{sealed}"

    def open(self, text: str, purpose: Purpose) -> tuple[str, str]:
        """Return subject and detail of an address. Raises NotFound for every one that was not made here, for something
        else, or too long ago.
        """
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            content = msgspec.json.decode(self._vault.open(raw, _CONTEXT), type=_Content)
        except (binascii.Error, ValueError, IndexError, CannotUnseal, msgspec.MsgspecError):
            raise NotFound("there is nothing at this address") from None
        if content.purpose != purpose.value or content.until < self._now().timestamp():
            raise NotFound("there is nothing at this address any more")
        return content.subject, content.detail
