"""Makes a UUID."""

import uuid

from st2common.runners.base_action import Action


class GenerateUuid(Action):
    """The action core.uuid."""

    def run(self, uuid_type: str) -> str:
        """Return a UUID of the kind that is asked for."""
        made = {"uuid1": uuid.uuid1, "uuid4": uuid.uuid4}.get(uuid_type)
        if made is None:
            raise ValueError(f"there is no kind {uuid_type!r} of UUID here: it is uuid1 or uuid4")
        return str(made())
