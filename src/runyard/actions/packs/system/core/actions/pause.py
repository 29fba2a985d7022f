"""Waits."""

import random as dice
import time

from st2common.runners.base_action import Action


class Pause(Action):
    """The action core.pause."""

    def run(self, max_pause: int, random: bool = False) -> None:
        """Wait `max_pause` seconds, or a random time of at most that."""
        seconds = dice.uniform(0, max_pause) if random else max_pause  # noqa: S311 - nothing secret depends on it
        self.logger.info("waiting %.3f seconds", seconds)
        time.sleep(max(seconds, 0))
