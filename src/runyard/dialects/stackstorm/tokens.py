"""Tokens, the caller, and API keys."""

import dataclasses
import secrets
from datetime import timedelta
from typing import Any, Final

from runyard.actions.apikeys import ApiKey
from runyard.actions.masking import mask_api_key
from runyard.actions.runs.service import require_self
from runyard.dialects.door import Call
from runyard.dialects.stackstorm import granting, reading
from runyard.dialects.stackstorm.replies import send_json, send_list, send_nothing, time_of
from runyard.dialects.stackstorm.services import StackStormServices
from runyard.identity.model import Permission, Principal, Token
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated

MAX_TTL: Final = 86_400
_NEVER: Final = "9999-12-31T23:59:59.999999Z"
"""The client cannot read an answer about a token without an end."""
_WRONG: Final = "Invalid or missing credentials"


class TokenHandlers:
    """Who the caller is and how it proves that."""

    def __init__(self, services: StackStormServices) -> None:
        """Take the services."""
        self._services = services

    async def create(self, call: Call) -> None:
        """Log in: the user's name and any of its tokens as the password give a token that ends soon."""
        user, password = reading.basic(call.scope)
        try:
            caller = await self._services.identity.authenticate(password)
        except Unauthenticated:
            raise Unauthenticated(_WRONG) from None
        if caller.user_name != user:
            raise Unauthenticated(_WRONG)
        body = await reading.read_object(call)
        ttl = body.get("ttl", MAX_TTL)
        if ttl is None:
            ttl = MAX_TTL
        if not isinstance(ttl, int) or isinstance(ttl, bool):
            raise InvalidArgument(f"{ttl!r} is not of type 'integer'")
        if ttl < 1:
            raise InvalidArgument(f"{ttl} is less than the minimum of 1")
        if ttl > MAX_TTL:
            raise InvalidArgument(f"TTL specified {ttl} is greater than max allowed {MAX_TTL}.")
        if body.get("user") not in (None, user) or body.get("impersonate_user"):
            raise InvalidArgument("The application is not authorized to generate a token for another user.")
        secret = secrets.token_hex(16)
        token = await self._services.identity.log_in(caller, secret, timedelta(seconds=ttl))
        headers = [(b"x-api-url", _base(call).encode())]
        await send_json(call, _token_view(token, user, secret), 201, headers)

    async def validate(self, call: Call) -> None:
        """Tell whether a token is valid."""
        token = (await reading.read_object(call)).get("token")
        if not isinstance(token, str):
            raise InvalidArgument("'token' is a required property")
        try:
            await self._services.identity.authenticate(token)
        except Unauthenticated:
            await send_json(call, {"valid": False})
            return
        await send_json(call, {"valid": True})

    async def user(self, call: Call) -> None:
        """Tell who the caller is."""
        method, place, _ = reading.found_credential(call.scope)
        how: dict[str, Any] = {"method": method, "location": place}
        token = await self._services.identity.token_of(call.caller)
        if method != "API key":
            expires = token.expires_at if token is not None else None
            how["token_expire"] = time_of(expires) if expires is not None else _NEVER
        access = granting.access_of(call)
        rbac = {"enabled": access.enforced, "roles": list(access.roles), "is_admin": access.is_admin}
        await send_json(call, {"username": call.caller.user_name, "authentication": how, "rbac": rbac})


class ApiKeyHandlers:
    """API keys."""

    def __init__(self, services: StackStormServices) -> None:
        """Take the services."""
        self._keys = services.api_keys

    async def list(self, call: Call) -> None:
        """List API keys."""
        values = reading.query(call)
        offset, limit = reading.paging(call, values, 50)
        user = values.get("user")
        if not reading.is_admin(call):
            if user not in (None, "", call.caller.user_name):
                raise PermissionDenied('"user" attribute can only be provided by admins')
            user = call.caller.user_name
        found, total = await self._keys.list(call.caller, user or None, offset, limit)
        shown = reading.shows_secrets(call, values)
        await send_list(call, [_key_view(one, secrets=shown) for one in found], total, limit)

    async def get(self, call: Call) -> None:
        """Get one by its id or the key itself."""
        found = await self._found(call, "api_key_view")
        shown = reading.shows_secrets(call, reading.query(call))
        await send_json(call, _key_view(found, secrets=shown))

    async def create(self, call: Call) -> None:
        """Make one; its secret is in this answer only."""
        body = await reading.read_object(call)
        metadata = body.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise InvalidArgument(f"{metadata!r} is not of type 'object'")
        enabled = body.get("enabled", True) is not False
        if body.get("key_hash"):
            # A key that nobody has the secret of would look like the loaded one and not work.
            raise InvalidArgument("An API key cannot be loaded by its hash: Runyard keeps another one.")
        user = reading.optional_text(body, "user")
        # A role must not be a way to a key of somebody who may do more elsewhere.
        require_self(call.caller, user, call.caller.may(Permission.ADMIN))
        try:
            made, secret = await self._keys.create(acting(call), metadata, user, enabled=enabled)
        except NotFound as error:
            raise InvalidArgument(f"The API key cannot be made: {error.message}.") from None
        await send_json(call, {**_key_view(made, secrets=False), "key": secret}, 201)

    async def update(self, call: Call) -> None:
        """Change metadata or switch it on or off."""
        body = await reading.read_object(call)
        known = await self._found(call, "api_key_modify")
        metadata = body.get("metadata", dict(known.metadata))
        if not isinstance(metadata, dict):
            raise InvalidArgument(f"{metadata!r} is not of type 'object'")
        enabled = bool(body.get("enabled", known.enabled))
        changed = await self._keys.change(acting(call), known.id, metadata, enabled=enabled)
        await send_json(call, _key_view(changed, secrets=False))

    async def delete(self, call: Call) -> None:
        """End one."""
        known = await self._found(call, "api_key_delete")
        await self._keys.delete(acting(call), known.id)
        await send_nothing(call)

    async def _found(self, call: Call, permission: str) -> ApiKey:
        """Find a key; those of others are for administrators. Raises NotFound, PermissionDenied."""
        found = await self._keys.get(call.caller, call.params["key"])
        granting.require(call, permission, f"api_key:{found.key_hash}")
        if found.user != call.caller.user_name and not reading.is_admin(call):
            raise NotFound(f"ApiKey matching {call.params['key']} for reference and id not found.")
        return found


def acting(call: Call) -> Principal:
    """Return the caller as one who manages the own tokens: roles have allowed it, so the membership is not asked."""
    caller = call.caller
    if not granting.access_of(call).enforced or caller.may(Permission.ADMIN):
        return caller
    allowed = caller.scopes | {Permission.TOKENS_MANAGE}
    return dataclasses.replace(caller, permissions=allowed)


def _base(call: Call) -> str:
    return f"http://{reading.header(call, b'host') or 'localhost'}/v1"


def _token_view(token: Token, user: str, secret: str) -> dict[str, Any]:
    return {
        "id": token.id,
        "user": user,
        "token": secret,
        "expiry": time_of(token.expires_at or token.created_at),
        "metadata": {},
        "service": False,
    }


def _key_view(key: ApiKey, *, secrets: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": key.id,
        "uid": f"api_key:{key.key_hash}",
        "user": key.user,
        "key_hash": key.key_hash,
        "metadata": dict(key.metadata),
        "enabled": key.enabled,
        "created_at": time_of(key.created_at),
    }
    return shown if secrets else mask_api_key(shown)
