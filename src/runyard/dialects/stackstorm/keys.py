"""The datastore, traces and inquiries."""

from typing import Any, Final

from runyard.actions.access.service import denied
from runyard.actions.datastore import Key, NewKey
from runyard.actions.runs.model import Detail, Record, RunFilter
from runyard.actions.runs.service import MAX_USER_NAME
from runyard.actions.traces import TraceFilter
from runyard.dialects.door import Call
from runyard.dialects.stackstorm import granting, reading
from runyard.dialects.stackstorm.replies import send_json, send_list, send_nothing, time_of
from runyard.dialects.stackstorm.services import StackStormServices
from runyard.dialects.stackstorm.views import TRACE_FIELDS, trace_view
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied

_SCOPES: Final = {"system": "system", "user": "user", "st2kv.system": "system", "st2kv.user": "user"}
_LONGEST_TTL: Final = 10 * 366 * 86_400
_ALL: Final = ("all", "system", "user", "st2kv.system", "st2kv.user")


class KeyHandlers:
    """Keys of the datastore."""

    def __init__(self, services: StackStormServices) -> None:
        """Take the services."""
        self._datastore = services.datastore

    async def list(self, call: Call) -> None:
        """List keys; no headers count them."""
        values = reading.query(call)
        scope = values.get("scope") or "system"
        user = self._user(call, values.get("user"))
        places = {"system": [("system", "")], "user": [("user", user)]}
        wanted = [("system", ""), ("user", user)] if scope == "all" else places[_scope(scope)]
        found = await self._datastore.list(call.caller.scope.account_id, wanted, values.get("prefix") or "")
        keys = [
            key for key in found if self._allows(call, "key_value_pair_list", key.scope, key.user, key.name)
        ]
        access = granting.access_of(call)
        if not keys and not access.allows("key_value_pair_list", ()) and ("user", user) not in wanted:
            raise denied(access, "key_value_pair_list")
        offset, limit = reading.paging(call, values, 100)
        shown = keys[offset : None if limit is None else offset + limit]
        decrypt = self._decrypts(call, values, own=scope in ("user", "st2kv.user"))
        await send_json(call, [self._view(call, key, decrypt=decrypt) for key in shown])

    async def get(self, call: Call) -> None:
        """Get a key."""
        values = reading.query(call)
        scope, user = self._place(call, values.get("scope"), values.get("user"))
        self._require(call, "key_value_pair_view", scope, user)
        key = await self._datastore.get(call.caller.scope.account_id, scope, user, call.params["key"])
        decrypt = self._decrypts(call, values, own=scope == "user")
        await send_json(call, self._view(call, key, decrypt=decrypt))

    async def put(self, call: Call) -> None:
        """Set a key."""
        body = await reading.read_object(call)
        value, ttl = body.get("value"), body.get("ttl")
        if not isinstance(value, str):
            raise InvalidArgument(f"{value!r} is not of type 'string'")
        if ttl is not None and (not isinstance(ttl, int) or isinstance(ttl, bool)):
            raise InvalidArgument(f"{ttl!r} is not of type 'integer'")
        if ttl is not None and not 0 < ttl <= _LONGEST_TTL:
            raise InvalidArgument(f"The ttl must be 1 to {_LONGEST_TTL} seconds.")
        scope, user = self._place(
            call,
            reading.optional_text(body, "scope") or reading.query(call).get("scope"),
            reading.optional_text(body, "user"),
        )
        self._require(call, "key_value_pair_set", scope, user)
        sealed = body.get("encrypted") is True
        if sealed and not reading.is_admin(call):
            raise PermissionDenied("Pre-encrypted option requires administrator access")
        key = await self._datastore.set(
            call.caller.scope.account_id,
            NewKey(
                name=call.params["key"],
                value=value,
                scope=scope,
                user=user,
                secret=body.get("secret") is True,
                sealed=sealed,
                ttl_secs=ttl,
            ),
        )
        await send_json(call, self._view(call, key, decrypt=False))

    async def delete(self, call: Call) -> None:
        """Remove a key."""
        values = reading.query(call)
        scope, user = self._place(call, values.get("scope"), values.get("user"))
        self._require(call, "key_value_pair_delete", scope, user)
        await self._datastore.delete(call.caller.scope.account_id, scope, user, call.params["key"])
        await send_nothing(call)

    @staticmethod
    def _allows(call: Call, permission: str, scope: str, user: str, name: str) -> bool:
        """Tell whether a key is the caller's own or something grants it."""
        own = scope == "user" and user == call.caller.user_name
        return own or granting.access_of(call).allows(permission, _uids(scope, name))

    def _require(self, call: Call, permission: str, scope: str, user: str) -> None:
        """Refuse a key that is not the caller's own and that nothing grants. Raises PermissionDenied."""
        if not self._allows(call, permission, scope, user, call.params["key"]):
            raise denied(granting.access_of(call), permission, _uids(scope, call.params["key"])[0])

    def _place(self, call: Call, scope: str | None, user: str | None) -> tuple[str, str]:
        kind = _scope(scope or "system")
        return kind, self._user(call, user) if kind == "user" else ""

    @staticmethod
    def _user(call: Call, user: str | None) -> str:
        if user and user != call.caller.user_name and not reading.is_admin(call):
            raise PermissionDenied('"user" attribute can only be provided by admins')
        if user and len(user) > MAX_USER_NAME:
            raise InvalidArgument(f"The name of a user has at most {MAX_USER_NAME} characters.")
        return user or call.caller.user_name

    @staticmethod
    def _decrypts(call: Call, values: Any, *, own: bool) -> bool:  # noqa: ANN401  a query
        decrypt = reading.flag(values, "decrypt")
        if decrypt and not own and not reading.is_admin(call):
            raise PermissionDenied("Decrypt option requires administrator access")
        return decrypt

    def _view(self, call: Call, key: Key, *, decrypt: bool) -> dict[str, Any]:
        open_it = key.secret and decrypt
        shown: dict[str, Any] = {
            "id": key.id,
            "uid": f"key_value_pair:st2kv.{key.scope}:{key.name}",
            "name": key.name,
            "scope": f"st2kv.{key.scope}",
            "value": self._datastore.decrypt(call.caller.scope.account_id, key.value)
            if open_it
            else key.value,
            "secret": key.secret,
            "encrypted": key.secret and not open_it,
        }
        if key.expires_at is not None:
            shown["expire_timestamp"] = time_of(key.expires_at)
        if key.user:
            shown["user"] = key.user
        return shown


