"""Hours, days and months of UTC: the spans that usage is told in."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

from vc_auth.clock import MICROSECOND
from vc_auth.errors import InvalidInput
from vc_auth.records import Usage

Period = Literal["hour", "day", "month"]
PERIODS: Final[tuple[Period, ...]] = get_args(Period)
SHOWN: Final[Mapping[Period, int]] = {"hour": 24, "day": 30, "month": 12}  # how many, if nobody says since when
MOST: Final = 100_000  # periods at once: eleven years of hours, 273 years of days

_LENGTHS: Final[Mapping[Period, timedelta]] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "month": timedelta(days=31),
}


def beginning(time: datetime, period: Period) -> datetime:
    """The first moment of the hour, day or month that ``time`` (UTC) lies in."""
    hour = time.replace(minute=0, second=0, microsecond=0)
    if period == "hour":
        return hour
    return hour.replace(hour=0) if period == "day" else hour.replace(day=1, hour=0)


def shifted(start: datetime, period: Period, count: int) -> datetime:
    """The beginning of the period that comes ``count`` periods after the one that begins at ``start``.

    Raises OverflowError for what is in no calendar.
    """
    if period != "month":
        return start + count * _LENGTHS[period]
    years, month = divmod(start.month - 1 + count, 12)
    try:
        return start.replace(year=start.year + years, month=month + 1)
    except ValueError:
        raise OverflowError(f"year {start.year + years} is in no calendar") from None


def span(period: Period, since: datetime | None, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """From the beginning of the period that ``since`` lies in, up to ``until``, which is not in it any more; in UTC.

    Without ``until`` up to the end of the present period, without ``since`` the last 24 hours, 30 days or 12 months of
    that. Raises InvalidInput for what is no period or no span, for times without a zone, and for too many periods.
    """
    if period not in PERIODS:
        raise InvalidInput(f"no usage by {period!r}; choose from {', '.join(PERIODS)}")
    try:
        end = shifted(beginning(now, period), period, 1) if until is None else _in_utc("until", until)
        last = beginning(end - MICROSECOND, period)
        begin = shifted(last, period, 1 - SHOWN[period]) if since is None else _in_utc("since", since)
    except OverflowError:
        raise InvalidInput("these times are in no calendar; give others") from None
    begin = beginning(begin, period)
    if begin >= end:
        raise InvalidInput(f"there is no time from {begin} (since) to {end} (until); give an earlier since")
    if end - begin > MOST * _LENGTHS[period]:
        raise InvalidInput(f"these are more than {MOST:,} {period}s; ask for longer periods, or for less")
    return begin, end


def told_by(period: Period, hours: Iterable[Usage], since: datetime, until: datetime) -> list[Usage]:
    """The usage of every period of a `span`, also of idle ones. ``hours``: that of the hours in it, in any order."""
    sums = {start: Usage(start) for start in _starts(period, since, until)}
    for usage in hours:
        sums[beginning(usage.start, period)] += usage
    return list(sums.values())


def _starts(period: Period, since: datetime, until: datetime) -> Iterator[datetime]:
    start = since
    while start < until:
        yield start
        start = shifted(start, period, 1)


def _in_utc(name: str, time: datetime) -> datetime:
    if time.tzinfo is None:
        raise InvalidInput(f"{name}={time} has no zone; give an aware datetime, such as datetime.now(UTC)")
    return time.astimezone(UTC)
