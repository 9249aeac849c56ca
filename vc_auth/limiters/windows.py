"""Windows in place of buckets: any strategy of `limits` on any of its storages.

Requests per minute, and no burst. What differs from a bucket is in the README; the strategies are described in the
documentation of `limits`, "Rate limiting strategies".
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from inspect import isawaitable
from typing import Any, Final, cast

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import Storage
from limits.aio.strategies import STRATEGIES, RateLimiter
from limits.errors import ConfigurationError
from limits.storage import storage_from_string
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from vc_auth.errors import BackendError, LimiterError
from vc_auth.limiters.base import check_cost
from vc_auth.limiters.lifetimes import OfTheLoop
from vc_auth.limiters.remote import Lost, Owed, Watcher
from vc_auth.masking import masked
from vc_auth.rates import SECOND, Decision, Rate
from vc_auth.urls import windows_storage

_PERIODS_UNTIL_FULL: Final = {"fixed-window": 1, "moving-window": 1, "sliding-window-counter": 2}  # at the latest
_INSTALL: Final = {"memcached": "memcachio", "mongodb": "motor"}


class WindowKeeper:
    """A `vc_auth.limiters.remote.Remote` on a storage of `limits`: two round trips a check, in one deadline.

    Takes rates whose burst is their amount. Raises LimiterError for a URL that `limits` does not know, for a client
    library that is not installed, and for a strategy that the storage has not.
    """

    def __init__(self, url: str, strategy: str, deadline: float) -> None:
        self._url = url
        self._strategy = strategy
        self._deadline = deadline
        self._watcher: Watcher
        self._limiter = OfTheLoop(self._make, _close)
        self._make()  # for its errors

    # -- checks --------------------------------------------------------------------------------------------------------

    async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        check_cost(cost, rate)
        item = _item(rate)
        async with self._in_time() as limiter:
            allowed = await limiter.hit(item, bucket, cost=cost)
            return self._decision(rate, await limiter.get_window_stats(item, bucket), allowed=allowed)

    async def peek(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        check_cost(cost, rate)
        item = _item(rate)
        async with self._in_time() as limiter:
            allowed = await limiter.test(item, bucket, cost=cost)
            reset_at, remaining = await limiter.get_window_stats(item, bucket)
            stats = (reset_at, remaining - cost if allowed else remaining)
            return self._decision(rate, stats, allowed=allowed)

    def last_tat(self, bucket: str, rate: Rate) -> int:  # noqa: ARG002  # nothing is remembered
        """See `vc_auth.limiters.remote.Remote`."""
        return 0

    def _decision(self, rate: Rate, stats: tuple[float, int], *, allowed: bool) -> Decision:
        reset_at, remaining = stats
        wait = max(round((reset_at - time.time()) * SECOND), 1)
        used = remaining < rate.amount
        until_full = wait if self._strategy == "fixed-window" else _PERIODS_UNTIL_FULL[self._strategy] * rate.period_us
        return Decision(
            allowed,
            rate.burst,
            max(remaining, 0),
            0 if allowed else wait,
            wait if used else 0,
            until_full if used else 0,
        )

    # -- the storage ---------------------------------------------------------------------------------------------------

    async def bind(self, watcher: Watcher) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        self._watcher = watcher
        await self._limiter.bind()

    async def check(self) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        try:
            async with asyncio.timeout(1):
                await self._limiter.thing.storage.get("vc1")
        except Exception as error:
            raise self._meaning(error) from error

    async def probe(self) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        await self.check()

    async def charge(self, owed: Sequence[Owed]) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        for bucket, rate, debt_us in owed:
            tokens = min(-(-debt_us // rate.emission_us), rate.amount)
            async with self._in_time() as limiter:
                await limiter.hit(_item(rate), bucket, cost=tokens)

    async def aclose(self) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        await self._limiter.aclose()

    @asynccontextmanager
    async def _in_time(self) -> AsyncGenerator[RateLimiter, None]:
        try:
            async with asyncio.timeout(self._deadline):
                yield self._limiter.thing
        except Exception as error:
            meaning = self._meaning(error)
            self._watcher.failed(meaning)
            raise meaning from error
        self._watcher.answered()

    def _meaning(self, error: Exception) -> BackendError:
        if isinstance(error, BackendError):
            return error
        if isinstance(error, TimeoutError):
            return Lost(f"no reply from {self._shown()} within {self._deadline * 1_000:g} ms")
        words = f"{self._shown()} does not answer: {masked(str(error), self._url) or type(error).__name__}"
        return LimiterError(words) if "auth" in type(error).__name__.lower() else Lost(words)

    def _shown(self) -> str:
        return masked(self._url, self._url)

    def _make(self) -> RateLimiter:
        url = windows_storage(self._url)
        options: dict[str, Any] = {}
        if url.startswith("redis"):  # limits' own default is another client; and what counts may not be sent twice
            options = {"implementation": "redispy", "retry": Retry(NoBackoff(), 0)}
        try:
            storage = cast("Storage", storage_from_string(f"async+{url}", **options))
        except ConfigurationError as error:
            scheme = url.partition("://")[0]
            hint = f"pip install {_INSTALL[scheme]}" if scheme in _INSTALL else "see the storages of `limits`"
            raise LimiterError(f"{self._shown()} cannot be used: {masked(str(error), self._url)}; {hint}") from error
        except Exception as error:
            raise LimiterError(f"{self._shown()} cannot be read: {masked(str(error), self._url)}") from error
        try:
            limiter: RateLimiter = cast("type[Any]", STRATEGIES[self._strategy])(storage)  # all of them are concrete
        except NotImplementedError:
            raise LimiterError(f"{self._shown()} has no {self._strategy!r}; choose another limiter_strategy") from None
        return limiter


@lru_cache(maxsize=1_024)
def _item(rate: Rate) -> RateLimitItem:
    return RateLimitItemPerSecond(rate.amount, rate.period_us // SECOND, namespace="vc1")


async def _close(limiter: RateLimiter) -> None:
    """`limits` closes none of its clients, whose methods have two names."""
    client = getattr(getattr(limiter.storage, "bridge", limiter.storage), "storage", None)
    for name in ("aclose", "close"):
        if callable(method := getattr(client, name, None)):
            if isawaitable(closing := method()):
                await closing
            return
