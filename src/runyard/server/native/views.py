"""The ledger's records as the native wire has them."""

import base64

from runyard.executions.model import Execution
from runyard.executions.output.model import Chunk
from runyard.server.native.wire import ChunkOut, ExecutionOut, PlaceOut


def chunk_view(chunk: Chunk) -> ChunkOut:
    """Return a chunk as the wire has it."""
    data = base64.b64encode(chunk.data).decode()
    return ChunkOut(offset=chunk.offset, stream=chunk.stream.name.lower(), time=chunk.time, data_base64=data)


def execution_view(one: Execution) -> ExecutionOut:
    """Return an execution as the wire has it."""
    ended_by = (one.result or {}).get("ended_by")
    place = None if one.place is None else PlaceOut(kind=one.place.kind, id=one.place.id, name=one.place.name)
    return ExecutionOut(
        id=one.id,
        kind=one.kind.value,
        name=one.name,
        status=one.status.value,
        status_reason=one.status_reason,
        command=one.command,
        exit_code=one.exit_code,
        signal=one.signal,
        ended_by=ended_by if isinstance(ended_by, str) else None,
        actor=one.actor,
        door=one.door,
        place=place,
        parent_id=one.parent_id,
        root_id=one.root_id,
        project_id=one.project_id,
        labels=one.labels,
        parameters=one.parameters,
        result=one.result,
        created_at=one.created_at,
        started_at=one.started_at,
        ended_at=one.ended_at,
        duration_ms=one.duration_ms,
        output_bytes=one.output_bytes,
        output_truncated=one.output_truncated,
        attempt=one.attempt,
        worker=one.worker,
        request_id=one.request_id,
    )
