"""Errors of actions, their parameters and their packs. The texts are published: clients print and compare them."""

from collections.abc import Sequence

from runyard.kernel.errors import AlreadyExists, InvalidArgument, NotFound


class InvalidMetadata(InvalidArgument):
    """The metadata is not valid."""

    code = "invalid_metadata"

    def __init__(
        self, message: str | None = None, *, file: str = "", line: int = 0, path: Sequence[str | int] = ()
    ) -> None:
        """Say where: `file` relative to the pack, `line` from 1, `path` within the value; empty when unknown."""
        super().__init__(message, file=file, line=line)
        self.file = file
        self.line = line
        self.path = tuple(path)

    @property
    def where(self) -> str:
        """Return `file:line`, as much of it as is known."""
        return f"{self.file}:{self.line}" if self.line else self.file


class InvalidParameters(InvalidArgument):
    """The parameters do not fit the action."""

    code = "invalid_parameters"


class ParameterUnresolved(InvalidArgument):
    """A parameter could not be worked out.

    Unlike `InvalidParameters`, the execution is stored as failed with this text as its error.
    """

    code = "parameter_unresolved"


class TemplateFailed(InvalidArgument):
    """The template could not be rendered."""

    code = "template_failed"


class TemplateTooExpensive(TemplateFailed):
    """The template needs more time or memory than a template may."""

    code = "template_too_expensive"


class ActionNotFound(NotFound):
    """There is no such action."""

    code = "action_not_found"


class PackNotFound(NotFound):
    """There is no such pack."""

    code = "pack_not_found"


class KeyNotFound(NotFound):
    """There is no such key in the datastore."""

    code = "key_not_found"


class ActionExists(AlreadyExists):
    """There is an action with this name in the pack already."""

    code = "action_exists"

    def __init__(self, message: str | None = None, *, existing: str = "") -> None:
        """Name the id of the one that is there."""
        super().__init__(message, existing=existing)
        self.existing = existing


class RunRefused(InvalidArgument):
    """The execution is not in a state that allows this."""

    code = "run_refused"


class InquiryClosed(InvalidArgument):
    """The inquiry was answered or has timed out already."""

    code = "inquiry_closed"
