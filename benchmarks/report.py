"""The table of results. Owns rows, percentiles and their rendering; measures nothing."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share (0 to 1) of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was measured, against what, and whether the target was reached."""

    what: str
    measured: str
    ratio: str = ""
    target: str = ""
    met: bool | None = None
    """None where there is no target, or nothing could be measured."""

    def cells(self) -> list[str]:
        """Return the five cells."""
        verdict = {True: "met", False: "**missed**", None: ""}[self.met]
        return [self.what, self.measured, self.ratio, self.target, verdict]


@dataclass
class Section:
    """One table with a heading and remarks."""

    title: str
    rows: list[Row] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(
        self, what: str, measured: str, ratio: str = "", target: str = "", met: bool | None = None
    ) -> None:
        """Append a row."""
        self.rows.append(Row(what, measured, ratio, target, met))

    def skip(self, what: str, reason: str) -> None:
        """Append a row that says why something was not measured."""
        self.rows.append(Row(what, f"not measured: {reason}"))

    def markdown(self) -> str:
        """Render heading, table and remarks."""
        lines = [
            f"## {self.title}",
            "",
            "| what | measured | ratio | target | |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += ["| " + " | ".join(row.cells()) + " |" for row in self.rows]
        lines += [""] + [f"{remark}\n" for remark in self.remarks]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Times:
    """The durations of one variant, in seconds."""

    values: Sequence[float]

    @property
    def p50(self) -> float:
        """Return the median."""
        return statistics.median(self.values)

    @property
    def p10(self) -> float:
        """Return the value that a tenth stays below: nearly free of the neighbours' noise."""
        return percentile(self.values, 0.1)

    def __str__(self) -> str:
        """Show p10, p50 and p99 in milliseconds."""
        shown = (self.p10, self.p50, percentile(self.values, 0.99))
        return " / ".join(f"{value * 1000:.2f}" for value in shown) + " ms"
