"""Errors of costs."""

from runyard.kernel.errors import InvalidArgument


class BadPrices(InvalidArgument):
    """The price table is not valid."""

    code = "bad_prices"


class BadEstimate(InvalidArgument):
    """The estimate of the external estimator is not valid."""

    code = "bad_estimate"
