"""Handlers of tokens and of the caller itself."""

import secrets
from datetime import timedelta

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call
from runyard.identity.minting import NewToken
from runyard.identity.model import Permission, Token
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import TokenId
from runyard.server.house import House
from runyard.server.native.identitywire import MadeTokenOut, TokenIn, TokenOut, WhoOut
from runyard.server.native.replies import send_json, send_nothing
from runyard.server.native.wire import Listed

_token = msgspec.json.Decoder(TokenIn)
_LONGEST = 10 * 366 * 86_400


class TokenHandlers:
    """Credentials of the caller's account."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._identity = house.identity
        self._tenancy = house.environments.tenancy

    async def who(self, call: Call) -> None:
        """Tell who the caller is."""
        caller = call.caller
        await send_json(
            call,
            WhoOut(
                user=caller.user_name,
                account_id=caller.scope.account_id,
                project_id=caller.scope.project_id,
                scopes=sorted(caller.permissions),
            ),
        )

    async def listing(self, call: Call) -> None:
        """List tokens, the newest first, without their secrets."""
        values = reading.query(call)
        limit = reading.integer(values, "limit", 50, 1, 1000)
        page = await self._identity.list_tokens(call.caller, limit, values.get("cursor") or None)
        await send_json(
            call, Listed(items=[token_view(one) for one in page.items], next_cursor=page.next_cursor)
        )

    async def create(self, call: Call) -> None:
        """Make a token; the answer is the only place where its secret is ever shown."""
        body = await reading.read_json(call, _token)
        project = (
            None if body.project is None else await self._identity.find_project(call.caller, body.project)
        )
        new = NewToken(
            name=body.name,
            permissions=frozenset(reading.words(body.scopes, "scope", Permission)) or call.caller.permissions,
            project_id=None if project is None else project.id,
            expires_in=_lifetime(body.expires_in_secs),
            user_name=body.user,
            secret=await self._harness_secret(call) if body.shape == "harness" else None,
        )
        token, secret = await self._identity.create_token(call.caller, new)
        await send_json(call, MadeTokenOut(secret=secret, token=token_view(token)), status=201)

    async def _harness_secret(self, call: Call) -> str:
        """Make a secret whose second part names the account: clients read it there and refuse others."""
        account = await self._tenancy.account_of(call.caller.scope)
        named = account.slug if "." not in account.slug else account.id
        return f"pat.{named}.{TokenId.new()}.{secrets.token_urlsafe(32)}"

    async def revoke(self, call: Call) -> None:
        """Make a token useless at once."""
        await self._identity.revoke_token(call.caller, call.params["token"])
        await send_nothing(call)


def _lifetime(seconds: int | None) -> timedelta | None:
    if seconds is None:
        return None
    if not 1 <= seconds <= _LONGEST:
        raise InvalidArgument(f"expires_in_secs must be 1 to {_LONGEST}")
    return timedelta(seconds=seconds)


def token_view(one: Token) -> TokenOut:
    """Return a token as the wire has it."""
    return TokenOut(
        id=one.id,
        name=one.name,
        prefix=one.prefix,
        scopes=[item.value for item in one.permissions],
        project=one.project_id,
        user_id=one.user_id,
        created_at=one.created_at,
        expires_at=one.expires_at,
        last_used_at=one.last_used_at,
        revoked_at=one.revoked_at,
    )
