"""Windows on a storage that many processes share."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Final

from limits import RateLimitItem
from limits.aio.strategies import RateLimiter

from vc_auth.errors import BackendError
from vc_auth.limiters.base import Buckets, check_cost
from vc_auth.limiters.clients import patience
from vc_auth.limiters.lifetimes import OfTheLoop
from vc_auth.limiters.remote import Lost, Owed, Watcher
from vc_auth.limiters.windows.spans import LOOKS, Window, decide
from vc_auth.limiters.windows.storage import Errand, Errands, T, WindowsURL
from vc_auth.rates import SECOND, Decision, Rate, token_bucket

_SCRATCH: Final = Rate("1000/second", 1_000)  # what the checks that are nobody's are charged to


class WindowKeeper:
    """A `vc_auth.limiters.remote.Remote` on a storage of `limits`: two to four round trips a check, in one deadline.

    Takes rates whose burst is their amount. A fixed window counts what it refuses as well, so it is asked whether there
    is room before it is charged: only requests that race for the last room, and cost more than one, can waste it. What
    was spent stays spent when the plan changes, as long as the period is the same.

    ``deadline`` is in seconds, ``now_ns`` is the monotonic clock. Raises LimiterError for a URL that `limits` does not
    know or cannot read, for a client library that is not installed, and for a strategy that the storage has not.
    """

    def __init__(self, url: str, strategy: str, deadline: float, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._url = WindowsURL(url, patience(deadline))
        self._strategy = strategy
        self._look = LOOKS[strategy]
        self._deadline = deadline
        self._at_leisure = 2 * patience(deadline)  # where no check waits: a client gives up sooner, and says why
        self._now_ns = now_ns
        self._known = Buckets()  # name -> [tat on our clock, if what is spent comes back evenly; emission]
        self._watcher: Watcher
        self._errands = OfTheLoop(self._begin, Errands.aclose)
        self._url.open(strategy)  # for its errors

    # -- checks --------------------------------------------------------------------------------------------------------

    async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        check_cost(cost, rate)
        decision = await self._watched(lambda limiter: self._hit(limiter, bucket, rate, cost))
        now = self._now_ns() // 1_000
        if bucket not in self._known:
            self._known.drop_full(now)
        self._known[bucket] = [now + (rate.amount - decision.remaining) * rate.emission_us, rate.emission_us]
        return decision

    async def peek(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        check_cost(cost, rate)
        return await self._watched(lambda limiter: self._peek(limiter, bucket, rate, cost))

    def last_debt(self, bucket: str, rate: Rate, now: int) -> int:
        """See `vc_auth.limiters.remote.Remote`; what was spent is taken to come back evenly."""
        tat, emission = self._known.get(bucket, (0, rate.emission_us))
        return token_bucket(tat, emission, now, rate, 0)[1].reset_after_us

    async def _hit(self, limiter: RateLimiter, bucket: str, rate: Rate, cost: int) -> Decision:
        window = _window(rate, self._strategy)
        allowed = self._strategy != "fixed-window" or await limiter.test(window, bucket, cost=cost)
        allowed = allowed and await limiter.hit(window, bucket, cost=cost)
        return decide(await self._look(limiter, window, bucket, cost), rate, cost, allowed=allowed)

    async def _peek(self, limiter: RateLimiter, bucket: str, rate: Rate, cost: int) -> Decision:
        span = await self._look(limiter, _window(rate, self._strategy), bucket, cost)
        allowed = cost <= span.remaining
        return decide(span.after(cost) if allowed else span, rate, cost, allowed=allowed)

    # -- the storage ---------------------------------------------------------------------------------------------------

    async def bind(self, watcher: Watcher) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        self._watcher = watcher
        await self._errands.bind()

    async def check(self) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        await self._ask(self._check, self._at_leisure)

    async def probe(self) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        await self.check()  # there is a connection now
        await self._ask(self._check, self._deadline)

    async def _check(self, limiter: RateLimiter) -> Decision:
        return await self._hit(limiter, "", _SCRATCH, 1)

    async def charge(self, owed: Sequence[Owed]) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        for index, debt in enumerate(owed):
            try:
                await self._ask(partial(self._charge, owed=debt), self._at_leisure)
            except BackendError as error:
                if index == 0:
                    raise
                raise Lost(str(error)) from error  # the others were taken

    async def _charge(self, limiter: RateLimiter, owed: Owed) -> None:
        window, tokens = _window(owed.rate, self._strategy), -(-owed.debt_us // owed.rate.emission_us)
        while some := min(tokens, (await self._look(limiter, window, owed.bucket, 1)).remaining):
            if await limiter.hit(window, owed.bucket, cost=some):
                return

    async def aclose(self) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        await self._errands.aclose()

    def _begin(self) -> Errands:
        return Errands(self._url.open(self._strategy), self._url)

    async def _watched(self, errand: Errand[T]) -> T:
        since = asyncio.get_running_loop().time()
        try:
            answer = await self._ask(errand, self._deadline)
        except BackendError as error:
            self._watcher.failed(error, since)
            raise
        self._watcher.answered()
        return answer

    async def _ask(self, errand: Errand[T], within: float) -> T:
        errands = self._errands.thing
        try:
            return await errands.run(errand, within)
        except Exception as error:
            raise self._url.meaning(error) from error


@lru_cache(maxsize=1_024)
def _window(rate: Rate, strategy: str) -> RateLimitItem:
    return Window(rate.amount, rate.period_us // SECOND, namespace=f"vc1/{strategy}")
