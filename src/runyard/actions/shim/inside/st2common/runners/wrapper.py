"""Runs one Python action. Owns finding its class, calling it and reporting what it returned.

Standard output and error belong to the action. An exception is its traceback on standard error and exit status 1, and
`sys.exit` is its status: in both cases no result is reported.
"""

import importlib.util
import inspect
import json
import os
import sys
import traceback
from types import ModuleType

from st2common import log
from st2common.runners.action_service import ActionService
from st2common.runners.base_action import Action
from st2common.runners.channel import Channel
from st2common.values import Json


class WrongResult(ValueError):
    """A pair was returned whose first member is not a boolean."""


def load_class(path: str) -> type[Action]:
    """Return the action of a file: the first subclass of Action that it defines. Raises ImportError."""
    folder = os.path.dirname(os.path.abspath(path))
    for place in (os.path.join(folder, "lib"), folder):
        if place not in sys.path:
            sys.path.insert(0, place)
    name = os.path.splitext(os.path.basename(path))[0]
    module = _load_module(name, path)
    classes = [
        member
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, Action) and member is not Action
    ]
    own = [member for member in classes if member.__module__ == name]
    if not own:
        raise ImportError(f"{os.path.basename(path)} has no class that is an action")
    return own[0]


def _load_module(name: str, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{os.path.basename(path)} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def make(kind: type[Action], config: Json, service: ActionService) -> Action:
    """Make the action; old ones take no service in their constructor and get it afterwards."""
    takes = inspect.signature(kind.__init__).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in takes.values())
    if "action_service" in takes or takes_any:
        return kind(config=config, action_service=service)
    action = kind(config=config)
    action.action_service = service
    return action


def report_of(output: Json) -> dict[str, Json]:
    """Return the frame for what `run` returned. Raises WrongResult."""
    success, result = None, output
    if isinstance(output, tuple) and len(output) == 2:
        success, result = output
        if not isinstance(success, bool):
            raise WrongResult(
                "an action that returns a pair must return a boolean first, whether it succeeded, and then its result"
            )
    try:
        json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        result = str(result)
    return {"result": result, "success": success}


def main() -> int:
    """Run the action that the server names and return the exit status."""
    channel = Channel.open()
    start = channel.receive()["start"]
    log.setup(str(start.get("log_level") or "DEBUG"))
    kind = load_class(start["entry_point"])
    service = ActionService(channel, start["pack"], start["action"], kind.__name__)
    action = make(kind, start.get("config") or {}, service)
    output = action.run(**start["parameters"])
    try:
        channel.send(report_of(output))
    except WrongResult as error:
        channel.send({"error": str(error), "traceback": traceback.format_exc()})
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
