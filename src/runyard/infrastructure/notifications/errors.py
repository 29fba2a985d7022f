"""Errors of notifications."""

from runyard.kernel.errors import InvalidArgument


class DestinationRefused(InvalidArgument):
    """The destination of the notification is not one that this server may reach."""

    code = "destination_refused"
