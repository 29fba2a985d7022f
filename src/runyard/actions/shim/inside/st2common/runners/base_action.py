"""The base class of Python actions. Owns its published shape: constructor, attributes and `run`."""

from collections.abc import Mapping

from st2common.log import getLogger
from st2common.runners.action_service import ActionService
from st2common.values import Json


class Action:
    """An action: a subclass in the entry point's file, with a method `run` that takes the parameters."""

    description: str | None = None

    def __init__(
        self, config: Mapping[str, Json] | None = None, action_service: ActionService | None = None
    ) -> None:
        """Take the configuration of the pack and the way to the server."""
        self.config: Json = config or {}
        self.action_service: Json = action_service
        self.logger = getLogger(f"actions.python.{type(self).__name__}")

    def run(self, *arguments: Json, **parameters: Json) -> Json:
        """Do the work and return its result; `(success, result)` says whether it succeeded."""
        del arguments, parameters
        raise NotImplementedError(f"{type(self).__name__} has no method run")
