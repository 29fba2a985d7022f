"""What a template may cost. Owns the limits and their accounting; knows nothing of Jinja.

Three bounds hold at once: CPU time of the thread, a sum of work units (one for each step, plus the size of everything
that is made), and the size of each single value. Values are measured expanded, each reference counted again, because a
small graph of shared lists can print as gigabytes. Time is CPU time: a busy machine fails no template.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from runyard.actions.errors import TemplateTooExpensive
from runyard.actions.values import Json

_CLOCK_EVERY = 256
"""Units between two looks at the clock, which is a system call for thread time."""
_STEPS_UNSEEN = 16
"""Steps of unknown cost between two looks at the clock; one may take milliseconds."""
_TEXT_UNIT = 64
"""Characters that cost one unit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one rendering, which may be many templates of one request."""

    cpu_seconds: float = 0.5
    work: int = 500_000
    """Units in all: steps, nodes made, and characters made divided by 64."""
    text: int = 4 << 20
    """Characters of one value."""
    nodes: int = 100_000
    """Members of one value, nested ones included."""
    depth: int = 100
    """Nesting of one value."""
    source: int = 256 << 10
    """Characters of one template."""
    tokens: int = 10_000
    """Lexical tokens of one template; literal text is one token."""
    integer_bits: int = 4096
    regex_seconds: float = 0.1


class Budget:
    """Counts what is spent and raises TemplateTooExpensive at the first bound that is crossed."""

    __slots__ = ("_clock_at", "_deadline", "_steps", "limits", "literal", "spent")

    def __init__(self, limits: Limits) -> None:
        """Spend nothing yet."""
        self.limits = limits
        self.spent = 0
        self.literal = 0
        """Characters of the template being rendered: what one call of one of its macros may print."""
        self._clock_at = 0
        self._steps = 0
        self._deadline = 0.0

    def spend(self, units: int = 1) -> None:
        """Account for work. Raises TemplateTooExpensive."""
        self.spent += units
        if self.spent >= self._clock_at:
            if self.spent > self.limits.work:
                raise TemplateTooExpensive("the template does too much work")
            # The clock starts at the first look: a rendering that renders nothing asks for no time at all.
            now = time.thread_time()
            if not self._deadline:
                self._deadline = now + self.limits.cpu_seconds
            elif now > self._deadline:
                raise TemplateTooExpensive("the template takes too long")
            self._clock_at = min(self.spent + _CLOCK_EVERY, self.limits.work + 1)

    def check_clock(self) -> None:
        """Look at the clock now: something slow has just ended."""
        self._clock_at = 0
        self.spend()

    def step(self) -> None:
        """Account for one step whose own cost is not known, by looking at the clock often."""
        self._steps += 1
        if self._steps % _STEPS_UNSEEN == 0:
            self._clock_at = 0
        self.spend()

    def allow_text(self, length: int) -> None:
        """Ask for a text before it is made. Raises TemplateTooExpensive."""
        if length > self.limits.text:
            raise TemplateTooExpensive(
                f"the template makes a text of more than {self.limits.text} characters"
            )
        self.spend(1 + length // _TEXT_UNIT)

    def allow_nodes(self, count: int) -> None:
        """Ask for a collection before it is made. Raises TemplateTooExpensive."""
        if count > self.limits.nodes:
            raise TemplateTooExpensive(f"the template makes more than {self.limits.nodes} items")
        self.spend(1 + count)

    def weigh(self, value: Json) -> Json:
        """Account for a value that was made and return it. Raises TemplateTooExpensive."""
        if isinstance(value, str | bytes):
            self.allow_text(len(value))
        elif isinstance(value, list | tuple | dict | set | frozenset):
            self.measure(value)
        elif isinstance(value, int) and value.bit_length() > self.limits.integer_bits:
            raise TemplateTooExpensive("the template makes a number that is too large")
        else:
            self.spend()
        return value

    def measure(self, value: Json) -> int:
        """Walk a value without recursion; return its characters, every reference counted. Raises."""
        nodes = text = 0
        level = [value]
        for _ in range(self.limits.depth):
            following: list[Json] = []
            for item in level:
                if isinstance(item, str | bytes):
                    text += len(item)
                elif isinstance(item, Mapping):
                    following += item
                    following += item.values()
                elif isinstance(item, list | tuple | set | frozenset):
                    following += item
                nodes += 1
                if nodes + len(following) > self.limits.nodes:
                    self.allow_nodes(nodes + len(following))
            self.spend(len(level))
            if not following:
                self.allow_text(text)
                return text
            level = following
        raise TemplateTooExpensive("the template makes a value that is nested too deeply")


_active: ContextVar[Budget] = ContextVar("template_budget")


def budget() -> Budget:
    """Return the budget of the rendering that is going on here."""
    return _active.get()


@contextmanager
def spending(limits: Limits) -> Generator[Budget]:
    """Open a budget for everything rendered inside; one that is open already goes on."""
    opened = _active.get(None)
    if opened is not None:
        yield opened
        return
    fresh = Budget(limits)
    token = _active.set(fresh)
    try:
        yield fresh
    finally:
        _active.reset(token)
