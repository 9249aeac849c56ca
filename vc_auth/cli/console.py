"""What goes to stdout and stderr.

stdout carries what a program would read: tables, JSON, ids, a new key. stderr carries sentences for people. Names come
from a database that somebody may have written by hand, so nothing reaches a terminal that it could obey.
"""

import json
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

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


def can_write(text: str) -> bool:
    """Whether stdout's encoding knows all of these characters."""
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        return False
    return True


def put_table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, numbers: Collection[str] = ()) -> None:
    """Rows under their headings; nothing is shortened, however narrow the terminal is.

    A cell may be a Text with colours of its own; those called "status" have theirs. The columns called ``numbers`` are
    set to the right. The layout is made by hand: rich's Table takes 3 s for the 5,000 keys of a large project.
    """
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    cells = [[cell if isinstance(cell, Text) else _writable(cell) for cell in row] for row in rows]
    layout = [
        _Column(max(map(_width, column)), is_status=column[0] == "status", is_number=column[0] in numbers)
        for column in zip(columns, *cells, strict=True)
    ]
    if not console.is_terminal:
        click.echo("\n".join("".join(map(str, _pieces(row, layout))).rstrip() for row in (columns, *cells)))
        return
    lines = [Text.assemble(*_pieces(row, layout)) for row in (columns, *cells)]
    lines[0].stylize("bold")
    for line in lines:
        line.rstrip()
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


class _Column(NamedTuple):
    width: int
    is_status: bool
    is_number: bool


def _width(cell: str | Text) -> int:
    return cell_len(cell) if isinstance(cell, str) else cell.cell_len


def _pieces(cells: Sequence[str | Text], layout: Sequence[_Column]) -> Iterator[str | Text]:
    for cell, column in zip(cells, layout, strict=True):
        padding = " " * (column.width - _width(cell))
        if column.is_number:
            yield padding
        yield Text(cell, STYLES[cell]) if column.is_status and isinstance(cell, str) and cell in STYLES else cell
        yield _GAP if column.is_number else padding + _GAP


def _writable(text: str) -> str:
    """The text as `shown`, and escaped where stdout's encoding cannot write it."""
    return shown(text).encode(_encoding(), "backslashreplace").decode(_encoding())


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"  # stdout is None if it is closed
