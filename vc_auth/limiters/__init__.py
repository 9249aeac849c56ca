"""Where buckets live."""

import time
from collections.abc import Callable
from fractions import Fraction

from vc_auth.clock import Clock
from vc_auth.limiters.base import Limiter, Peeking
from vc_auth.limiters.memory import MemoryLimiter
from vc_auth.limiters.outages import Outages
from vc_auth.limiters.remote import Unreachable
from vc_auth.metrics import Metrics
from vc_auth.settings import Settings
from vc_auth.urls import BadURL, is_redis, problem_with_limiter

__all__ = ["Limiter", "MemoryLimiter", "Peeking", "Unreachable", "open_limiter"]


def open_limiter(
    settings: Settings,
    clock: Clock = time,
    metrics: Metrics | None = None,
    share: Callable[[], Fraction] = lambda: Fraction(1),
) -> Limiter | None:
    """The limiter that the settings name; None for no limits. It connects when it is opened, or used.

    ``share`` is asked for this process's part of each plan when an outage begins. Raises `vc_auth.urls.BadURL`, and
    LimiterError for windows that cannot be.
    """
    url = settings.limiter
    if problem := problem_with_limiter(url):
        raise BadURL(*problem)
    if url == "none":
        return None
    if url == "memory://":
        return MemoryLimiter(clock)
    outages = Outages(settings.on_limiter_error, share, metrics if metrics is not None else Metrics())
    if is_redis(url):
        from vc_auth.limiters.redis import open_redis_limiter  # noqa: PLC0415  # a driver is imported when asked for

        return open_redis_limiter(url, outages, deadline=settings.limiter_timeout, now_ns=clock.monotonic_ns)
    from vc_auth.limiters.resilient import ResilientLimiter  # noqa: PLC0415  # so are these
    from vc_auth.limiters.windows import WindowKeeper  # noqa: PLC0415

    keeper = WindowKeeper(url, settings.limiter_strategy, settings.limiter_timeout, clock.monotonic_ns)
    return ResilientLimiter(keeper, outages, clock.monotonic_ns)
