"""What the house means by a clock. Time is an argument everywhere; nobody here reads it by himself."""

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Two readings, in nanoseconds. The standard library's module ``time`` is one, and the default everywhere."""

    def monotonic_ns(self) -> int:
        """Never steps back: for deadlines and buckets."""

    def time_ns(self) -> int:
        """UTC since 1970, may step: for what people and other machines read, such as a key's expiry."""


def utcnow(clock: Clock) -> datetime:
    """The wall clock as an aware UTC datetime, exact to its microsecond (a float of seconds would not be)."""
    return EPOCH + timedelta(microseconds=clock.time_ns() // 1_000)
