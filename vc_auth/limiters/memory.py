"""Buckets in this process: exact, O(1), without a task that sweeps."""

import time

from vc_auth.clock import Clock
from vc_auth.limiters.base import Buckets, check_cost
from vc_auth.rates import Decision, Rate, token_bucket


class MemoryLimiter:
    """A `vc_auth.limiters.Limiter` in a dictionary, which forgets only what is full."""

    def __init__(self, clock: Clock = time) -> None:
        self._now_ns = clock.monotonic_ns
        self._buckets = Buckets()  # name -> [tat, emission]

    def __len__(self) -> int:
        return len(self._buckets)

    async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        if type(cost) is not int or not 0 < cost <= rate.burst:  # inline: this is the hot path
            check_cost(cost, rate)
        now = self._now_ns() // 1_000
        state = self._buckets.get(bucket)
        if state is None:
            self._buckets.drop_full(now)
            state = self._buckets[bucket] = [0, 0]
        state[0], decision = token_bucket(state[0], state[1], now, rate, cost)
        state[1] = rate.emission_us
        return decision

    async def peek(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        check_cost(cost, rate)
        tat, emission = self._buckets.get(bucket, (0, 0))
        return token_bucket(tat, emission, self._now_ns() // 1_000, rate, cost)[1]
