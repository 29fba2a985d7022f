"""Who may use which operation. Owns the permission type of every route and the refusals; what is granted is the domain's.

A route is admitted when the caller may do such a thing at all; where it is about one resource, the handler asks again
with the names of that resource.
"""

from collections.abc import Mapping
from typing import Final

from runyard.actions.access.model import RESOURCE_OF, Access, verb_of
from runyard.actions.access.service import AccessService, denied
from runyard.actions.model import Action
from runyard.actions.runs.model import Record
from runyard.dialects.door import Call, Route
from runyard.kernel.errors import PermissionDenied

ANYBODY: Final = frozenset(
    {"logIn", "validateToken", "getUser", "getVersion", "listGroups", "listGroupMembers"}
)
"""Routes that every credential may use."""
ADMINS: Final = frozenset(
    {"listRoles", "getRole", "listRoleAssignments", "getRoleAssignment", "listPermissionTypes"}
)
"""Routes for administrators only; `listPermissionTypes` stands for both of its forms."""
PERMISSIONS: Final[Mapping[str, str]] = {
    "listApiKeys": "api_key_list",
    "createApiKey": "api_key_create",
    "getApiKey": "api_key_view",
    "updateApiKey": "api_key_modify",
    "deleteApiKey": "api_key_delete",
    "listActions": "action_list",
    "createAction": "action_create",
    "getAction": "action_view",
    "updateAction": "action_modify",
    "deleteAction": "action_delete",
    "cloneAction": "action_create",
    "getActionParameters": "action_view",
    "listActionOverviews": "action_list",
    "getActionOverview": "action_view",
    "getEntryPoint": "action_view",
    "listRunners": "runner_type_list",
    "getRunner": "runner_type_view",
    "updateRunner": "runner_type_modify",
    "listPacks": "pack_list",
    "getPack": "pack_view",
    "registerPacks": "pack_register",
    "listConfigSchemas": "pack_list",
    "getConfigSchema": "pack_view",
    "listConfigs": "pack_list",
    "getConfig": "pack_view",
    "setConfig": "pack_config",
    "listExecutions": "execution_list",
    "createExecution": "action_execute",
    "getFilters": "execution_views_filters_list",
    "getExecution": "execution_view",
    "updateExecution": "execution_stop",
    "cancelExecution": "execution_stop",
    "getAttribute": "execution_view",
    "listChildren": "execution_view",
    "getOutput": "execution_view",
    "getResult": "execution_view",
    "reRun": "execution_rerun",
    "stream": "stream_view",
    "streamOutput": "execution_view",
    "streamOutputUnversioned": "execution_view",
    "listKeys": "key_value_pair_list",
    "getKey": "key_value_pair_view",
    "setKey": "key_value_pair_set",
    "deleteKey": "key_value_pair_delete",
    "listTraces": "trace_list",
    "getTrace": "trace_view",
    "listInquiries": "inquiry_list",
    "getInquiry": "inquiry_view",
    "respond": "inquiry_respond",
    "listTriggerInstances": "trigger_list",
    "getTriggerInstance": "trigger_view",
}
"""The permission type of each route by its name."""
OWN_KEYS: Final = frozenset({"listKeys", "getKey", "setKey", "deleteKey"})
"""Routes of the datastore: a user's own keys need no grant, so the handlers decide."""
_BY_BODY: Final = frozenset({"createExecution"})
"""Routes whose resource is named in the body, so that only the handler can say which one was not granted."""
_IN_PATH: Final[Mapping[str, str]] = {
    "action": "action",
    "execution": "execution",
    "inquiry": "inquiry",
    "pack": "pack",
    "runner_type": "runner",
    "trace": "trace",
}
"""The parameter of a path that names the resource, by the resource's type."""


class Gate:
    """Decides about routes."""

    def __init__(self, access: AccessService) -> None:
        """Ask the roles."""
        self._access = access

    async def __call__(self, call: Call, route: Route) -> Access:
        """Return the rights of the caller. Raises PermissionDenied in the dialect's words."""
        caller = call.caller
        access = await self._access.of(caller)
        permission = PERMISSIONS.get(route.name)
        if route.permission is not None:
            allowed = caller.scoped if access.enforced else caller.may
            if not allowed(route.permission):
                raise denied(access, permission or route.permission.value)
        if route.name.startswith(tuple(ADMINS)) and not access.is_admin:
            raise PermissionDenied("Administrator access required")
        asked = permission is not None and route.name not in OWN_KEYS | _BY_BODY
        if permission is not None and asked and not access.allows(permission):
            raise denied(access, permission, _resource(call, permission))
        return access


def _resource(call: Call, permission: str) -> str | None:
    """Return the name of the resource that a path is about, where the permission is one on that."""
    kind = RESOURCE_OF[permission]
    named = call.params.get(_IN_PATH.get(kind, ""))
    if named is None or verb_of(permission) == "create":
        return None
    return f"{kind}:{named.replace('.', ':', 1) if kind == 'action' else named}"


def access_of(call: Call) -> Access:
    """Return the rights of the caller of an admitted route."""
    assert isinstance(call.access, Access)
    return call.access


def require(call: Call, permission: str, *uids: str) -> None:
    """Refuse what was not granted on a resource, named first, or on what it is in. Raises PermissionDenied."""
    access = access_of(call)
    if not access.allows(permission, uids):
        raise denied(access, permission, uids[0])


def require_action(call: Call, permission: str, action: Action) -> None:
    """Refuse what was not granted on an action or its pack. Raises PermissionDenied."""
    require(call, permission, action.uid, f"pack:{action.pack}")


def require_execution(call: Call, permission: str, record: Record) -> None:
    """Refuse what was not granted on an execution, and whatever is another user's under isolation.
    Raises PermissionDenied.
    """
    access = access_of(call)
    if not owns(access, record):
        raise PermissionDenied(
            f'User "{access.user}" doesn\'t have access to resource "execution:{record.execution.id}" due to '
            "resource permission isolation."
        )
    if not access.allows(permission, uids_of(record)):
        raise denied(access, permission, f"execution:{record.execution.id}")


def owns(access: Access, record: Record) -> bool:
    """Tell whether an execution is within the reach of isolation."""
    return access.owner is None or record.run.user_name == access.owner


def uids_of(record: Record) -> tuple[str, str, str]:
    """Return the names of an execution: its own, its action's and that of the pack."""
    action = record.run.action
    return f"execution:{record.execution.id}", str(action["uid"]), f"pack:{action['pack']}"
