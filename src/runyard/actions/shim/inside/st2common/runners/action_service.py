"""What an action may ask of the server. Owns the published methods; the server decides what it grants."""

from collections.abc import Mapping
from dataclasses import dataclass

from st2common.runners.channel import Channel
from st2common.values import Json

SYSTEM_SCOPE = "system"
SEPARATOR = ":"


@dataclass(frozen=True)
class KeyValuePair:
    """A key of the datastore."""

    name: str
    value: str | None
    scope: str = SYSTEM_SCOPE


class ActionService:
    """The datastore and more, for one action."""

    def __init__(self, channel: Channel, pack: str, action: str, class_name: str) -> None:
        """Speak for an action; keys that are local carry the names of its pack and class."""
        self._channel = channel
        self._action = action
        self._prefix = f"{pack}.{class_name}"

    @property
    def datastore_service(self) -> "ActionService":
        """Return this object: newer packs ask for the datastore by this name."""
        return self

    def get_value(
        self, name: str, local: bool = True, scope: str = SYSTEM_SCOPE, decrypt: bool = False
    ) -> str | None:
        """Return the value of a key, None when there is none."""
        full = self._full(name, local)
        value: str | None = self._channel.call("datastore.get", name=full, scope=scope, decrypt=decrypt)
        return value

    def set_value(
        self,
        name: str,
        value: str,
        ttl: int | None = None,
        local: bool = True,
        scope: str = SYSTEM_SCOPE,
        encrypt: bool = False,
    ) -> bool:
        """Set a key, for `ttl` seconds if that is given."""
        full = self._full(name, local)
        return bool(
            self._channel.call("datastore.set", name=full, value=value, ttl=ttl, scope=scope, encrypt=encrypt)
        )

    def list_values(
        self, local: bool = True, prefix: str | None = None, limit: int | None = None, offset: int = 0
    ) -> list[KeyValuePair]:
        """List keys that begin with the prefix."""
        start = self._full(prefix or "", local)
        found = self._channel.call("datastore.list", prefix=start, limit=limit, offset=offset)
        return [KeyValuePair(str(key["name"]), key.get("value"), str(key["scope"])) for key in found]

    def delete_value(self, name: str, local: bool = True, scope: str = SYSTEM_SCOPE) -> bool:
        """Delete a key; tell whether there was one."""
        return bool(self._channel.call("datastore.delete", name=self._full(name, local), scope=scope))

    def get_user_info(self) -> dict[str, Json]:
        """Return who runs this action."""
        found: dict[str, Json] = self._channel.call("user.info")
        return found

    def dispatch_trigger(
        self, trigger: str, payload: Mapping[str, Json], trace_tag: str | None = None
    ) -> None:
        """Let a trigger happen."""
        self._channel.call("trigger.dispatch", trigger=trigger, payload=dict(payload), trace_tag=trace_tag)

    def call_server(self, parameters: Mapping[str, Json]) -> Json:
        """Let the server do what this action is named after; for actions that came with the server."""
        return self._channel.call("action.run", action=self._action, parameters=dict(parameters))

    def _full(self, name: str, local: bool) -> str:
        return f"{self._prefix}{SEPARATOR}{name}" if local else name
