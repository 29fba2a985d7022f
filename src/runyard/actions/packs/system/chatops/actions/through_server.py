"""Asks the server to do what this action is named after: only the server may change what it has loaded."""

from st2common.runners.base_action import Action
from st2common.values import Json


class ThroughServer(Action):
    """Every action of this pack that acts on the server itself."""

    def run(self, **parameters: Json) -> Json:
        """Return what the server answers. Raises RuntimeError with its reason when it refuses."""
        return self.action_service.call_server(parameters)
