"""Lets a trigger happen."""

from st2common.runners.base_action import Action
from st2common.values import Json


class InjectTrigger(Action):
    """The action core.inject_trigger."""

    def run(
        self,
        trigger: str | None = None,
        trigger_name: str | None = None,
        payload: dict[str, Json] | None = None,
        trace_tag: str | None = None,
    ) -> dict[str, Json]:
        """Dispatch the trigger through the server."""
        if trigger and trigger_name:
            raise ValueError("trigger and trigger_name mean the same: give one of them")
        name = trigger or trigger_name
        if not name:
            raise ValueError("trigger_name is missing")
        self.action_service.dispatch_trigger(name, payload or {}, trace_tag)
        return {"trigger": name, "payload": payload or {}}
