"""Finding the compiled `runyard-agent`. Owns the order of places looked at; compiles only when nothing is packaged."""

import os
from pathlib import Path

from runyard.kernel.errors import Unavailable
from runyard.runtimes.isolation.native import build
from runyard.runtimes.isolation.options import IsolationOptions


def find_agent(options: IsolationOptions) -> Path:
    """Return the program: the configured one, the packaged one, or one compiled into the data folder for exactly
    these sources. Blocks for about a second when it compiles. Raises Unavailable naming what to install.
    """
    if options.agent_path is not None:
        if not os.access(options.agent_path, os.X_OK):
            raise Unavailable(f"The configured agent {options.agent_path} is not an executable file.")
        return options.agent_path
    packaged = build.FOLDER / build.PROGRAM
    if os.access(packaged, os.X_OK):
        return packaged
    compiled = options.data_dir / f"{build.PROGRAM}-{build.fingerprint()}"
    if os.access(compiled, os.X_OK):
        return compiled
    if not options.compile_agent:
        raise Unavailable("The package has no compiled agent; install a wheel of this platform.")
    options.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        build.compile_agent(compiled)
    except build.CannotCompile as error:
        raise Unavailable(
            f"The agent cannot be compiled ({error}); install musl-tools or gcc, or a wheel of this platform."
        ) from error
    return compiled
