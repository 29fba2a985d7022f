"""What a client is shown of a remote plan at one moment. Owns the order in which its step, its stage and its pipeline
appear to end; knows no database and no clock: the time is given.

The vendor's command line gives up when the stage is not `Running` within five seconds, sees a step only while it is
active, first looks about 4.5 s after the start, and leaves the moment the stage has ended, with whatever it has not
read. So a stage is `Running` at once, a short step goes on in appearance until its log was read, and the stage ends a
little after its step.
"""

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta

LINGER = timedelta(seconds=6)
"""A step goes on in appearance until this long after the start, unless its log was read to the end before."""
DRAIN = timedelta(seconds=3)
"""Between the end of the step and the end of its stage."""


class Ending(enum.StrEnum):
    """How a run ended."""

    SUCCESS = "Success"
    FAILED = "Failed"
    ABORTED = "Aborted"
    EXPIRED = "Expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is known of a run."""

    accepted_at: datetime
    """When the execution was asked for."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    ending: Ending | None = None
    """Set together with `ended_at`."""
    drained_at: datetime | None = None
    """When some reader had the whole log, if this server saw it."""
    message: str = ""
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a client is shown."""

    step: str
    stage: str
    summary: str
    step_ended_at: datetime | None
    ended_at: datetime | None
    message: str


def step_end(progress: Progress) -> datetime | None:
    """Return when the step appears to end; None while the run goes on."""
    if progress.ended_at is None:
        return None
    lingering = progress.accepted_at + LINGER
    if progress.drained_at is not None:
        lingering = min(lingering, progress.drained_at)
    return max(progress.ended_at, lingering)


def shown(progress: Progress, now: datetime) -> Shown:
    """Return what a client is shown at `now`. A stage never says `Aborted` or `Expired`: a client that sees such a
    stage waits for ever; the pipeline's summary does.
    """
    end = step_end(progress)
    if end is None or progress.ending is None or now < end:
        return Shown("Running", "Running", "Running", None, None, "")
    step = progress.ending.value
    over = end + DRAIN
    if now < over:
        return Shown(step, "Running", "Running", end, None, progress.message)
    stage = "Success" if progress.ending is Ending.SUCCESS else "Failed"
    return Shown(step, stage, step, end, over, progress.message)
