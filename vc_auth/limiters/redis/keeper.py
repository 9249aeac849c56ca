"""Buckets on a Redis: what `vc_auth.limiters.MemoryLimiter` does, for all processes that ask the same server."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from cachetools import LRUCache

from vc_auth.limiters.base import Buckets, check_cost
from vc_auth.limiters.redis.connections import Connections
from vc_auth.limiters.redis.flights import Flights
from vc_auth.limiters.redis.script import NO_BUCKET, Check, debts, name_of, scratch
from vc_auth.limiters.remote import Foreign, Lost, Owed, Watcher
from vc_auth.rates import Decision, Rate, token_bucket

logger: Final = logging.getLogger("vc_auth")


class BucketKeeper:
    """A `vc_auth.limiters.remote.Remote` on one Redis, or on one hash tag of a cluster.

    Remembers what the server said of each bucket that is in debt. As long as not one whole token can be left, nobody
    can have taken any, so a refusal needs no round trip: it is what the server would say, wait and all. What is
    remembered is not used for another rate.

    ``now_ns`` is the monotonic clock. ``server_now_us`` takes the place of the server's clock in tests.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        deadline: float,
        most: int,
        now_ns: Callable[[], int],
        tag: int = 0,
        server_now_us: Callable[[], int] | None = None,
    ) -> None:
        self._connections = connections
        self._deadline = deadline
        self._most = most
        self._now_ns = now_ns
        self._tag = tag
        self._server_now_us = server_now_us
        self._known = Buckets()  # name -> [tat on our clock, at the soonest; emission and capacity it was told for]
        self._told_of: LRUCache[str, None] = LRUCache(100)
        self._flights: Flights

    # -- checks --------------------------------------------------------------------------------------------------------

    async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        if type(cost) is not int or not 0 < cost <= rate.burst:  # inline: this is the hot path
            check_cost(cost, rate)
        emission, capacity = rate.emission_us, rate.capacity_us
        known = self._known.get(bucket)
        if known is not None and known[1] == emission and known[2] == capacity:
            now = self._now_ns() // 1_000
            if known[0] - now > capacity - emission:
                return token_bucket(known[0], emission, now, rate, cost)[1]
        debt, left_at = await self._flights.board((name_of(bucket), emission, capacity, cost * emission))
        if debt == NO_BUCKET:
            raise self._foreign(bucket)
        decision = token_bucket(debt, emission, 0, rate, cost)[1]
        self._remember(bucket, left_at + decision.reset_after_us, rate, left_at)
        return decision

    async def peek(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        check_cost(cost, rate)
        debt, _ = await self._flights.board((name_of(bucket), rate.emission_us, rate.capacity_us, 0))
        if debt == NO_BUCKET:
            raise self._foreign(bucket)
        return token_bucket(debt, rate.emission_us, 0, rate, cost)[1]

    def last_debt(self, bucket: str, rate: Rate, now: int) -> int:
        """See `vc_auth.limiters.remote.Remote`."""
        tat, emission, _ = self._known.get(bucket, (0, rate.emission_us, 0))
        return token_bucket(tat, emission, now, rate, 0)[1].reset_after_us

    def _remember(self, bucket: str, tat: int, rate: Rate, now: int) -> None:
        known = self._known.get(bucket)
        if known is None:
            self._known.drop_full(now)
            self._known[bucket] = [tat, rate.emission_us, rate.capacity_us]
        elif known[0] < tat or known[1] != rate.emission_us or known[2] != rate.capacity_us:
            known[:] = tat, rate.emission_us, rate.capacity_us  # else this is the older of two replies

    def _foreign(self, bucket: str) -> Foreign:
        error = Foreign(f"Redis has something under {name_of(bucket)!r} that is no bucket; delete that key")
        if bucket not in self._told_of:  # one line, however many requests
            self._told_of[bucket] = None
            logger.error("%s; until then this process limits what it stands for by itself", error)
        return error

    # -- the server ----------------------------------------------------------------------------------------------------

    async def bind(self, watcher: Watcher) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        await self._connections.bind()
        self._flights = Flights(
            self._send, watcher, self._connections.seats, self._now_ns, deadline=self._deadline, most=self._most
        )

    async def check(self) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        await self._connections.check()
        await self._send([scratch(self._tag)])

    async def probe(self) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        await self._flights.abandon_lost()
        await self.check()  # it may be another server by now; and there is a connection now
        try:
            async with asyncio.timeout(self._deadline):
                await self._send([scratch(self._tag)])
        except TimeoutError:
            raise Lost(f"no reply from Redis within {self._deadline * 1_000:g} ms") from None
        self._flights.go_on()

    async def charge(self, owed: Sequence[Owed]) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        left_at = self._now_ns() // 1_000
        checks = [(name_of(bucket), rate.emission_us, rate.capacity_us, -debt_us) for bucket, rate, debt_us in owed]
        for (bucket, rate, debt_us), debt in zip(owed, await self._send(checks), strict=True):
            if debt != NO_BUCKET:
                self._remember(bucket, left_at + min(debt + debt_us, rate.capacity_us), rate, left_at)

    async def aclose(self) -> None:
        """See `vc_auth.limiters.remote.Remote`."""
        await self._flights.aclose()
        await self._connections.aclose()

    async def _send(self, checks: Sequence[Check]) -> Sequence[int]:
        now = self._server_now_us() if self._server_now_us is not None else None
        return await debts(self._connections.ask, checks, now)
