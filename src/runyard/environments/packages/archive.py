"""The layer of a task package: a gzipped tar. Owns what may be in one, and how it becomes a folder.

Blocking; called in threads.
"""

import errno
import os
from pathlib import Path
from typing import BinaryIO, Final

from runyard.environments.packages.errors import BadPackage
from runyard.kernel import tarballs
from runyard.kernel.errors import InvalidArgument, TooLarge
from runyard.kernel.tarballs import TarballLimits

_BAD_NAMES: Final = frozenset(
    {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
)


def unpack_layer(source: BinaryIO, folder: Path, limits: TarballLimits) -> None:
    """Unpack a layer into an empty folder: regular files and folders, readable by all, without set-id bits. Whoever
    serves these files later need not fear a link. Raises BadPackage.
    """
    try:
        for entry in tarballs.entries(source, limits):
            if entry.member.issym():
                raise BadPackage(f"the package holds a link: {entry.path[:200]!r}")
        source.seek(0)
        tarballs.unpack(source, str(folder), limits)
    except BadPackage:
        raise
    except (InvalidArgument, TooLarge) as error:
        raise BadPackage(
            error.message.replace("the body", "the layer").replace("archive", "package")
        ) from None
    except OSError as error:
        if error.errno not in _BAD_NAMES:
            raise  # no space, no descriptors: not the package's fault
        raise BadPackage(f"the package cannot be unpacked: {os.strerror(error.errno)}") from None
