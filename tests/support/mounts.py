"""Keeps mounts that tests make to the tests. Owns nothing of the product."""

import os

from runyard.runtimes.isolation import syscalls


def leave_host_mounts() -> None:
    """Give the calling thread, and all that it starts from now on, mounts of its own.

    A server that somebody starts meanwhile copies the host's mounts; a test's mount among them would stay in use,
    after its test has unmounted it, for as long as that server lives.
    """
    if os.geteuid() == 0:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
