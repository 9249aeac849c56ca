"""What the house means by a clock. Time is an argument everywhere; nobody here reads it by himself."""

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


class Clock(Protocol):
    """Two readings, in nanoseconds. The standard library's module ``time`` is one, and the default everywhere."""

    def monotonic_ns(self) -> int:
        """Never steps back: for deadlines and buckets."""

    def time_ns(self) -> int:
        """UTC since 1970, may step: for what people and other machines read, such as a key's expiry."""


def utcnow(clock: Clock) -> datetime:
    """The wall clock as an aware UTC datetime, exact to its microsecond (a float of seconds would not be)."""
    return from_us(clock.time_ns() // 1_000)


def from_us(microseconds: int) -> datetime:
    """The UTC time that is so many microseconds after the beginning of 1970."""
    return EPOCH + timedelta(microseconds=microseconds)


def to_us(time: datetime) -> int:
    """Whole microseconds since 1970 of an aware time."""
    return (time - EPOCH) // MICROSECOND
