"""What the server answers to a Python action that asks for something. Owns the rights that are asked for, and nothing
of the line. Who asks is the token of the run: whatever it could not do through the API, it cannot do here.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

from runyard.actions.access.model import Access
from runyard.actions.access.service import AccessService, denied
from runyard.actions.datastore import DatastoreService, NewKey
from runyard.actions.errors import KeyNotFound
from runyard.actions.model import READ_ONLY_PACKS
from runyard.actions.packs.service import PackService
from runyard.actions.runners.job import Job
from runyard.actions.shim.frames import Call
from runyard.actions.values import Json, JsonObject
from runyard.identity.model import Permission, Principal
from runyard.identity.service import IdentityService
from runyard.kernel.errors import InvalidArgument, PermissionDenied, Unimplemented

Answers: TypeAlias = Callable[[Job, Call], Awaitable[Json]]
_NO_INDEX: Final = (
    "no index of packs is set up on this server; put the folder of a pack into one of its pack folders"
)
_NOT_HERE: Final[Mapping[str, str]] = {
    "packs.download": "packs are not downloaded: put the folder of the pack into one of the server's pack folders, then "
    "run packs.load",
    "packs.search": _NO_INDEX,
}


class ServerAnswers:
    """Answers the calls of actions."""

    def __init__(
        self,
        identity: IdentityService,
        access: AccessService,
        datastore: DatastoreService,
        packs: PackService,
    ) -> None:
        """Take what is asked for."""
        self._identity = identity
        self._access = access
        self._datastore = datastore
        self._packs = packs

    async def __call__(self, job: Job, call: Call) -> Json:
        """Answer one call. Raises RunyardError with the sentence for the action; TypeError, ValueError for nonsense."""
        caller = await self._identity.authenticate(job.token)
        access = await self._access.of(caller)
        if call.name == "user.info":
            rbac = {"enabled": access.enforced, "roles": list(access.roles), "is_admin": access.is_admin}
            return {"username": caller.user_name, "rbac": rbac}
        if call.name.startswith("datastore."):
            return await self._keys(caller, access, call)
        if call.name == "action.run":
            return await self._act(job, caller, access, call.arguments)
        raise Unimplemented(f"{call.name} is not available in this version of Runyard")

    # --- datastore ---

    async def _keys(self, caller: Principal, access: Access, call: Call) -> Json:
        given, account = call.arguments, caller.scope.account_id
        if call.name == "datastore.list":
            self._may_keys(caller, access, "key_value_pair_list", "system")
            keys = await self._datastore.list(account, [("system", "")], str(given.get("prefix") or ""))
            start, limit = int(given.get("offset") or 0), given.get("limit")
            stop = None if limit is None else start + int(limit)
            return [{"name": key.name, "value": key.value, "scope": key.scope} for key in keys[start:stop]]
        scope, user = _place(caller, given.get("scope"))
        name = str(given.get("name") or "")
        if call.name == "datastore.get":
            self._may_keys(caller, access, "key_value_pair_view", scope)
            try:
                key = await self._datastore.get(account, scope, user, name)
            except KeyNotFound:
                return None
            return (
                self._datastore.decrypt(account, key.value)
                if key.secret and given.get("decrypt")
                else key.value
            )
        if call.name == "datastore.set":
            self._may_keys(caller, access, "key_value_pair_set", scope)
            ttl = given.get("ttl")
            new = NewKey(
                name=name,
                value=str(given.get("value")),
                scope=scope,
                user=user,
                secret=bool(given.get("encrypt")),
                ttl_secs=None if ttl is None else int(ttl),
            )
            await self._datastore.set(account, new)
            return True
        self._may_keys(caller, access, "key_value_pair_delete", scope)
        try:
            await self._datastore.delete(account, scope, user, name)
        except KeyNotFound:
            return False
        return True

    def _may_keys(self, caller: Principal, access: Access, permission: str, scope: str) -> None:
        reads = permission.endswith(("_list", "_view"))
        _may(caller, access, Permission.KEYS_READ if reads else Permission.KEYS_WRITE, permission)
        if scope == "system" and not access.allows(permission):
            raise denied(access, permission)

    # --- actions of the pack `packs` ---

    async def _act(self, job: Job, caller: Principal, access: Access, given: JsonObject) -> Json:
        """Do what an action of the product is named after; only such an action may ask."""
        ref = job.action.ref
        if job.action.pack not in READ_ONLY_PACKS or given.get("action") != ref:
            raise PermissionDenied("only actions that come with the server may ask it to act")
        if ref in _NOT_HERE:
            raise Unimplemented(_NOT_HERE[ref])
        parameters = given.get("parameters") or {}
        if not isinstance(parameters, Mapping):
            raise InvalidArgument("the parameters are no object")
        verb = {
            "packs.load": self._load,
            "packs.register": self._load,
            "packs.get": self._get,
            "packs.show": self._show,
            "packs.get_config": self._get_config,
            "packs.setup_virtualenv": self._set_up,
            "packs.unload": self._unload,
            "packs.delete": self._delete,
        }.get(ref)
        if verb is None:
            raise Unimplemented(f"{ref} is not available in this version of Runyard")
        return await verb(caller, access, parameters)

    async def _load(self, caller: Principal, access: Access, given: JsonObject) -> Json:
        names = _names(given) or None
        _may_packs(caller, access, Permission.ACTIONS_WRITE, "pack_register", names or ["*"])
        report = await self._packs.register(caller.scope.account_id, names)
        found: dict[str, Json] = {"packs": report.packs, "actions": report.actions, "configs": report.configs}
        if report.problems:
            found["problems"] = [str(one) for one in report.problems]
        return found

    async def _get(self, caller: Principal, access: Access, given: JsonObject) -> Json:
        name = str(given.get("pack") or "")
        _may_packs(caller, access, Permission.ACTIONS_READ, "pack_view", [name])
        return {"pack": await self._packs.shown(caller.scope.account_id, name), "git_status": None}

    async def _show(self, caller: Principal, access: Access, given: JsonObject) -> Json:
        name = str(given.get("pack") or "")
        _may_packs(caller, access, Permission.ACTIONS_READ, "pack_view", [name])
        found = await self._packs.shown(caller.scope.account_id, name)
        if found is None:
            raise Unimplemented(f'The pack "{name}" is not registered, and {_NO_INDEX}')
        return {"pack": found}

    async def _get_config(self, caller: Principal, access: Access, given: JsonObject) -> Json:
        name = str(given.get("pack") or "")
        _may_packs(caller, access, Permission.ACTIONS_READ, "pack_view", [name])
        found = await self._packs.config(caller.scope.account_id, name)
        return {} if found is None else dict(found)

    async def _set_up(self, caller: Principal, access: Access, given: JsonObject) -> Json:
        names = _names(given)
        _may_packs(caller, access, Permission.ACTIONS_WRITE, "pack_install", names)
        made = await self._packs.set_up(caller.scope.account_id, names)
        rest = [name for name in names if name not in made]
        said = [f"Successfully set up virtualenv for the following packs: {', '.join(made)}"] if made else []
        if rest:
            said.append(f"These packs ask for nothing and use the Python of the sandbox: {', '.join(rest)}")
        return ". ".join(said)

    async def _unload(self, caller: Principal, access: Access, given: JsonObject) -> Json:
        names = _names(given)
        _may_packs(caller, access, Permission.ACTIONS_WRITE, "pack_uninstall", names)
        return {"packs": await self._packs.unload(caller.scope.account_id, names)}

    async def _delete(self, caller: Principal, access: Access, given: JsonObject) -> Json:
        names = _names(given)
        _may_packs(caller, access, Permission.ADMIN, "pack_uninstall", names)
        # The folders of packs are those of all accounts.
        await self._identity.require_first(caller)
        virtualenvs = given.get("delete_env") is not False
        return await self._packs.delete_files(caller.scope.account_id, names, virtualenvs=virtualenvs)


def _names(given: JsonObject) -> list[str]:
    """Return the packs that are named; a version after `=` is not looked at."""
    names = given.get("packs") or []
    if not isinstance(names, list):
        raise InvalidArgument(f"{names!r} is not of type 'array'")
    return [str(name).partition("=")[0] for name in names]


def _may(caller: Principal, access: Access, permission: Permission, kind: str) -> None:
    """Refuse what the token does not allow. Raises PermissionDenied."""
    allowed = caller.scoped if access.enforced else caller.may
    if not allowed(permission):
        raise denied(access, kind)


def _may_packs(
    caller: Principal, access: Access, permission: Permission, kind: str, names: Sequence[str]
) -> None:
    """Refuse what is not granted on each of some packs. Raises PermissionDenied."""
    _may(caller, access, permission, kind)
    for name in names:
        if not access.allows(kind, (f"pack:{name}",)):
            raise denied(access, kind, f"pack:{name}")


def _place(caller: Principal, scope: Json) -> tuple[str, str]:
    kind = str(scope or "system").removeprefix("st2kv.")
    if kind == "user":
        return "user", caller.user_name
    if kind != "system":
        raise InvalidArgument(f"there is no scope {kind!r}")
    return "system", ""
