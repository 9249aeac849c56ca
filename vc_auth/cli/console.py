"""What goes to stdout and stderr.

stdout carries what a program would read: tables, JSON, ids, a new key. stderr carries sentences for people. Names come
from a database that somebody may have written by hand, so nothing reaches a terminal that it could obey.
"""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

STYLES: Final = {"active": "green", "revoked": "red", "expired": "yellow", "suspended": "yellow"}
_GAP: Final = "  "


def shown(text: str) -> str:
    """The text with everything that is not printable escaped as Python writes it, such as ESC or U+202E."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def say(sentence: str) -> None:
    """A sentence for people, on stderr."""
    click.echo(shown(sentence), err=True)


def put(line: str) -> None:
    """One line for programs, on stdout."""
    click.echo(_writable(line))


def put_json(value: Any) -> None:
    """A JSON document on stdout; all but ASCII is escaped in it."""
    click.echo(json.dumps(value, indent=2))


def put_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under their headings, one of which is "status". Nothing is shortened, however narrow the terminal is.

    The layout is made by hand: rich's Table takes 3 s for the 5,000 keys that a project may have, this takes 0.2 s.
    """
    cells = [[_writable(cell) for cell in row] for row in rows]
    widths = [max(cell_len(cell) for cell in column) for column in zip(columns, *cells, strict=True)]
    status = columns.index("status")
    lines = [_line(columns, widths), *(_line(row, widths, status) for row in cells)]
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        click.echo("\n".join(line.plain for line in lines))
        return
    lines[0].stylize("bold")
    console.print(Text("\n").join(lines), soft_wrap=True)


def put_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Names and values on stdout, one pair a line."""
    width = max(len(name) for name, _ in facts)
    click.echo("\n".join(f"{name:{width}}{_GAP}{_writable(value)}" for name, value in facts))


def minute(time: datetime | None, absent: str = "-") -> str:
    """A time for a table: UTC, to the minute."""
    return absent if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"


def moment(time: datetime | None, absent: str = "-") -> str:
    """A time for a sentence: UTC, to the second."""
    return absent if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def timestamp(time: datetime | None) -> str | None:
    """A time for a program: RFC 3339 in UTC, exact."""
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _line(cells: Sequence[str], widths: Sequence[int], status: int = -1) -> Text:
    line = Text()
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        line.append(cell, STYLES.get(cell) if column == status else None)
        line.append(" " * (width - cell_len(cell)) + _GAP)
    line.rstrip()
    return line


def _writable(text: str) -> str:
    """The text as `shown`, and escaped where stdout's encoding cannot write it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return shown(text).encode(encoding, "backslashreplace").decode(encoding)
