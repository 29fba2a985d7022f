"""The Python side of an action's process. Owns the frames between it and the server, and the code that runs in it.

What is below `inside` is put on the path of the action's own interpreter. It imports nothing but the standard library
and itself; everything else here is for the server.
"""

from pathlib import Path
from typing import Final

INSIDE: Final = Path(__file__).parent / "inside"
"""The folder to put on the module path of an action's process."""
MODULE: Final = "st2common.runners.wrapper"
"""The module that the action's interpreter runs."""
CHANNEL_VARIABLE: Final = "RUNYARD_CHANNEL"
"""The environment variable that tells the process how to reach the server: `fd:N`, `fds:IN,OUT` or `unix:PATH`."""
