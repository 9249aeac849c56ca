"""Where buckets live."""

from vc_auth.clock import Clock
from vc_auth.limiters.base import Limiter, Peeking
from vc_auth.limiters.memory import MemoryLimiter

__all__ = ["Limiter", "MemoryLimiter", "Peeking", "open_limiter"]


def open_limiter(url: str, clock: Clock) -> Limiter | None:
    """The limiter that a URL names: ``memory://``, or ``none`` for no limits. Raises ValueError for any other."""
    if url == "none":
        return None
    if url != "memory://":
        raise ValueError(f"{url!r} is no limiter; use 'memory://' or 'none'")
    return MemoryLimiter(clock)
