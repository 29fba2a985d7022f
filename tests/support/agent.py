"""The agent of sandboxes, compiled once for all tests. Owns the copy beside the checkout; tests of the compiling itself
leave it alone.
"""

import functools
import os
import shutil
from pathlib import Path

from runyard.runtimes.isolation.native import build

FOLDER = Path(__file__).parents[2] / ".cache" / "agent"


@functools.cache
def compiled_agent() -> Path | None:
    """Return the program of exactly these sources, compiled when there is none; None where none can be compiled."""
    program = FOLDER / f"{build.PROGRAM}-{build.fingerprint()}"
    if not os.access(program, os.X_OK):
        FOLDER.mkdir(parents=True, exist_ok=True)
        try:
            build.compile_agent(program)
        except build.CannotCompile:
            return None
    return program


def place_agent(data_dir: Path) -> None:
    """Put it into the data folder of a server that was never started, as if that had compiled it before."""
    program = compiled_agent()
    folder = data_dir / "isolation"
    if program is not None and not folder.exists():
        data_dir.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700)
        shutil.copy(program, folder / program.name)
