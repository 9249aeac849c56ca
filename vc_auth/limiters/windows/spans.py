"""What a window of `limits` holds, and when it will hold more: one reading and one arithmetic for each strategy.

No time here is ever too short: what a storage does not tell is taken to last as long as it can.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from math import ceil, floor
from typing import Final, NamedTuple, Protocol, Self, cast

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MovingWindowSupport, RedisStorage, SlidingWindowCounterSupport
from limits.aio.strategies import RateLimiter

from vc_auth.rates import SECOND, Decision, Rate

_TENTH: Final = 0.0001  # seconds; Redis keeps the times of a moving window no finer
_GRAIN: Final = 0.001  # and those of a sliding one
_ROUNDED: Final = 0.5  # Redis tells the seconds of a fixed window as whole ones, up to half a second too few


class Window(RateLimitItemPerSecond):
    """A rate's window. Its keys have no amount in them, so that what was spent stays spent when the plan changes."""

    def key_for(self, *identifiers: bytes | str | float) -> str:
        """The key of a bucket's window."""
        return "/".join((self.namespace, *map(str, identifiers), str(self.get_expiry())))


class Span(Protocol):
    """A window as it is at one moment."""

    @property
    def remaining(self) -> int:
        """What could be sent at once."""

    def until(self, tokens: int) -> float:
        """Seconds until so many tokens could be sent at once if nobody sent any before; 0 if they could be now."""

    def after(self, cost: int) -> Self:
        """The same, with so many tokens more spent."""


Look = Callable[[RateLimiter, RateLimitItem, str, int], Awaitable[Span]]
"""Reads the window of a bucket, for a request of this cost."""


def decide(span: Span, rate: Rate, cost: int, *, allowed: bool) -> Decision:
    """The decision that left a window like this."""
    remaining = span.remaining
    return Decision(
        allowed,
        rate.burst,
        remaining,
        0 if allowed else max(_microseconds(span.until(cost)), 1),
        _microseconds(span.until(remaining + 1)) if remaining < rate.amount else 0,
        _microseconds(span.until(rate.amount)),
    )


def _microseconds(seconds: float) -> int:
    return max(ceil(seconds * SECOND), 0)  # some time has passed since it was read


# -- fixed windows: all of it comes back at once -----------------------------------------------------------------------


class _Fixed(NamedTuple):
    remaining: int
    ends: float

    def until(self, tokens: int) -> float:
        return self.ends if tokens > self.remaining else 0

    def after(self, cost: int) -> Self:
        return self._replace(remaining=self.remaining - cost)


async def _look_at_fixed(limiter: RateLimiter, window: RateLimitItem, bucket: str, _cost: int) -> _Fixed:
    ends_at, remaining = await limiter.get_window_stats(window, bucket)
    ends = ends_at - time.time() + (_ROUNDED if isinstance(limiter.storage, RedisStorage) else 0)
    known = remaining < window.amount and 0 < ends < window.get_expiry()  # else it has not begun, or nobody can tell
    return _Fixed(remaining, ends if known else window.get_expiry())


# -- moving windows: each request comes back a period after it was admitted --------------------------------------------


class _Moving(NamedTuple):
    remaining: int
    one: float
    """Until one more request fits."""
    cost: int
    cost_fits: float
    """Until a request of this cost fits."""
    latest: float
    """Until everything fits, at the latest."""

    def until(self, tokens: int) -> float:
        if tokens <= self.remaining:
            return 0
        if tokens == self.remaining + 1:
            return self.one
        return self.cost_fits if tokens == self.cost else self.latest

    def after(self, cost: int) -> Self:
        return self._replace(remaining=self.remaining - cost)


async def _look_at_moving(limiter: RateLimiter, window: RateLimitItem, bucket: str, cost: int) -> _Moving:
    """A storage tells when the oldest request leaves; Redis alone also tells it of the oldest among so many."""
    storage, period = cast(MovingWindowSupport, limiter.storage), window.get_expiry()
    latest = period + _TENTH

    async def ask(tokens: int) -> tuple[int, float]:
        """What is held, and how long until one fewer than so many tokens are; the latest where that is not told."""
        begin, held = await storage.get_moving_window(window.key_for(bucket), tokens, period)
        return held, begin + latest - time.time() if 0 < held <= tokens else latest

    held, one = await ask(window.amount)
    remaining = max(window.amount - held, 0)
    cost_fits = one if cost <= remaining + 1 else (await ask(window.amount - cost + 1))[1]
    return _Moving(remaining, one, cost, cost_fits, latest)


# -- sliding window counters: what the last window held weighs less and less -------------------------------------------


class _Sliding(NamedTuple):
    amount: int
    period: int
    previous: int
    left: float
    """Seconds of its period that the previous window still weighs for."""
    current: int
    shifts: float
    """Seconds until the current window becomes the previous one."""

    @property
    def remaining(self) -> int:
        return max(self.amount - floor(self._weight), 0)

    @property
    def _weight(self) -> float:
        return self.previous * self.left / self.period + self.current

    def until(self, tokens: int) -> float:
        below = self.amount - tokens + 1  # what it has to weigh less than
        if self._weight < below:
            return 0
        if self.current < below:
            return self.left - (below - self.current) * self.period / self.previous + _GRAIN
        return self.shifts + self.period - below * self.period / self.current + _GRAIN

    def after(self, cost: int) -> Self:
        return self._replace(current=self.current + cost)


async def _look_at_sliding(limiter: RateLimiter, window: RateLimitItem, bucket: str, _cost: int) -> _Sliding:
    storage, period = cast(SlidingWindowCounterSupport, limiter.storage), window.get_expiry()
    previous, left, current, ends = await storage.get_sliding_window(window.key_for(bucket), period)
    return _Sliding(window.amount, period, previous, left, current, max(ends - period, 0) if ends else period)


LOOKS: Final[Mapping[str, Look]] = {
    "fixed-window": _look_at_fixed,
    "moving-window": _look_at_moving,
    "sliding-window-counter": _look_at_sliding,
}
