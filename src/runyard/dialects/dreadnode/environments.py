"""The routes of environments: provision, list, look, run commands, read logs, tear down; and what is added to the
published ones: extend, verify, files, a stream of output.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from runyard.dialects.door import Call, Parameter, Route
from runyard.dialects.dreadnode import places, reading
from runyard.dialects.dreadnode.declaring import route
from runyard.dialects.dreadnode.executing import DOOR, TOKEN_HEADER, ExecuteHandlers
from runyard.dialects.dreadnode.replies import send_json, send_nothing, time_of
from runyard.dialects.dreadnode.services import DreadnodeServices
from runyard.dialects.reading import header, pieces
from runyard.environments.model import Environment, State
from runyard.environments.service import NewEnvironment
from runyard.identity.model import Permission, Project, Scope
from runyard.kernel.clock import monotonic
from runyard.kernel.errors import InvalidArgument

BASE: Final = "/org/{org}/ws/{ws}/environments"
ONE: Final = f"{BASE}/{{environment}}"
_SMALL: Final = 4 << 20
_SCOPE_SECS: Final = 5.0
"""How long a workspace that was removed may still be named."""
_SCOPES_KEPT: Final = 1000
_SANDBOX_STATES: Final[Mapping[str, Sequence[State]]] = {
    "running": (State.BUILDING, State.PROVISIONING, State.READY),
    "killed": (State.TORN_DOWN, State.FAILED),
}
"""The words of the sandbox ledger, which the published command names in its help."""


class EnvironmentHandlers:
    """The operations on environments."""

    def __init__(self, services: DreadnodeServices) -> None:
        """Take the services."""
        self._services = services
        self._environments = services.environments
        self._tenancy = services.tenancy
        self._scopes: dict[tuple[Scope, str, str], tuple[float, Scope]] = {}

    def _view(self, environment: Environment) -> dict[str, Any]:
        verification = self._environments.shown_verification(environment)
        instruction = self._environments.shown_instruction(environment)
        return {
            **environment_view(environment),
            "instruction": instruction,
            "task_verification": verification,
        }

    async def scope(self, call: Call) -> Scope:
        """Return the part of the tree that the path names, as far as the caller may see it. What a path named a moment
        ago is remembered: commands come by the hundred.
        """
        named = (call.caller.scope, call.params["org"], call.params["ws"])
        known = self._scopes.get(named)
        if known is not None and known[0] > monotonic():
            return known[1]
        scope = await self._seen(call, await places.workspace(self._tenancy, call))
        if len(self._scopes) >= _SCOPES_KEPT:
            self._scopes.clear()
        self._scopes[named] = (monotonic() + _SCOPE_SECS, scope)
        return scope

    async def _seen(self, call: Call, top: Project) -> Scope:
        home = await self._tenancy.home(call.caller.scope, top)
        return Scope(home.account_id, home.id, home.path)

    async def find(self, call: Call) -> Environment:
        """Return the environment that the path names. Raises NotFound."""
        return await self._environments.get(await self.scope(call), call.params["environment"])

    async def create(self, call: Call) -> None:
        """Begin to provision a task."""
        body = await reading.read_object(call)
        top = await places.workspace(self._tenancy, call)
        scope = await self._seen(call, top)
        project_id = reading.optional_text(body, "project_id", most=64)
        if project_id:
            # Before the task is looked at: a bad project has words of its own.
            _, project = await places.project(self._tenancy, call, top, project_id)
            # Narrowed as the workspace is: the projects above the caller's own part can be named too.
            scope = await self._seen(call, project)
        new = NewEnvironment(
            task_ref=reading.text(body, "task_ref", most=400),
            inputs=_object(body, "inputs"),
            secret_ids=reading.texts(body, "secret_ids"),
            timeout_secs=_whole(body, "timeout_sec"),
            models=_models(body),
        )
        environment, token = await self._environments.create(call.caller, scope, new, call.request_id, DOOR)
        await send_json(call, {**self._view(environment), "execute_token": token}, 201)

    async def list(self, call: Call) -> None:
        """List environments, the newest first."""
        values = reading.query(call)
        page = reading.integer(values, "page", 1, 1, 1_000_000)
        limit = reading.integer(values, "limit", 50, 1, 200)
        scope = await self.scope(call)
        listed = await self._environments.page(
            scope, _states(values.get("state", ())), (page - 1) * limit, limit
        )
        await send_json(
            call,
            {
                "environments": [self._view(one) for one in listed.items],
                "has_next": page * limit < listed.total,
                "has_previous": page > 1,
                "limit": limit,
                "page": page,
                "total": listed.total,
            },
        )

    async def get(self, call: Call) -> None:
        """Tell about an environment."""
        await send_json(call, self._view(await self.find(call)))

    async def status(self, call: Call) -> None:
        """Tell how far an environment is."""
        environment = await self.find(call)
        await send_json(call, status_view(self._view(environment)))

    async def logs(self, call: Call) -> None:
        """Return the end of what building, provisioning and services said."""
        environment = await self.find(call)
        await send_json(call, {"logs": await self._environments.logs(environment)})

    async def delete(self, call: Call) -> None:
        """End an environment; again is harmless."""
        await self._environments.tear_down(call.caller, await self.find(call))
        await send_nothing(call)

    async def extend(self, call: Call) -> None:
        """Let an environment live some seconds from now."""
        environment = await self.find(call)
        body = await reading.read_object(call)
        seconds = _whole(body, "timeout_sec")
        if seconds is None:
            raise InvalidArgument("timeout_sec: field required", loc=["body", "timeout_sec"])
        await send_json(call, self._view(await self._environments.extend(call.caller, environment, seconds)))

    async def get_file(self, call: Call) -> None:
        """Send the bytes of a file."""
        environment = await self._admitted(call)
        async with self._environments.reading(environment, _path(call)) as reader:
            call.started = True
            headers = [
                (b"x-request-id", call.request_id.encode()),
                (b"content-type", b"application/octet-stream"),
                (b"content-length", str(reader.size).encode()),
            ]
            await call.send({"type": "http.response.start", "status": 200, "headers": headers})
            async for data in reader.chunks():
                await call.send({"type": "http.response.body", "body": data, "more_body": True})
            await call.send({"type": "http.response.body", "body": b""})

    async def put_file(self, call: Call) -> None:
        """Take the bytes of a file and publish it when the last one has come."""
        environment = await self._admitted(call)
        async with self._environments.writing(environment, _path(call), _mode(call)) as writer:
            async for piece in pieces(call):  # a client that goes away raises, and leaving drops what came
                await writer.write(piece)
            await writer.publish()
        await send_nothing(call)

    async def _admitted(self, call: Call) -> Environment:
        return await self._environments.admit(
            await self.scope(call), call.params["environment"], header(call, TOKEN_HEADER)
        )


def environment_view(environment: Environment) -> dict[str, Any]:
    """Return an environment in the dialect's words, but for what an installation shows in its own way."""
    return {
        "id": environment.id,
        "task_ref": environment.task_ref,
        "state": environment.state,
        "created_at": time_of(environment.created_at),
        "updated_at": time_of(environment.updated_at),
        "expires_at": None if environment.expires_at is None else time_of(environment.expires_at),
        "service_urls": environment.service_urls,
        "project_id": environment.project_id,
        "provision_variables": environment.variables or None,
        "execute_token": None,
        "error": environment.error,
    }


