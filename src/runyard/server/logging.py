"""The server's own log: structured, on standard error. Owns its set-up; never carries a secret or a command's output."""

import logging
import sys

import structlog

from runyard.settings import Logging

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up_logging(settings: Logging) -> None:
    """Write for people on a terminal and JSON elsewhere, unless a format is set; libraries' warnings come along."""
    people = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    level = _LEVELS[settings.level]
    renderer: structlog.types.Processor = (
        # The default formatter of exceptions shows local variables, tokens and secrets among them.
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if people
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([] if people else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.getLogger("uvicorn.error").addFilter(_worth_saying)
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )


def _worth_saying(record: logging.LogRecord) -> bool:
    """Leave out a complaint of the HTTP server about every WebSocket that was refused with a proper answer."""
    return "without completing handshake" not in record.getMessage()
