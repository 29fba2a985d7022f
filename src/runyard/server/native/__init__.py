"""The native API below `/runyard/v1`: what the command line and the pages speak. A door like the others."""

from runyard.server.native.routes import register
from runyard.server.native.system import publish

__all__ = ["publish", "register"]
