"""What the agent could not do, in the port's words. Owns the translation of stage and errno into errors."""

import errno
import os

from runyard.kernel.errors import InvalidArgument, LimitExceeded, NotFound, RunyardError, Unavailable
from runyard.runtimes.isolation.engine import Command, SpawnError, SpawnFailure
from runyard.runtimes.isolation.protocol import Failed, Stage

_NOT_FOUND = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_NO_RESOURCES = frozenset(
    {errno.E2BIG, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ETXTBSY}
)
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MESSAGES = {
    SpawnFailure.NOT_FOUND: "The program {name} was not found.",
    SpawnFailure.NOT_EXECUTABLE: "The program {name} cannot be executed: {why}.",
    SpawnFailure.BAD_CWD: "The working folder {cwd} cannot be entered: {why}.",
    SpawnFailure.RESOURCES: "The sandbox has no room for another process: {why}.",
}


def spawn_error(failure: Failed, command: Command) -> SpawnError:
    """Return why a command could not be started."""
    if failure.stage == Stage.CWD:
        reason = SpawnFailure.BAD_CWD
    elif failure.stage != Stage.EXEC or failure.error in _NO_RESOURCES:
        reason = SpawnFailure.RESOURCES
    elif failure.error in _NOT_FOUND:
        reason = SpawnFailure.NOT_FOUND
    else:
        reason = SpawnFailure.NOT_EXECUTABLE
    why = os.strerror(failure.error)
    return SpawnError(_MESSAGES[reason].format(name=command.argv[0], cwd=command.cwd, why=why), reason)


def file_error(failure: Failed, path: str) -> RunyardError:
    """Return why a file request failed."""
    if failure.stage == Stage.HELPER or failure.stage == Stage.FORK:
        return Unavailable(f"The sandbox could not serve the file: {failure}.")
    if failure.stage == Stage.NOT_FILE:
        return InvalidArgument(f"{path}: {failure.what}.")
    if failure.error in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"There is no file {path}.")
    if failure.error in _DISK_FULL:
        return LimitExceeded("The disk of the sandbox is full.")
    return InvalidArgument(f"{path}: {os.strerror(failure.error)}.")
