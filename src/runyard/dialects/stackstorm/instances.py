"""Trigger instances: what happened that rules may act on. To look at."""

from typing import Any, Final

from runyard.actions.followups.model import InstanceFilter, TriggerInstance
from runyard.dialects.door import Call
from runyard.dialects.stackstorm import granting, reading
from runyard.dialects.stackstorm.replies import send_json, send_list, time_of
from runyard.dialects.stackstorm.services import StackStormServices
from runyard.identity.scoping import is_whole_account
from runyard.kernel.errors import PermissionDenied

_FIELDS: Final = ("id", "trigger", "occurrence_time", "payload", "status")


class InstanceHandlers:
    """Trigger instances."""

    def __init__(self, services: StackStormServices) -> None:
        """Take the services."""
        self._followups = services.followups

    async def list(self, call: Call) -> None:
        """List trigger instances, the newest first."""
        _refuse_partial(call)
        values = reading.query(call)
        included, excluded = reading.attributes(values, _FIELDS, ())
        offset, limit = reading.paging(call, values, 100)
        wanted = InstanceFilter(
            trigger=values.get("trigger") or values.get("trigger_type") or None,
            status=values.get("status") or None,
            after=reading.moment(values["timestamp_gt"]) if values.get("timestamp_gt") else None,
            before=reading.moment(values["timestamp_lt"]) if values.get("timestamp_lt") else None,
            offset=offset,
            limit=limit,
        )
        found, total = await self._followups.instances(call.caller.scope.account_id, wanted)
        items = [reading.narrowed(instance_view(one), included, excluded) for one in found]
        await send_list(call, items, total, limit)

    async def get(self, call: Call) -> None:
        """Get a trigger instance."""
        _refuse_partial(call)
        granting.require(call, "trigger_view", f"trigger_instance:{call.params['instance']}")
        found = await self._followups.instance(call.caller.scope.account_id, call.params["instance"])
        await send_json(call, instance_view(found))


def _refuse_partial(call: Call) -> None:
    """Refuse who may see the own executions, or those of a project, only: an instance tells of anybody's, with the result.
    Raises PermissionDenied.
    """
    access = granting.access_of(call)
    if access.owner is not None or not is_whole_account(call.caller.scope):
        raise PermissionDenied(
            f'User "{access.user}" doesn\'t have access to resource "trigger_instance" due to resource permission '
            "isolation."
        )


def instance_view(one: TriggerInstance) -> dict[str, Any]:
    """Show a trigger instance."""
    return {
        "id": one.id,
        "trigger": one.trigger,
        "occurrence_time": time_of(one.occurred_at),
        "payload": dict(one.payload),
        "status": one.status,
    }
