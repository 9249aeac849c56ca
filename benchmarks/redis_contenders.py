"""Who limits on Redis, each the way its own documentation does it, and the proof that each does its work."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol, cast

from limits import RateLimitItemPerDay
from limits.aio.storage import Storage
from limits.aio.strategies import STRATEGIES, RateLimiter
from limits.storage import storage_from_string
from redis.asyncio import Redis
from throttled.asyncio import RateLimiterType, RedisStore, Throttled, per_day

from vc_auth import Settings
from vc_auth.limiters import Limiter, open_limiter
from vc_auth.limiters.redis.script import SHA, SOURCE, words_for
from vc_auth.rates import Decision, Rate, token_bucket
from vc_auth.stores import HasLifetime

OURS: Final = "vc_auth"
ONE_SCRIPT: Final = "one EVALSHA per check"
THROTTLED: Final = "throttled-py, token bucket"
LIMITS: Final = "limits, fixed window"
LIMITS_SLIDING: Final = "limits, sliding window counter"

GENEROUS: Final = Rate("1/day", burst=30_000)  # refuses nobody, and gives nothing back while it is measured
STINGY: Final = Rate("1/day", burst=10)
# redis-py's default pool has 100 connections, and raises when they are all taken. RESP 2 without a timeout for every
# socket is the fastest that redis-py can be; it took a tenth of its processor time off a check.
CLIENT: Final[dict[str, Any]] = {"max_connections": 1_024, "protocol": 2, "socket_timeout": None}

Check = Callable[[str], Awaitable[bool]]
"""Takes a token of a bucket, learns all that the limit headers say, and returns whether the bucket held one."""


class Contender(Protocol):
    """Somebody who limits."""

    name: str

    def check(self, rate: Rate) -> Check:
        """What takes a token at this rate, GENEROUS or STINGY."""

    async def lacks(self, bucket: str) -> int:
        """How many tokens a GENEROUS bucket lacks, by the server's own account."""

    async def aclose(self) -> None:
        """Close all connections."""


class Ours:
    """The limiter that ``Settings(limiter="redis://...")`` names."""

    name = OURS

    def __init__(self, url: str) -> None:
        self.limiter = cast("Limiter", open_limiter(Settings(limiter=url)))

    def check(self, rate: Rate) -> Check:
        """See `Contender`."""
        hit = self.limiter.hit

        async def check(bucket: str) -> bool:
            return (await hit(bucket, rate)).allowed

        return check

    async def lacks(self, bucket: str) -> int:
        """See `Contender`."""
        return GENEROUS.burst - 1 - (await self.limiter.peek(bucket, GENEROUS)).remaining

    async def aclose(self) -> None:
        """See `Contender`."""
        if isinstance(self.limiter, HasLifetime):
            await self.limiter.aclose()


