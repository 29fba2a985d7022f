"""Errors of actions, their parameters and their packs. The texts are published: clients print and compare them."""

from collections.abc import Sequence

from runyard.kernel.errors import InvalidArgument


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
