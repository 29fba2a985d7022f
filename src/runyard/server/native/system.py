"""Handlers of the server itself: health, capabilities, metrics, the OpenAPI document and its viewer."""

import asyncio
import functools
import shutil
from collections.abc import Sequence
from importlib import resources
from typing import Final

from sqlalchemy import select, text

from runyard import __version__
from runyard.dialects.door import Answer, Call, Door, send_answer
from runyard.identity.model import Permission
from runyard.kernel.errors import NotFound, RunyardError
from runyard.kernel.jsons import encode_json
from runyard.runtimes.isolation.absent import AbsentEngine
from runyard.server import openapi
from runyard.server.house import House
from runyard.server.metrics import CONTENT_TYPE
from runyard.server.native import problems
from runyard.server.native.replies import send_json
from runyard.server.native.wire import CapabilityOut, CheckOut, HealthOut, Listed

LOW_DISK_BYTES: Final = 256 << 20
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
_PAGE_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]

_doors: list[Door] = []


def publish(doors: Sequence[Door]) -> None:
    """Say which doors the OpenAPI document is about; called once they are put together."""
    _doors[:] = doors
    _document.cache_clear()


@functools.cache
def _document() -> bytes:
    """Build the OpenAPI document, at the first request for it: few starts of a server need it."""
    document = openapi.document(_doors)
    document["x-error-codes"] = problems.catalogue()
    return encode_json(document)


class SystemHandlers:
    """What the server says about itself."""

    def __init__(self, house: House) -> None:
        """Take the services and register what is measured when it is asked for."""
        self._house = house
        metrics = house.metrics
        metrics.read("runyard_executions_running", lambda: len(house.executions.worker.in_flight))
        metrics.read("runyard_worker_slots_free", lambda: house.executions.worker.free)
        metrics.read("runyard_sandboxes", lambda: sum(1 for _ in house.supervisor.living()))
        metrics.read("runyard_data_free_bytes", lambda: shutil.disk_usage(house.settings.data_dir).free)

    async def healthz(self, call: Call) -> None:
        """Answer while the server serves."""
        await send_answer(call, Answer(200, content_type=None))

    async def live(self, call: Call) -> None:
        """Answer while the process turns its loop."""
        await send_json(call, HealthOut(status="ok", version=__version__))

    async def ready(self, call: Call) -> None:
        """Tell whether new work would be done, with a reason for each part; 503 when not."""
        checks = [await self._database(), self._disk(), self._engine(), self._stopping()]
        good = all(one.status != "failed" for one in checks)
        body = HealthOut(status="ok" if good else "failed", version=__version__, checks=checks)
        await send_json(call, body, status=200 if good else 503)

    async def _database(self) -> CheckOut:
        try:
            async with self._house.database.read() as tx:
                await tx.scalar(select(text("1")))
        except RunyardError as error:
            return CheckOut(name="database", status="failed", detail=error.message)
        return CheckOut(name="database", status="ok", detail=self._house.database.name)

    def _disk(self) -> CheckOut:
        free = shutil.disk_usage(self._house.settings.data_dir).free
        status = "ok" if free > LOW_DISK_BYTES else "failed"
        return CheckOut(name="disk", status=status, detail=f"{free >> 20} MiB free in the data folder")

    def _engine(self) -> CheckOut:
        engine = self._house.engine
        missing = [one for one in engine.capabilities() if not one.enforced]
        name = f"engine {engine.name}"
        if isinstance(engine, AbsentEngine):
            return CheckOut(name=name, status="failed", detail=missing[0].how)
        if missing:
            names = ", ".join(one.name for one in missing)
            return CheckOut(name=name, status="warning", detail=f"not enforced: {names}")
        return CheckOut(name=name, status="ok", detail="everything is enforced")

    def _stopping(self) -> CheckOut:
        stopping = self._house.stopping.is_set()
        return CheckOut(
            name="server", status="failed" if stopping else "ok", detail="stopping" if stopping else "serving"
        )

    async def capabilities(self, call: Call) -> None:
        """List what this host enforces and what not."""
        found = [
            CapabilityOut(name=one.name, enforced=one.enforced, how=one.how, fix=one.fix)
            for one in self._house.engine.capabilities()
        ]
        await send_json(call, Listed(items=found))

    async def metrics(self, call: Call) -> None:
        """Render the metrics for Prometheus."""
        if call.principal is not None:
            call.principal.require(Permission.EXECUTIONS_READ)
        await send_answer(call, Answer(200, self._house.metrics.render(), CONTENT_TYPE))

    async def openapi(self, call: Call) -> None:
        """Send the OpenAPI document."""
        # Some tenths of a second the first time, which must not hold up the loop.
        await send_answer(call, Answer(200, await asyncio.to_thread(_document)))

    async def docs(self, call: Call) -> None:
        """Send the viewer of the OpenAPI document."""
        await _send_page(call, call.params.get("file", "docs.html"))


async def _send_page(call: Call, name: str) -> None:
    if name not in {"docs.html", "docs.css", "docs.js"}:
        raise NotFound("there is nothing at this path")
    body = resources.files("runyard.server").joinpath("static", name).read_bytes()
    await send_answer(call, Answer(200, body, _TYPES[name.rsplit(".", 1)[-1]], _PAGE_HEADERS))
