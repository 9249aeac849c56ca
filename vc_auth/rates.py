"""A rate, a verdict, and the arithmetic between them: the token bucket in integer microseconds.

The bucket is kept as GCRA keeps it (ATM Forum TM 4.0, 4.4.3): one *theoretical arrival time* (tat), the moment at
which it will be full again. Its distance from now is the *debt*, and every token costs one *emission interval*.
Integers, because with a capacity of exactly one period a float's rounding decides about the burst's last token.
"""

from copy import copy
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache, partial
from typing import Final, NamedTuple

from limits import parse_many

SECOND: Final = 1_000_000  # microseconds, the unit of every ``_us`` here
ALMOST_A_SECOND: Final = SECOND - 1  # added before a floor division, it rounds up
_EXACT: Final = "use at most 1000/second, or an amount that divides the microseconds of its period"
LONGEST: Final = 100 * 366 * 86_400 * SECOND  # a capacity stays exact in a double beside today's microseconds (2**53)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests per period, sent evenly, and at most ``burst`` at once.

    ``limit`` is one rate as ``limits`` writes it: ``"60/minute"``, ``"10 per 5 seconds"``. ``burst`` is at least 1.
    Raises ValueError for no rate or several, an amount or multiple of zero, and a rate so fast that rounding its
    emission interval up to a whole microsecond would slow it by more than 0.1 %.
    """

    limit: str
    burst: int
    amount: int = field(init=False, repr=False)
    period_us: int = field(init=False, repr=False)
    emission_us: int = field(init=False, repr=False)
    """Microseconds until one more token: ``ceil(period / amount)``. 1,000,000 for ``"60/minute"``."""
    capacity_us: int = field(init=False, repr=False)
    """Microseconds to refill an empty bucket: ``emission * burst``. 100,000,000 for a free plan."""

    def __post_init__(self) -> None:
        amount, period_us = _parse(self.limit)
        emission_us = -(-period_us // amount)
        if (emission_us * amount - period_us) * 1_000 > period_us:
            raise ValueError(f"rate {self.limit!r} is too fast to be kept exactly; {_EXACT}")
        if type(self.burst) is not int or self.burst < 1:
            raise ValueError(f"burst {self.burst!r} is not a whole number of at least 1")
        if emission_us * self.burst > LONGEST:
            raise ValueError(f"burst {self.burst} at {self.limit!r} takes over 100 years to refill; use a smaller one")
        self._set(amount=amount, period_us=period_us, emission_us=emission_us, capacity_us=emission_us * self.burst)

    def _set(self, **values: int) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


@lru_cache(maxsize=1_024)
def part_of(rate: Rate, share: Fraction, least: int = 1) -> Rate:
    """What one of several gets who share a rate evenly: as many tokens fewer, each as much later.

    The burst is rounded down, but not below ``least`` tokens, so that a request that costs so many can pass at all.
    """
    part = copy(rate)
    emission_us, burst = -int(-rate.emission_us // share), max(int(rate.burst * share), least)
    part._set(burst=burst, emission_us=emission_us, capacity_us=emission_us * burst)  # a Rate, too
    return part


def _parse(limit: str) -> tuple[int, int]:
    """Amount and period in microseconds. ``limits.parse`` would take 0/minute, and drop all rates but the first."""
    try:
        items = parse_many(limit)
    except ValueError:
        raise ValueError(f"rate {limit!r} is not one that `limits` can read; write it like '60/minute'") from None
    if len(items) != 1:
        raise ValueError(f"rate {limit!r} holds {len(items)} rates; a plan has exactly one, like '60/minute'")
    (item,) = items
    # `limits` reads "60/0 minute" as "60/minute": count the numbers it was given, not those it made of them.
    if item.amount < 1 or any(not int(number) for number in _numbers(limit)):
        raise ValueError(f"rate {limit!r} holds a zero; every number in it is at least 1, like '60/minute'")
    return item.amount, item.get_expiry() * SECOND


def _numbers(limit: str) -> list[str]:
    return "".join(char if char.isdigit() else " " for char in limit).split()


class Decision(NamedTuple):
    """What a limiter said about one request. A tuple: immutable, and cheap enough to make for every request."""

    allowed: bool
    limit: int
    """The burst: the most that can be sent at once. 100 for a free plan."""
    remaining: int
    """What could be sent at once, right after this decision. 99 after a free key's first request."""
    retry_after_us: int
    """Until this request would be admitted if no other came; 0 if it was. 1,000,000 for the 101st at once."""
    refill_after_us: int
    """Until ``remaining`` grows by one; 0 if it cannot grow."""
    reset_after_us: int
    """Until the bucket is full again."""

    @property
    def retry_after(self) -> int:
        """Whole seconds, rounded up, at least 1: the number in a 429 (RFC 9110, 10.2.3)."""
        return max(1, whole_seconds(self.retry_after_us))


_decision: Final = partial(tuple.__new__, Decision)  # Decision(...) takes twice as long, for every request


def whole_seconds(us: int) -> int:
    """Microseconds as whole seconds, rounded up."""
    return -(-us // SECOND)


def token_bucket(tat: int, emission: int, now: int, rate: Rate, cost: int = 1) -> tuple[int, Decision]:
    """Spend ``cost`` tokens at ``now`` if they are there. Returns the bucket's new tat and the decision.

    ``tat`` and ``emission`` are what the bucket was left with; any ``tat <= now`` is a full bucket, so a new one is
    ``(0, rate.emission_us)``. The new tat goes with ``rate.emission_us``. All times in microseconds of one clock.

    A refusal takes nothing. A changed rate keeps the debt in tokens, rounded up to whole ones, as far as the new burst
    holds it; the same clamp means that no step of a clock locks a bucket for longer than one refill.
    """
    interval, capacity = rate.emission_us, rate.capacity_us
    debt = tat - now
    if debt > 0:
        if emission != interval:
            debt = -(-debt // emission) * interval
        if debt > capacity:
            debt = capacity
    else:
        debt = 0
    owed = debt + cost * interval
    lacking = owed - capacity
    allowed = lacking <= 0
    if allowed:
        debt, lacking = owed, 0
    left = capacity - debt
    remaining = left // interval
    until_next = (remaining + 1) * interval - left if debt else 0
    return now + debt, _decision((allowed, rate.burst, remaining, lacking, until_next, debt))
