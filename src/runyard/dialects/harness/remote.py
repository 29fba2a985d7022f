"""Remote executions on the wire: create, show, upload, execute, download."""

from collections.abc import Mapping
from typing import Final

import msgspec

from runyard.dialects.door import Call
from runyard.dialects.harness.reading import Reader, Where
from runyard.dialects.harness.replies import millis, send_json
from runyard.dialects.harness.services import HarnessServices
from runyard.dialects.harness.views import default_pipeline
from runyard.dialects.reading import header, pieces, read_optional_json
from runyard.infrastructure.remote.errors import NoDefaultPipeline, RemoteExecutionNotFound
from runyard.infrastructure.remote.model import RemoteExecution, read_digest
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import RemoteExecutionId

_PIECE: Final = 1 << 20


class CreateRemoteExecution(msgspec.Struct):
    """What a plan of local code is to be."""

    custom_arguments: Mapping[str, list[str]] | None = None


class RemoteExecutionView(msgspec.Struct):
    """A remote execution."""

    id: str
    account: str
    org: str
    project: str
    workspace: str
    created: int
    updated: int
    custom_arguments: Mapping[str, list[str]]
    executed: bool
    sha256_checksum: str
    pipeline_execution_id: str
    pipeline_execution_url: str


_create: Final = msgspec.json.Decoder(CreateRemoteExecution)


class RemoteHandlers:
    """Remote executions."""

    def __init__(self, services: HarnessServices, reader: Reader) -> None:
        """Take the services."""
        self._remote = services.remote
        self._public_url = services.public_url
        self._reader = reader

    async def create(self, call: Call) -> None:
        """Make one."""
        where, workspace = await self._reader.workspace(call)
        body = await read_optional_json(call, _create)
        common = await self._reader.common_pipelines(where, workspace)
        if default_pipeline(workspace, "plan", common) is None:
            raise NoDefaultPipeline(
                f"workspace {workspace.identifier} has no default pipeline for plans; set default_pipelines.plan"
            )
        made = await self._remote.create(call.caller, workspace, body.custom_arguments or {})
        await send_json(call, self._view(call, where, workspace, made), 201)

    async def show(self, call: Call) -> None:
        """Show one."""
        where, workspace, remote = await self._found(call)
        await send_json(call, self._view(call, where, workspace, remote))

    async def upload(self, call: Call) -> None:
        """Take its source."""
        where, workspace, remote = await self._found(call)
        digest = read_digest(header(call, b"content-digest"))
        remote = await self._remote.upload(call.caller, remote, digest, pieces(call))
        await send_json(call, self._view(call, where, workspace, remote))

    async def execute(self, call: Call) -> None:
        """Begin its plan, once."""
        where, workspace, remote = await self._found(call)
        remote = await self._remote.execute(call.caller, workspace, remote)
        await send_json(call, self._view(call, where, workspace, remote))

    async def download(self, call: Call) -> None:
        """Send its source as it came."""
        _, _, remote = await self._found(call)
        with await self._remote.source(remote) as source:
            call.started = True
            headers = [
                (b"x-request-id", call.request_id.encode()),
                (b"content-type", b"application/octet-stream"),
                (b"content-length", str(remote.size_bytes).encode()),
                (b"content-digest", f"sha256={remote.checksum}".encode()),
            ]
            await call.send({"type": "http.response.start", "status": 200, "headers": headers})
            while piece := source.read(_PIECE):
                await call.send({"type": "http.response.body", "body": piece, "more_body": True})
            await call.send({"type": "http.response.body", "body": b""})

    async def _found(self, call: Call) -> tuple[Where, Workspace, RemoteExecution]:
        try:
            remote_id = RemoteExecutionId.parse(call.params["remote"])
        except ValueError:
            raise InvalidArgument("id must be formatted as a UUID") from None
        where, workspace = await self._reader.workspace(call)
        try:
            return where, workspace, await self._remote.get(call.caller, workspace, remote_id)
        except RemoteExecutionNotFound:
            raise RemoteExecutionNotFound(
                f"remote execution {remote_id} not found in workspace {workspace.identifier}"
            ) from None

    def _view(
        self, call: Call, where: Where, workspace: Workspace, remote: RemoteExecution
    ) -> RemoteExecutionView:
        executed = remote.executed_at is not None
        run_id = str(remote.run_id) if executed else ""
        return RemoteExecutionView(
            id=remote.id,
            account=where.account.slug,
            org=where.org_name,
            project=where.project_name,
            workspace=workspace.identifier,
            created=millis(remote.created_at),
            updated=millis(remote.updated_at),
            custom_arguments={name: list(values) for name, values in remote.arguments.items()},
            executed=executed,
            sha256_checksum=remote.checksum,
            pipeline_execution_id=run_id,
            pipeline_execution_url=f"{self._base(call)}/runyard/v1/runs/{run_id}" if executed else "",
        )

    def _base(self, call: Call) -> str:
        """Return the address of the server: the one that is set, else the one under which the client reached it."""
        if self._public_url:
            return self._public_url.rstrip("/")
        host = header(call, b"host") or "localhost"
        return f"{call.scope.get('scheme', 'http')}://{host}"
