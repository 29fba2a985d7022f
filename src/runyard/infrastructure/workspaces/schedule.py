"""Cron expressions. Owns their reading and the next time that they name; always UTC; knows no row."""

from datetime import datetime
from typing import Final

from cronsim import CronSim, CronSimError

from runyard.kernel.errors import InvalidArgument

LONGEST: Final = 128


class InvalidSchedule(InvalidArgument):
    """The schedule is not a cron expression of five fields."""

    code = "invalid_schedule"


def next_time(expression: str, after: datetime) -> datetime:
    """Return the first moment after another one that an expression of five fields names. Raises InvalidSchedule."""
    if len(expression) > LONGEST or len(expression.split()) != 5:
        raise InvalidSchedule(
            f"a schedule has five fields, as in `15 3 * * *`, and at most {LONGEST} characters"
        )
    try:
        return next(CronSim(expression, after))
    except (CronSimError, StopIteration, ValueError) as error:
        raise InvalidSchedule(f"{expression!r} is not a schedule: {error}") from None
