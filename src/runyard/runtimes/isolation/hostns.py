"""The server's own namespaces on the host. Owns the private mount namespace and the user namespace that id-mapped
mounts are made with; must be used before the first thread exists (mount namespace) and never touches sandboxes.
"""

import contextlib
import os
import subprocess
import threading

from runyard.runtimes.isolation import syscalls
from runyard.runtimes.isolation.options import UID_COUNT

_state = {"private": False}


def enter_private_mounts() -> bool:
    """Give this process a mount namespace of its own, so that every mount it makes dies with it and its children,
    however it ends. Must run while the process has one thread. Harmless when called twice. Return whether it worked:
    False without privileges or with several threads, in which case nothing has changed.
    """
    if _state["private"]:
        return True
    if threading.active_count() > 1:
        return False
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        # Slave, not private: what the operator mounts later still shows, what we mount never travels back.
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
    except OSError:
        return False
    _state["private"] = True
    return True


def mounts_are_private() -> bool:
    """Tell whether `enter_private_mounts` has succeeded in this process."""
    return _state["private"]


def open_id_map(uid_base: int, count: int = UID_COUNT) -> int:
    """Return the descriptor of a user namespace that maps ids 0 to `count` - 1 on disk to `uid_base` and up.
    The caller closes it. Takes some milliseconds (one helper process, gone on return). Raises OSError.
    """
    try:
        child = subprocess.Popen(
            ["unshare", "--user", "cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise OSError("the program `unshare` of util-linux is missing") from None
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        # An echo proves that the namespace exists: cat starts only after unshare has made it.
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(b"\n")
            child.stdin.flush()
        if child.stdout.read(1) != b"\n":
            raise PermissionError("this host does not allow user namespaces")
        for kind in ("uid_map", "gid_map"):
            with open(f"/proc/{child.pid}/{kind}", "w") as map_file:
                map_file.write(f"0 {uid_base} {count}")
        return os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def bind_id_mapped(source: syscalls.StrPath, target: syscalls.StrPath, userns_fd: int) -> None:
    """Mount `source` read-only on the folder `target` with its ids mapped; set-uid bits and devices have no effect
    through it. Raises OSError.
    """
    tree = syscalls.open_tree(source)
    try:
        flags = syscalls.MOUNT_ATTR_IDMAP | syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NODEV
        syscalls.mount_setattr(tree, flags, userns_fd)
        syscalls.move_mount(tree, target)
    finally:
        os.close(tree)
