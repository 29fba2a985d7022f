"""Handlers of bases and imported images."""

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call
from runyard.runtimes.isolation.engine import BaseFacts
from runyard.server.house import House
from runyard.server.native.replies import send_json, send_nothing
from runyard.server.native.wire import Listed, NativeImageIn, NativeImageOut

_image = msgspec.json.Decoder(NativeImageIn)


class NativeImageHandlers:
    """What runtimes can be made from."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._images = house.images

    async def listing(self, call: Call) -> None:
        """List all bases."""
        await send_json(call, Listed(items=[self._view(one) for one in self._images.listing()]))

    async def create(self, call: Call) -> None:
        """Import an image; answers when it is unpacked."""
        body = await reading.read_json(call, _image)
        made = await self._images.import_layout(call.caller, body.name, body.path)
        await send_json(call, self._view(made), status=201)

    async def delete(self, call: Call) -> None:
        """Remove an image."""
        await self._images.remove(call.caller, call.params["image"])
        await send_nothing(call)

    def _view(self, base: BaseFacts) -> NativeImageOut:
        return NativeImageOut(
            name=base.name,
            kind=base.kind.value,
            digest=base.digest,
            created_at=base.created_at,
            size_bytes=base.size_bytes,
            default=base.name == self._images.default_base,
        )