def status_view(view: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far an environment is in the dialect's words."""
    names = (
        "id", "state", "expires_at", "error", "execute_token", "service_urls", "instruction",
        "task_verification", "provision_variables",
    )  # fmt: skip
    return {name: view[name] for name in names}


def _states(given: Sequence[str]) -> list[State]:
    """Read a filter by state, in the words of environments or of sandboxes. Raises InvalidArgument."""
    found: list[State] = []
    for word in given:
        if word in _SANDBOX_STATES:
            found += _SANDBOX_STATES[word]
        elif word in set(State):
            found.append(State(word))
        else:
            known = ", ".join([*State, *_SANDBOX_STATES])
            raise InvalidArgument(f"state: must be one of {known}", loc=["query", "state"])
    return found


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict) or not _keepable(value, 0):
        raise InvalidArgument(f"{name}: must be an object", loc=["body", name])
    return value


def _models(body: Mapping[str, Any]) -> Mapping[str, str]:
    value = _object(body, "model_overrides")
    if not all(isinstance(model, str) and model for model in value.values()):
        raise InvalidArgument("model_overrides: must map roles to models", loc=["body", "model_overrides"])
    return value


def _whole(body: Mapping[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{name}: must be a whole number", loc=["body", name])
    return value


def _keepable(value: object, depth: int) -> bool:
    """Tell whether every database can hold a document."""
    if depth > 32:
        return False
    if isinstance(value, str):
        return reading.keepable(value)
    if isinstance(value, dict):
        return all(reading.keepable(key) and _keepable(item, depth + 1) for key, item in value.items())
    if isinstance(value, list):
        return all(_keepable(item, depth + 1) for item in value)
    return True


def _path(call: Call) -> str:
    path = reading.one(reading.query(call), "path")
    if path is None or not path.startswith("/"):
        raise InvalidArgument("path: must be an absolute path", loc=["query", "path"])
    return path


def _mode(call: Call) -> int:
    text = reading.one(reading.query(call), "mode") or "644"
    if len(text) > 4 or any(char not in "01234567" for char in text):
        raise InvalidArgument("mode: must be octal", loc=["query", "mode"])
    return int(text, 8) & 0o777


def environment_routes(services: DreadnodeServices) -> Iterator[Route]:
    """Yield the operations on environments."""
    h = EnvironmentHandlers(services)
    e = ExecuteHandlers(services.environments, h.scope)
    read: dict[str, Any] = {"permission": Permission.ENVIRONMENTS_READ}
    write: dict[str, Any] = {"permission": Permission.ENVIRONMENTS_WRITE, "body_limit_bytes": _SMALL}
    run: dict[str, Any] = {"permission": Permission.ENVIRONMENTS_EXEC}
    token = Parameter(
        name="X-Environment-Token", summary="The execute token, with or without `Bearer`.", where="header"
    )
    state = Parameter(name="state", summary="A state to list; may be given several times.")
    path = Parameter(name="path", summary="Absolute path inside.", required=True)
    yield route("POST", BASE, "createEnvironment", "Provision an environment.", h.create, status=201, **write)
    yield route("GET", BASE, "listEnvironments", "List environments.", h.list, parameters=(state,), **read)
    yield route("GET", ONE, "getEnvironment", "Tell about an environment.", h.get, **read)
    yield route("GET", f"{ONE}/status", "getEnvironmentStatus", "Tell how far it is.", h.status, **read)
    yield route(
        "POST", f"{ONE}/execute", "executeInEnvironment", "Run a shell command.", e.execute,
        parameters=(token,), body_limit_bytes=32 << 20, **run,
    )  # fmt: skip
    yield route(
        "POST", f"{ONE}/execute/stream", "streamInEnvironment", "Run a shell command and stream its output.",
        e.stream, parameters=(token,), body_limit_bytes=32 << 20, **run,
    )  # fmt: skip
    yield route("GET", f"{ONE}/logs", "getEnvironmentLogs", "Read its logs.", h.logs, **read)
    yield route("DELETE", ONE, "deleteEnvironment", "Tear it down.", h.delete, status=204, **write)
    yield route("POST", f"{ONE}/extend", "extendEnvironment", "Let it live longer.", h.extend, **write)
    yield route("POST", f"{ONE}/verify", "verifyEnvironment", "Judge the outcome.", e.verify, **write)
    yield route(
        "GET", f"{ONE}/files", "getEnvironmentFile", "Read a file.", h.get_file, parameters=(token, path),
        response=bytes, **run,
    )  # fmt: skip
    yield route(
        "PUT", f"{ONE}/files", "putEnvironmentFile", "Write a file.", h.put_file, parameters=(token, path),
        request=bytes, status=204, body_limit_bytes=0, **run,
    )  # fmt: skip
