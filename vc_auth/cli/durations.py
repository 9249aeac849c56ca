"""Spans of time as people type them: ``30d``, ``12h``, ``90m``, ``2w``."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_span = re.compile(r"([0-9]+)([smhdw])").fullmatch


def read_duration(_: click.Context, __: click.Parameter, text: str | None) -> timedelta | None:
    """What an option says: a whole number and a unit (s, m, h, d, w), or a bare ``0``; None if it was not given.

    Raises BadParameter with a sentence for anything else.
    """
    if text is None:
        return None
    match = _span("0s" if text == "0" else text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no duration; write a number and a unit, as in 90m, 12h, 30d or 2w.")
    try:
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    except (OverflowError, ValueError):  # ValueError: more digits than Python makes a number of
        raise click.BadParameter("that is longer than any calendar; write a shorter duration.") from None


def read_moment(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | timedelta | None:
    """What an option says: a date or time (UTC unless it names a zone), or how long ago, as in ``7d``."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return _read_ago(context, parameter, text)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _read_ago(context: click.Context, parameter: click.Parameter, text: str) -> timedelta | None:
    try:
        return read_duration(context, parameter, text)
    except click.BadParameter:
        hint = "write 2026-11-22, 2026-11-22T14:00, or how long ago, as in 36h, 30d or 8w."
        raise click.BadParameter(f"{text!r} is no time; {hint}") from None
