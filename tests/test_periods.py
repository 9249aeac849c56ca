"""Hours, days and months of UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vc_auth.errors import InvalidInput
from vc_auth.periods import PERIODS, Period, beginning, shifted, span, told_by
from vc_auth.records import Usage

NOW = datetime(2026, 3, 31, 23, 59, 59, 999_999, UTC)
HOUR = timedelta(hours=1)
NAIVE = NOW.replace(year=1990, tzinfo=None)

times = st.datetimes(NAIVE, NAIVE.replace(year=2090), timezones=st.just(UTC))
periods = st.sampled_from(PERIODS)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]  # year, month, day, hour


@pytest.mark.parametrize(
    ("period", "begin"), [("hour", utc(2026, 3, 31, 23)), ("day", utc(2026, 3, 31)), ("month", utc(2026, 3, 1))]
)
def test_a_period_begins_where_its_name_says(period: Period, begin: datetime) -> None:
    assert beginning(NOW, period) == begin
    assert beginning(begin, period) == begin


@given(times, periods, st.integers(-50, 50))
def test_periods_follow_each_other_without_gaps(time: datetime, period: Period, count: int) -> None:
    start = beginning(time, period)
    assert start <= time < shifted(start, period, 1)
    there = shifted(start, period, count)
    assert beginning(there, period) == there
    assert beginning(shifted(there, period, 1) - timedelta(microseconds=1), period) == there
    assert shifted(there, period, -count) == start


def test_a_month_is_a_month_also_over_the_end_of_a_year() -> None:
    assert shifted(utc(2026, 11, 1), "month", 3) == utc(2027, 2, 1)
    assert shifted(utc(2026, 2, 1), "month", -14) == utc(2024, 12, 1)


@pytest.mark.parametrize("period", PERIODS)
def test_what_is_in_no_calendar_is_an_overflow(period: Period) -> None:
    for count in (10**6, -(10**6)):
        with pytest.raises(OverflowError):
            shifted(utc(9999, 12, 1) if count > 0 else utc(1, 1, 1), period, count)


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        ("hour", (utc(2026, 3, 31, 0), utc(2026, 4, 1))),
        ("day", (utc(2026, 3, 2), utc(2026, 4, 1))),
        ("month", (utc(2025, 4, 1), utc(2026, 4, 1))),
    ],
)
def test_without_a_span_it_is_the_last_24_hours_30_days_or_12_months(
    period: Period, expected: tuple[datetime, datetime]
) -> None:
    assert span(period, None, None, NOW) == expected


def test_a_span_begins_with_its_whole_first_period_and_ends_before_until() -> None:
    assert span("day", utc(2026, 3, 5, 17), utc(2026, 3, 9), NOW) == (utc(2026, 3, 5), utc(2026, 3, 9))
    assert span("month", None, utc(2026, 3, 1), NOW) == (utc(2025, 3, 1), utc(2026, 3, 1))


def test_times_of_other_zones_are_taken_as_utc() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    since, until = span("hour", datetime(2026, 3, 5, 4, tzinfo=india), None, NOW)
    assert since == utc(2026, 3, 4, 22)
    assert since.tzinfo is until.tzinfo is UTC


@pytest.mark.parametrize(
    ("period", "since", "until", "sentence"),
    [
        ("week", None, None, "no usage by 'week'; choose from hour, day, month"),
        ("day", NAIVE, None, "has no zone; give an aware datetime"),
        ("day", None, NAIVE, "has no zone; give an aware datetime"),
        ("day", utc(2026, 4, 1), None, "there is no time from"),
        ("hour", utc(2026, 1, 2), utc(2026, 1, 1), "give an earlier since"),
        ("hour", utc(2014, 1, 1), None, "more than 100,000 hours; ask for longer periods, or for less"),
        ("day", utc(1700, 1, 1), None, "more than 100,000 days"),
        ("month", None, utc(1, 1, 1), "in no calendar"),
        ("month", None, utc(1, 2, 1), "in no calendar"),
    ],
)
def test_a_span_that_cannot_be_is_refused_with_a_sentence(
    period: Period, since: datetime | None, until: datetime | None, sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        span(period, since, until, NOW)


def test_the_last_moment_of_the_calendar_has_no_present_period() -> None:
    with pytest.raises(InvalidInput, match="in no calendar"):
        span("month", None, None, utc(9999, 12, 31))


@given(periods, st.lists(st.integers(0, 3_000)))
def test_every_hour_is_told_once_in_the_period_that_it_lies_in(period: Period, hours: list[int]) -> None:
    since, until = span(period, utc(2026, 1, 1), utc(2026, 6, 1), NOW)
    usage = [Usage(since + hour * HOUR, 1, hour, 2) for hour in hours]
    told = told_by(period, usage, since, until)
    assert [one.start for one in told] == sorted({beginning(since + n * HOUR, period) for n in range(151 * 24)})
    assert sum(one.requests for one in told) == sum(one.requests for one in usage)
    for one in told:
        inside = [hour for hour in usage if beginning(hour.start, period) == one.start]
        assert one.admitted == len(inside)
        assert one.limited == sum(hour.limited for hour in inside)
        assert one.forbidden == 2 * len(inside)