class OneScript:
    """The same script with the same answers, but a round trip for each check: what one would write by hand."""

    name = ONE_SCRIPT

    def __init__(self, url: str) -> None:
        self._client = Redis.from_url(url, **CLIENT)

    def check(self, rate: Rate) -> Check:
        """See `Contender`."""

        async def check(bucket: str) -> bool:
            return (await self.hit(bucket, rate)).allowed

        return check

    async def hit(self, bucket: str, rate: Rate) -> Decision:
        """Take a token."""
        emission = rate.emission_us
        words = words_for([(f"one:{bucket}", emission, rate.capacity_us, emission)])
        debts = await self._client.evalsha(SHA, *words)
        return token_bucket(debts[0], emission, 0, rate)[1]

    async def lacks(self, bucket: str) -> int:
        """See `Contender`."""
        words = words_for([(f"one:{bucket}", GENEROUS.emission_us, GENEROUS.capacity_us, 0)])
        debts: list[int] = await self._client.evalsha(SHA, *words)
        return -(-debts[0] // GENEROUS.emission_us)

    async def open(self) -> None:
        """Bring the script."""
        await self._client.script_load(SOURCE)

    async def aclose(self) -> None:
        """See `Contender`."""
        await self._client.aclose()


class Limits:
    """`limits` on redis-py: hit, and then the figures for the headers."""

    def __init__(self, url: str, name: str, strategy: str) -> None:
        self.name = name
        self._storage = limits_storage(url, strategy)
        self._limiter: RateLimiter = cast("type[Any]", STRATEGIES[strategy])(self._storage)

    def check(self, rate: Rate) -> Check:
        """See `Contender`. A window of a day, with the bucket's burst in it."""
        item = RateLimitItemPerDay(rate.burst)

        async def check(bucket: str) -> bool:
            allowed = await self._limiter.hit(item, bucket)
            await self._limiter.get_window_stats(item, bucket)
            return allowed

        return check

    async def lacks(self, bucket: str) -> int:
        """See `Contender`."""
        item = RateLimitItemPerDay(GENEROUS.burst)
        return GENEROUS.burst - (await self._limiter.get_window_stats(item, bucket)).remaining

    async def aclose(self) -> None:
        """See `Contender`."""
        await cast("Any", self._storage).bridge.storage.aclose()


class ThrottledPy:
    """throttled-py's asynchronous token bucket."""

    name = THROTTLED

    def __init__(self, url: str) -> None:
        self._store = RedisStore(server=url, options={"CONNECTION_POOL_KWARGS": CLIENT})

    def check(self, rate: Rate) -> Check:
        """See `Contender`."""
        throttle = self._throttle(rate)

        async def check(bucket: str) -> bool:
            return not (await throttle.limit(bucket)).limited

        return check

    async def lacks(self, bucket: str) -> int:
        """See `Contender`."""
        return GENEROUS.burst - (await self._throttle(GENEROUS).peek(bucket)).remaining

    async def aclose(self) -> None:
        """See `Contender`."""
        await cast("Any", self._store)._backend.get_client().connection_pool.aclose()

    def _throttle(self, rate: Rate) -> Throttled:
        quota = per_day(1, burst=rate.burst)
        return Throttled(using=RateLimiterType.TOKEN_BUCKET.value, quota=quota, store=self._store)


def limits_storage(url: str, prefix: str = "LIMITS") -> Storage:
    """The storage of `limits` on redis-py; by itself it would take another client."""
    return cast("Storage", storage_from_string(f"async+{url}", implementation="redispy", key_prefix=prefix, **CLIENT))


async def line_up(url: str, stack: AsyncExitStack) -> list[Contender]:
    """Connect everybody to this Redis, until the end of ``stack``, and see that they limit."""
    one_script = OneScript(url)
    await one_script.open()
    contenders: list[Contender] = [
        Ours(url),
        one_script,
        ThrottledPy(url),
        Limits(url, LIMITS, "fixed-window"),
        Limits(url, LIMITS_SLIDING, "sliding-window-counter"),
    ]
    for contender in contenders:
        stack.push_async_callback(contender.aclose)
        await _see_that_it_limits(contender)
    return contenders


async def _see_that_it_limits(contender: Contender) -> None:
    """Raises RuntimeError unless a fresh bucket admits its burst and nothing more, and the server knows of it."""
    stingy, generous = contender.check(STINGY), contender.check(GENEROUS)
    admitted = [await stingy("trial") for _ in range(3 * STINGY.burst)]
    if admitted != [number < STINGY.burst for number in range(3 * STINGY.burst)]:
        raise RuntimeError(f"{contender.name} admitted {sum(admitted)} of a burst of {STINGY.burst}: {admitted}")
    if not all([await generous("trial, too") for _ in range(100)]) or await contender.lacks("trial, too") != 100:
        raise RuntimeError(f"{contender.name}: a bucket lacks {await contender.lacks('trial, too')} of 100 tokens")


async def tokens_taken(contender: Contender, buckets: Sequence[str]) -> int:
    """How many tokens these GENEROUS buckets lack together, by the server's own account."""
    return sum([await contender.lacks(bucket) for bucket in buckets])
