"""Users of an image: from a name in its own files to numbers, and to a command that runs as them."""

import os
from collections.abc import Sequence

from runyard.environments.errors import BuildFailed
from runyard.kernel.errors import RunyardError
from runyard.runtimes.isolation.engine import OpenMode, Sandbox

_MOST = 1 << 20


async def as_user(sandbox: Sandbox, user: str, argv: Sequence[str]) -> Sequence[str]:
    """Return a command that runs as a user, `name[:group]` or numbers; root needs nothing. The image must have
    setpriv of util-linux. Raises BuildFailed for a user that the image does not know.
    """
    if user in ("", "root", "0", "root:root", "0:0"):
        return argv
    uid, gid = await _ids(sandbox, user)
    return ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--", *argv)


async def owner_ids(sandbox: Sandbox, owner: str) -> str:
    """Return `uid:gid` of an owner. Raises BuildFailed."""
    uid, gid = await _ids(sandbox, owner)
    return f"{uid}:{gid}"


async def _ids(sandbox: Sandbox, user: str) -> tuple[int, int]:
    name, _, group = user.partition(":")
    entry = await _entry(sandbox, "/etc/passwd", name)
    if name.isdigit():
        uid, gid = int(name), int(entry[3]) if entry else 0
    elif entry is None:
        raise BuildFailed(f"the image has no user {name[:64]!r}")
    else:
        uid, gid = int(entry[2]), int(entry[3])
    if group.isdigit():
        gid = int(group)
    elif group:
        found = await _entry(sandbox, "/etc/group", group)
        if found is None:
            raise BuildFailed(f"the image has no group {group[:64]!r}")
        gid = int(found[2])
    return uid, gid


async def _entry(sandbox: Sandbox, path: str, name: str) -> list[str] | None:
    """Return the line of a name or number in a file of users or groups."""
    try:
        opened = await sandbox.open_file(path, OpenMode.READ)
    except RunyardError:
        return None
    try:
        text = os.pread(opened.fd, _MOST, 0).decode("utf-8", "replace")
    finally:
        os.close(opened.fd)
    for line in text.splitlines():
        parts = line.split(":")
        if len(parts) >= 3 and name in (parts[0], parts[2]) and parts[2].isdigit():
            return parts if (len(parts) > 3 and parts[3].isdigit()) or path == "/etc/group" else None
    return None
