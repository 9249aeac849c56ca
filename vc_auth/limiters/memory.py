"""Buckets in this process: exact, O(1), without a task that sweeps."""

import time
from collections import OrderedDict

from vc_auth.clock import Clock
from vc_auth.rates import Decision, Rate, token_bucket


class MemoryLimiter:
    """A `vc_auth.limiters.Limiter` in a dictionary.

    A bucket that has refilled cannot be told from one that never was, so it may be forgotten, and nothing else may:
    forgetting an exhausted bucket would hand its burst back. Every new bucket therefore looks at the two that have
    waited longest for a look, and drops those that are full. Two for one is enough: the table never holds more than
    about twice as many buckets as are in debt together. Nothing is evicted for room, and strangers have no buckets.
    """

    def __init__(self, clock: Clock = time) -> None:
        self._now_ns = clock.monotonic_ns
        self._buckets: OrderedDict[str, list[int]] = OrderedDict()  # name -> [tat, emission]

    def __len__(self) -> int:
        return len(self._buckets)

    async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        if type(cost) is not int or not 0 < cost <= rate.burst:
            raise _impossible(cost, rate)
        now = self._now_ns() // 1_000
        state = self._buckets.get(bucket)
        if state is None:
            self._drop_full(now)
            state = self._buckets[bucket] = [0, 0]
        state[0], decision = token_bucket(state[0], state[1], now, rate, cost)
        state[1] = rate.emission_us
        return decision

    async def peek(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        if type(cost) is not int or not 0 < cost <= rate.burst:
            raise _impossible(cost, rate)
        tat, emission = self._buckets.get(bucket, (0, 0))
        return token_bucket(tat, emission, self._now_ns() // 1_000, rate, cost)[1]

    def _drop_full(self, now: int) -> None:
        for _ in range(min(2, len(self._buckets))):
            name = next(iter(self._buckets))
            if self._buckets[name][0] <= now:
                del self._buckets[name]
            else:
                self._buckets.move_to_end(name)


def _impossible(cost: object, rate: Rate) -> ValueError:
    return ValueError(f"cost {cost!r} is not a whole number from 1 to the burst, {rate.burst}")
