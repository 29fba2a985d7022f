"""Handlers of checkpoints, secrets, images and the caller itself."""

import platform

import msgspec

from runyard.dialects.door import Call
from runyard.dialects.runta import reading
from runyard.dialects.runta.replies import EMPTY, send_body, send_json, send_nothing
from runyard.dialects.runta.services import RuntaServices
from runyard.dialects.runta.views import (
    BothPagings,
    Cursors,
    Enveloped,
    Listed,
    ListedV1,
    checkpoint_view,
    image_view,
    secret_view,
)
from runyard.dialects.runta.wire import CheckpointIn, SecretPut, SecretV1, SecretV2
from runyard.runtimes.model import CheckpointKind

_checkpoint = msgspec.json.Decoder(CheckpointIn)
_secret_v1 = msgspec.json.Decoder(SecretV1)
_secret_v2 = msgspec.json.Decoder(SecretV2)
_secret_put = msgspec.json.Decoder(SecretPut)


class CheckpointHandlers:
    """Create, list, get, delete."""

    def __init__(self, services: RuntaServices) -> None:
        """Take the services."""
        self._runtimes = services.runtimes
        self._checkpoints = services.checkpoints

    async def create(self, call: Call) -> None:
        """Begin a checkpoint of a runtime."""
        by_name = "runtime" in call.params
        reference = call.params["runtime"] if by_name else call.params["runtime_id"]
        resident = await self._runtimes.resident(call.caller.scope, reference, names=by_name)
        body = await reading.read_optional_json(call, _checkpoint)
        kind = CheckpointKind(body.kind or "full")
        checkpoint = await self._checkpoints.create(call.caller, resident, kind, body.name)
        await send_json(call, Enveloped(checkpoint_view(checkpoint)))

    async def list_v1(self, call: Call) -> None:
        """List; without a limit old clients expect everything in one page."""
        values = reading.query(call)
        limit = reading.integer(values, "limit", reading.V1_PAGE_LIMIT, 1, reading.V1_PAGE_LIMIT)
        page = await self._checkpoints.page(call.caller.scope, limit, reading.cursor(values))
        views = [checkpoint_view(item) for item in page.items]
        pagination = BothPagings(
            page.next_cursor, page.has_more, limit=limit, offset=0, total=len(views), next_offset=None
        )
        await send_json(call, ListedV1(views, pagination))

    async def list_v2(self, call: Call) -> None:
        """List with cursor paging."""
        values = reading.query(call)
        limit = reading.integer(values, "limit", 50, 1, reading.PAGE_LIMIT)
        page = await self._checkpoints.page(call.caller.scope, limit, reading.cursor(values))
        views = [checkpoint_view(item) for item in page.items]
        await send_json(call, Listed(views, Cursors(page.next_cursor, page.has_more)))

    async def get(self, call: Call) -> None:
        """Get by id or name."""
        checkpoint = await self._checkpoints.get(call.caller.scope, call.params["checkpoint"])
        await send_json(call, Enveloped(checkpoint_view(checkpoint)))

    async def delete(self, call: Call) -> None:
        """Delete by id or name."""
        await self._checkpoints.delete(call.caller, call.params["checkpoint"])
        await send_body(call, EMPTY)


class SecretHandlers:
    """Create, set, list, get, delete; never a value."""

    def __init__(self, services: RuntaServices) -> None:
        """Take the services."""
        self._secrets = services.secrets

    async def listing(self, call: Call) -> None:
        """List all."""
        found = await self._secrets.listing(call.caller.scope)
        await send_json(call, Enveloped([secret_view(item) for item in found]))

    async def create_v1(self, call: Call) -> None:
        """Create; 409 when the name is taken."""
        body = await reading.read_json(call, _secret_v1)
        await self._create(call, body.name, body.value, body.cache_ttl_secs)

    async def create_v2(self, call: Call) -> None:
        """Create; 409 when the name is taken."""
        body = await reading.read_json(call, _secret_v2)
        await self._create(call, body.name, body.value, body.cache_ttl_secs)

    async def _create(self, call: Call, name: str, value: str, ttl: int | None) -> None:
        secret = await self._secrets.create(call.caller, name, value, ttl or 0)
        await send_json(call, Enveloped(secret_view(secret)))

    async def put(self, call: Call) -> None:
        """Create or replace by name, or replace by id."""
        body = await reading.read_json(call, _secret_put)
        secret = await self._secrets.put(
            call.caller, call.params["secret"], body.value, body.cache_ttl_secs or 0
        )
        await send_json(call, Enveloped(secret_view(secret)))

    async def get(self, call: Call) -> None:
        """Get by id or name."""
        secret = await self._secrets.get(call.caller.scope, call.params["secret"])
        await send_json(call, Enveloped(secret_view(secret)))

    async def delete(self, call: Call) -> None:
        """Delete by id or name."""
        await self._secrets.delete(call.caller, call.params["secret"])
        await send_body(call, EMPTY)


class AccountHandlers:
    """Images, the caller, its token."""

    def __init__(self, services: RuntaServices) -> None:
        """Take the services."""
        self._runtimes = services.runtimes
        self._identity = services.identity

    async def images(self, call: Call) -> None:
        """List the bases that runtimes can be made from."""
        machine = platform.machine()
        views = [
            image_view(base, machine, is_default=default) for base, default in self._runtimes.images().items()
        ]
        await send_json(call, Enveloped(views))

    async def me(self, call: Call) -> None:
        """Tell who the caller is."""
        caller = call.caller
        document = {
            "id": caller.user_id,
            "name": caller.user_name,
            "display_name": caller.user_name,
            "organization_id": caller.scope.account_id,
        }
        await send_json(call, Enveloped(document))

    async def revoke_token(self, call: Call) -> None:
        """Revoke the caller's own token; 204."""
        token_id = call.caller.token_id
        if token_id is not None:
            await self._identity.revoke_token(call.caller, token_id)
        await send_nothing(call)