def _uids(scope: str, name: str) -> tuple[str, str]:
    """Return the names by which a key is granted, the published one first."""
    return f"key_value_pair:st2kv.{scope}:{name}", f"key_value_pair:{scope}:{name}"


def _scope(word: str) -> str:
    found = _SCOPES.get(word)
    if found is None:
        shown = word if word.startswith("st2kv.") else f"st2kv.{word}"
        raise InvalidArgument(f"Scope {shown} is not in allowed scopes list: {list(_ALL)}")
    return found


class TraceHandlers:
    """Traces."""

    def __init__(self, services: StackStormServices) -> None:
        """Take the services."""
        self._traces = services.traces

    async def list(self, call: Call) -> None:
        """List traces."""
        values = reading.query(call)
        included, excluded = reading.attributes(values, TRACE_FIELDS, ())
        offset, limit = reading.paging(call, values, 100)
        kind, object_id = None, None
        for name in ("execution", "rule", "trigger_instance"):
            if values.get(name):
                kind, object_id = name, values[name]
        wanted = TraceFilter(
            tag=values.get("trace_tag"),
            kind=kind,
            object_id=object_id,
            ascending=bool(values.get("sort_asc")) and not values.get("sort_desc"),
            offset=offset,
            limit=limit,
        )
        found, total = await self._traces.list(call.caller.scope, wanted)
        items = [reading.narrowed(trace_view(one), included, excluded) for one in found]
        await send_list(call, items, total, limit)

    async def get(self, call: Call) -> None:
        """Get a trace."""
        granting.require(call, "trace_view", f"trace:{call.params['trace']}")
        await send_json(call, trace_view(await self._traces.get(call.caller.scope, call.params["trace"])))


class InquiryHandlers:
    """Questions to people."""

    def __init__(self, services: StackStormServices) -> None:
        """Take the services."""
        self._services = services

    async def list(self, call: Call) -> None:
        """List the inquiries that wait."""
        values = reading.query(call)
        offset, limit = reading.paging(call, values, 20)
        owner = granting.access_of(call).owner
        wanted = RunFilter(runner="inquirer", statuses=("waiting",), owner=owner, offset=offset, limit=limit)
        found, total = await self._services.runs.page(call.caller.scope, wanted, Detail(history=False))
        await send_list(call, [_inquiry_view(one) for one in found], total, limit)

    async def get(self, call: Call) -> None:
        """Get an inquiry."""
        await send_json(call, _inquiry_view(await self._found(call, "inquiry_view")))

    async def respond(self, call: Call) -> None:
        """Answer an inquiry."""
        body = await reading.read_object(call)
        if "response" not in body:
            raise InvalidArgument("'response' is a required property")
        record = await self._found(call, "inquiry_respond")
        access = granting.access_of(call)
        roles = access.roles if access.enforced else None
        await self._services.changes.respond(call.caller, record.execution.id, body["response"], roles)
        await send_json(call, {"id": record.execution.id, "response": body["response"]})

    async def _found(self, call: Call, permission: str) -> Record:
        """Find an inquiry; who was asked may answer whoever made it. Raises NotFound, PermissionDenied."""
        try:
            record = await self._services.changes.inquiry(call.caller.scope, call.params["inquiry"])
        except NotFound:
            raise NotFound("The resource could not be found.") from None
        granting.require(call, permission, f"inquiry:{record.execution.id}", *granting.uids_of(record))
        return record


def _inquiry_view(record: Record) -> dict[str, Any]:
    return {"id": record.execution.id, **record.run.inquiry}
