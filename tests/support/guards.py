"""Plans and guardrails for tests: the services of the product over one database, and a receiver of webhooks."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from runyard.database.engine import Database
from runyard.identity.model import Principal, Scope
from runyard.identity.service import IdentityService
from runyard.infrastructure.guardrails.model import Guardrail, RuleType, Severity, Verdict
from runyard.infrastructure.guardrails.service import NewGuardrail
from runyard.infrastructure.notifications.signing import HEADER, verify
from runyard.infrastructure.plans.model import Subject
from runyard.infrastructure.policies.model import Policy, PolicyFields
from runyard.infrastructure.workspaces.model import NewWorkspace, Workspace
from runyard.infrastructure.workspaces.service import WorkspaceService
from runyard.kernel.crypto import Vault
from runyard.kernel.ids import ExecutionId, RunId
from runyard.server.guarding import GuardHouse, make_guards
from runyard.settings import Settings


@dataclass
class Guards:
    """The services over one database, with an admin of its own."""

    database: Database
    folder: Path
    house: GuardHouse
    identity: IdentityService
    workspaces: WorkspaceService
    caller: Principal

    @property
    def scope(self) -> Scope:
        """Return the whole account."""
        return self.caller.scope

    async def workspace(self, name: str = "net-prod", **more: Any) -> Workspace:
        """Add a workspace."""
        return await self.workspaces.create(self.caller, NewWorkspace(name=name, **more))

    async def run(self, workspace: Workspace, **more: Any) -> Subject:
        """Return a run of a workspace, as far as plans and guardrails are concerned."""
        given: dict[str, Any] = {
            "account_id": workspace.account_id,
            "project_id": workspace.project_id,
            "project_path": workspace.project_path,
            "workspace_id": workspace.id,
            "workspace_name": workspace.name,
            "repository": "acme/infra",
            "branch": "main",
            "labels": workspace.labels,
            "run_id": RunId.new(),
            "task_id": ExecutionId.new(),
            **more,
        }
        return Subject(**given)

    async def rule(
        self, kind: str, criteria: Mapping[str, Any] | None, severity: int = 2, **more: Any
    ) -> Guardrail:
        """Add a rule."""
        new = NewGuardrail(
            created_by="test",
            name=more.pop("name", f"{kind} rule"),
            type=RuleType(kind),
            criteria=None if criteria is None else {kind: criteria},
            enabled=more.pop("enabled", True),
            severity=Severity(severity),
            **more,
        )
        rule, _ = await self.house.guardrails.create(self.caller, new)
        return rule

    async def policy(self, code: str, **more: Any) -> Policy:
        """Add a policy."""
        fields = PolicyFields(name=more.pop("name", "policy"), code=encoded(code), **more)
        return await self.house.policies.create(self.caller, fields)

    async def judged(self, subject: Subject, plan: Path, secrets: tuple[str, ...] = ()) -> Verdict:
        """Read a plan and judge it."""
        summary = await self.house.plans.ingest(subject, plan, secrets)
        return await self.house.judge.judge(subject, summary)


def encoded(code: str) -> str:
    """Return code as clients send it."""
    return base64.b64encode(code.encode()).decode()


async def made_guards(database: Database, folder: Path, **chosen: Any) -> Guards:
    """Put the services together."""
    identity = IdentityService(database)
    await identity.bootstrap("admin-token-for-tests")
    caller = await identity.authenticate("admin-token-for-tests")
    chosen = {"webhook_private": True, "policy_step_secs": 0.5, **chosen}
    settings = Settings.model_validate({"data_dir": folder, "guardrails": chosen})
    return Guards(
        database=database,
        folder=folder,
        house=make_guards(settings, database, Vault(folder / "keys")),
        identity=identity,
        workspaces=WorkspaceService(database, identity),
        caller=caller,
    )


@dataclass
class Receiver:
    """An HTTP server that takes webhooks and answers as told."""

    key: bytes = b""
    statuses: list[int] = field(default_factory=list)
    """Answers to give, in order; 200 when there are no more."""
    received: "asyncio.Queue[tuple[dict[str, str], Any]]" = field(default_factory=asyncio.Queue)
    port: int = 0

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.port}/hook?x=1"

    async def take(self) -> tuple[dict[str, str], Any]:
        """Return the headers and the document of the next message."""
        return await asyncio.wait_for(self.received.get(), 20)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")[1:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        signed = verify(self.key, headers.get(HEADER.lower(), ""), body, datetime.now(UTC))
        headers["signed"] = str(signed)
        status = self.statuses.pop(0) if self.statuses else 200
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self.received.put_nowait((headers, msgspec.json.decode(body)))


@contextlib.asynccontextmanager
async def receiving(key: str, *statuses: int) -> AsyncIterator[Receiver]:
    """Listen on loopback."""
    receiver = Receiver(key.encode(), list(statuses))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def estimating(answer: bytes, status: int = 200) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Listen on loopback as an external estimator; give its address and what was posted."""
    posted: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = bytearray()
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        posted.append(bytes(body))
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-length: {len(answer)}\r\nconnection: close\r\n\r\n".encode()
        )
        writer.write(answer)
        await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/estimate", posted
    finally:
        server.close()
        await server.wait_closed()
