"""What a repository of anybody may take of this host: disk, memory, names. Owns the bounds of git's own processes and the
measuring of a commit before it is written out; a few kilobytes of pack can stand for terabytes.
"""

import contextlib
import resource
from dataclasses import dataclass
from typing import Final

from runyard.kernel.errors import TooLarge

LISTING_BYTES: Final = 64 << 20
"""Of the names of a commit: whoever has more has millions of files."""
_CUT_OFF: Final = b"fatal: fetch-pack: invalid index-pack output"
"""All that git says when the process that writes the pack was ended by the kernel for writing too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLimits:
    """The bounds of one call."""

    checkout_bytes: int = 512 << 20
    """Files of a commit together."""
    entries: int = 200_000
    """Files of a commit."""
    fetched_bytes: int = 2 << 30
    """The largest file that git may write, which is the pack that it fetches."""
    memory_bytes: int = 2 << 30
    """Of each process: a delta of some bytes may ask for any amount."""


def hold(pid: int, limits: GitLimits) -> None:
    """Bound a process that was started just now, and what it starts. Nothing was fetched yet."""
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limits.fetched_bytes, limits.fetched_bytes))
        resource.prlimit(pid, resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))


def refuse_cut_off(said: bytes, limits: GitLimits) -> None:
    """Say plainly that git was ended for writing too much. Raises TooLarge."""
    if said.strip() == _CUT_OFF:
        raise TooLarge(f"the repository gives more than {limits.fetched_bytes} bytes at once")


def check_listing(listing: bytes, limits: GitLimits) -> None:
    """Refuse a commit by what `ls-tree -r -l -z` prints of it. Raises TooLarge."""
    count, size = 0, 0
    for line in listing.split(b"\0"):
        words = line.partition(b"\t")[0].split()
        if len(words) == 4:
            count += 1
            size += int(words[3]) if words[3].isdigit() else 0  # a submodule has no size
    if count > limits.entries or size > limits.checkout_bytes:
        raise TooLarge(
            f"the code is larger than {limits.checkout_bytes} bytes or has more than {limits.entries} files"
        )
