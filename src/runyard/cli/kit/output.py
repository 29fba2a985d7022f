"""Printing. Owns tables for people, JSON for machines, names for pipes; data goes to stdout and nothing else does.

What a server sends is not trusted by a terminal: control characters are shown, never interpreted, except in logs.
"""

import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from runyard.cli.kit.state import State, is_terminal

Row = TypeVar("Row")

_COLOURS = {
    "running": "32",
    "ready": "32",
    "succeeded": "32",
    "ok": "32",
    "creating": "33",
    "requested": "33",
    "delayed": "33",
    "scheduled": "33",
    "waiting": "33",
    "canceling": "33",
    "deleting": "33",
    "warning": "33",
    "paused": "36",
    "suspended": "36",
    "failed": "31",
    "timeout": "31",
    "abandoned": "31",
    "error": "31",
    "crashed": "31",
    "unavailable": "31",
    "missing": "31",
}
"""Status words that get a colour; the word itself is always printed, so colour is never the only sign."""


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column of a table."""

    title: str
    value: Callable[[Row], object]
    wide: bool = False
    """Only shown with `--wide`."""
    flexible: bool = False
    """May be cut to fit the terminal."""


def print_json(document: object) -> None:
    """Print a document (builtins or msgspec structs) as indented JSON."""
    import msgspec

    text = json.dumps(msgspec.to_builtins(document), indent=2, ensure_ascii=False)
    write_text(text + "\n")


def compact(document: object) -> str:
    """Write a document of builtins in one line, for a cell of a table."""
    return json.dumps(document, ensure_ascii=False)


def print_error_json(error: Mapping[str, object]) -> None:
    """Print `{"error": {...}}` on stderr as one line."""
    print(json.dumps({"error": error}, ensure_ascii=False), file=sys.stderr, flush=True)


def write_text(text: str) -> None:
    """Write text to stdout; letters that the terminal cannot show are escaped instead of being an error."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def write_bytes(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of the bytes to a descriptor, past any buffer of Python."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def print_list(
    state: State,
    rows: Sequence[Row],
    columns: Sequence[Column[Row]],
    *,
    name: Callable[[Row], str],
    empty: str,
) -> None:
    """Print a list in the wanted format. JSON is `{"items": [...]}`; an empty table says so on stderr."""
    if state.as_json:
        print_json({"items": rows})
    elif state.as_names:
        write_text("".join(f"{clean(name(row))}\n" for row in rows))
    elif rows:
        shown = [column for column in columns if state.wide or not column.wide]
        write_text(render_table(state, rows, shown))
    else:
        state.say(empty)


def print_one(
    state: State, document: Row, columns: Sequence[Column[Row]], *, name: Callable[[Row], str]
) -> None:
    """Print one resource in the wanted format: a line per column for people."""
    if state.as_json:
        print_json(document)
    elif state.as_names:
        write_text(f"{clean(name(document))}\n")
    else:
        width = max(len(column.title) for column in columns) + 2
        for column in columns:
            text = cell(state, column.value(document))
            if text not in ("", "-"):
                write_text(f"{column.title.lower():<{width}}{paint(state, text)}\n")


def render_table(state: State, rows: Sequence[Row], columns: Sequence[Column[Row]]) -> str:
    """Lay rows out in columns; on a terminal the flexible columns are cut so that a row stays one line."""
    grid = [[cell(state, column.value(row)) for column in columns] for row in rows]
    widths = [
        max(_width(column.title), *(_width(line[index]) for line in grid))
        for index, column in enumerate(columns)
    ]
    if is_terminal(1) and not state.wide:
        _shrink(widths, columns, shutil.get_terminal_size().columns)
    lines = [_line([column.title for column in columns], widths, lambda text: text)]
    lines += [_line(line, widths, lambda text: paint(state, text)) for line in grid]
    return "".join(lines)


def cell(state: State, value: object) -> str:
    """Turn a value into the text of a table cell: `-` for none, relative times on a terminal, no control characters."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return ago(value) if state.relative_times else iso(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return clean(",".join(f"{key}={one}" for key, one in value.items())) or "-"
    return clean(str(value))


def clean(text: str) -> str:
    """Show control characters instead of sending them to the terminal."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def paint(state: State, text: str) -> str:
    """Colour a status word."""
    colour = _COLOURS.get(text.strip()) if state.colour else None
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


def iso(moment: datetime) -> str:
    """Write a moment as RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(moment: datetime) -> str:
    """Say how long ago (or ahead) a moment is, in its largest unit."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    text = span(abs(seconds))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def span(seconds: float) -> str:
    """Say a length of time in its largest unit, e.g. `120ms`, `4s`, `3m`, `2h`, `5d`."""
    if seconds < 1:
        return f"{int(seconds * 1000)}ms"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def size(count: int | None) -> str | None:
    """Say a number of bytes in binary units."""
    if count is None:
        return None
    amount, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{int(amount)} {units[0]}" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def _width(text: str) -> int:
    """Return the cells that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _shrink(widths: list[int], columns: Sequence[Column[Any]], limit: int) -> None:
    """Take cells from the widest flexible column until a row fits or all of them are at their title's width."""
    flexible = [index for index, column in enumerate(columns) if column.flexible]
    while flexible and sum(widths) + 2 * (len(widths) - 1) > limit:
        widest = max(flexible, key=lambda index: widths[index])
        if widths[widest] <= max(8, len(columns[widest].title)):
            return
        widths[widest] -= 1


def _line(cells: Sequence[str], widths: Sequence[int], decorate: Callable[[str], str]) -> str:
    """Pad or cut the cells of one row; the last column gets no trailing blanks."""
    parts = []
    for index, (text, width) in enumerate(zip(cells, widths, strict=True)):
        cut = _cut(text, width)
        padding = "" if index == len(cells) - 1 else " " * (width - _width(cut))
        parts.append(decorate(cut) + padding)
    return "  ".join(parts).rstrip() + "\n"


def _cut(text: str, width: int) -> str:
    """Cut a text to a width, with an ellipsis where something is missing."""
    if _width(text) <= width:
        return text
    kept = text
    while kept and _width(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…"


def print_deleted(state: State, noun: str, names: Sequence[str]) -> None:
    """Say what is gone: JSON `{"deleted": [...]}`, one name a line, or a sentence on stderr."""
    if state.as_json:
        print_json({"deleted": list(names)})
    elif state.as_names:
        write_text("".join(f"{clean(name)}\n" for name in names))
    else:
        for name in names:
            state.say(f"{noun} {clean(name)} deleted")
