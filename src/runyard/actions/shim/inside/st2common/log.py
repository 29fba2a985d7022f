"""Loggers of actions. Owns their format, which packs and people know."""

import logging
import sys
from typing import TextIO

AUDIT = logging.CRITICAL + 10
_FORMAT = "%(name)s: %(levelname)-8s %(message)s"


class _ErrorOutput(logging.StreamHandler[TextIO]):
    """Writes to whatever standard error is at the time: actions replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self.setStream(sys.stderr)
        super().emit(record)


def getLogger(name: str) -> logging.Logger:  # noqa: N802 - the name that actions call
    """Return the logger of a name below `st2`."""
    return logging.getLogger(f"st2.{name}")


def setup(level: str) -> None:
    """Send log lines of this level and above to standard error."""
    logging.addLevelName(AUDIT, "AUDIT")
    handler = _ErrorOutput(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
