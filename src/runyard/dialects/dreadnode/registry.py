"""The registry on the wire: blobs in and out as streams, manifests, tags. Memory stays flat, whatever the size."""

import re
import secrets
from typing import BinaryIO, Final

from runyard.dialects.door import Answer, Call, send_answer
from runyard.dialects.dreadnode import places, reading
from runyard.dialects.dreadnode.replies import send_json
from runyard.dialects.dreadnode.services import DreadnodeServices
from runyard.dialects.reading import header, pieces, read_body
from runyard.environments.packages.errors import BadPackage
from runyard.environments.packages.model import NAME
from runyard.environments.packages.registry import MANIFEST_TYPE
from runyard.identity.model import Account
from runyard.kernel.errors import InvalidArgument, NotFound

CHUNK: Final = 256 << 10
_OCTETS: Final = "application/octet-stream"
_LENGTH: Final = re.compile(r"[0-9]{1,18}\Z")


class RegistryHandlers:
    """Blobs and manifests."""

    def __init__(self, services: DreadnodeServices) -> None:
        """Take the services."""
        self._registry = services.registry
        self._packages = services.packages
        self._tenancy = services.tenancy

    async def blob(self, call: Call) -> None:
        """Send a blob, or for HEAD tell its size."""
        owner, digest = await self._owner(call), call.params["digest"]
        viewer = call.caller.scope.account_id
        if call.scope["method"] == "HEAD":
            size = await self._registry.stat_blob(viewer, owner, digest)
            await _start(call, size, digest)
            await call.send({"type": "http.response.body", "body": b""})
            return
        source, size = await self._registry.open_blob(viewer, owner, digest)
        with source:
            await _start(call, size, digest)
            await _stream(call, source)

    async def begin(self, call: Call) -> None:
        """Tell where to upload a blob."""
        org, task = (await places.organization(self._tenancy, call)).slug, call.params["task"]
        if not NAME.match(task):
            raise BadPackage("a task's name is kebab-case, such as my-task")
        await self._registry.check_room(call.caller.scope.account_id, 0)
        place = f"/api/v1/{org}/{task}/blobs/uploads/{secrets.token_hex(16)}"
        headers = [(b"location", place.encode()), (b"range", b"0-0")]
        await send_answer(call, Answer(202, b"", None, headers))

    async def upload(self, call: Call) -> None:
        """Take a whole blob, which must have the promised digest."""
        org = (await places.organization(self._tenancy, call)).slug
        digest = reading.one(reading.query(call), "digest")
        if digest is None:
            raise InvalidArgument("digest: field required", loc=["query", "digest"])
        account_id = call.caller.scope.account_id
        declared = header(call, b"content-length") or ""
        await self._registry.check_room(account_id, int(declared) if _LENGTH.match(declared) else 0)
        with self._registry.receive() as incoming:
            await incoming.take(pieces(call), self._registry.limits.package_bytes, "a task package")
            await self._registry.keep(account_id, incoming, digest)
        place = f"/api/v1/{org}/blobs/{digest}".encode()
        await send_answer(
            call, Answer(201, b"", None, [(b"location", place), (b"docker-content-digest", digest.encode())])
        )

    async def put_manifest(self, call: Call) -> None:
        """Take in a version whose blobs are there."""
        org = (await places.organization(self._tenancy, call)).slug
        task, reference = call.params["task"], call.params["reference"]
        digest = await self._registry.put_manifest(call.caller, task, reference, await read_body(call))
        place = f"/api/v1/{org}/{task}/manifests/{reference}".encode()
        headers = [(b"location", place), (b"docker-content-digest", f"sha256:{digest}".encode())]
        await send_answer(call, Answer(201, b"", None, headers))

    async def manifest(self, call: Call) -> None:
        """Send the manifest of a version, of `latest` or of a digest."""
        params = call.params
        raw, digest = await self._packages.by_reference(
            call.caller.scope, params["org"], params["task"], params["reference"]
        )
        headers = [(b"docker-content-digest", f"sha256:{digest}".encode())]
        await send_answer(call, Answer(200, raw, MANIFEST_TYPE, headers))

    async def tags(self, call: Call) -> None:
        """List the versions, the lowest first as registries do."""
        org, task = call.params["org"], call.params["task"]
        found, _ = await self._packages.versions(call.caller.scope, org, task)
        await send_json(call, {"name": f"{org}/{task}", "tags": [str(one) for one in reversed(found)]})

    async def _owner(self, call: Call) -> Account:
        """Return the organization of the path, the caller's own or another one. Raises NotFound."""
        own = await self._tenancy.account_of(call.caller.scope)
        org = call.params["org"]
        other = own if org in (own.slug, own.id) else await self._tenancy.account_named(org)
        if other is None:
            raise NotFound(f"Blob not found: {call.params['digest'][:80]}")
        return other


async def _start(call: Call, size: int, digest: str) -> None:
    headers = [
        (b"x-request-id", call.request_id.encode()),
        (b"content-type", _OCTETS.encode()),
        (b"content-length", str(size).encode()),
        (b"docker-content-digest", digest.encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    call.started = True
    await call.send({"type": "http.response.start", "status": 200, "headers": headers})


async def _stream(call: Call, source: BinaryIO) -> None:
    """Send a file in pieces; one piece is read from the page cache in less time than a thread takes to wake."""
    while piece := source.read(CHUNK):
        await call.send({"type": "http.response.body", "body": piece, "more_body": True})
    await call.send({"type": "http.response.body", "body": b""})
