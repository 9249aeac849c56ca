"""Limiters on a Redis, as the tests open them."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from fractions import Fraction
from time import monotonic_ns
from typing import Final

from vc_auth.limiters.outages import Outages
from vc_auth.limiters.redis import ClusterLimiter, open_redis_limiter
from vc_auth.limiters.resilient import PROBES, ResilientLimiter
from vc_auth.metrics import Metrics
from vc_auth.rates import Rate
from vc_auth.testing import TurnableClock

PATIENT: Final = 30.0  # seconds for a check, where slowness is not what is tested
DAILY: Final = Rate("1/day", 100)
"""No token of it comes back while a test runs."""


class Told(Metrics):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.changes: list[str] = []

    def limiter_unreachable(self, reason: str) -> None:
        self.changes.append(reason)

    def limiter_reachable(self, after: float) -> None:
        self.changes.append("reachable")


def make_limiter(
    url: str,
    *,
    mode: str = "local",
    share: Fraction = Fraction(1),
    metrics: Metrics | None = None,
    deadline: float = PATIENT,
    probes: tuple[float, float] = PROBES,
    clock: TurnableClock | None = None,
    server_now_us: Callable[[], int] | None = None,
) -> ResilientLimiter | ClusterLimiter:
    """A limiter on the server's own time; with a clock, on the clock's, on both sides."""
    now_ns = monotonic_ns if clock is None else clock.monotonic_ns
    if clock is not None and server_now_us is None:
        server_now_us = lambda: clock.monotonic_ns() // 1_000  # noqa: E731  # it is one
    outages = Outages(mode, lambda: share, metrics if metrics is not None else Metrics())
    return open_redis_limiter(
        url, outages, deadline=deadline, probes=probes, now_ns=now_ns, server_now_us=server_now_us
    )


@asynccontextmanager
async def opened(limiter: ResilientLimiter | ClusterLimiter) -> AsyncIterator[ResilientLimiter | ClusterLimiter]:
    async with aclosing(limiter):
        await limiter.open()
        yield limiter
