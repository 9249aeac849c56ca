"""What the guard needs of a limiter. `vc_auth.testing.LimiterContract` is the same in tests."""

from collections import OrderedDict
from typing import Any, Protocol

from vc_auth.rates import Decision, Rate


class Limiter(Protocol):
    """Keeps buckets by name."""

    async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """Spend ``cost`` tokens if the bucket holds them; a refusal takes nothing.

        A bucket that nobody has hit is full. One that was last hit with another rate keeps its debt in tokens.
        Raises ValueError unless ``cost`` is a whole number from 1 to the burst: more could never pass.
        """

    async def peek(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """What `hit` would say now. It takes nothing, and leaves no trace."""


class Peeking:
    """A limiter that decides as another one would, and takes nothing."""

    def __init__(self, limiter: Limiter) -> None:
        self.hit = self.peek = limiter.peek


class Buckets(OrderedDict[str, list[Any]]):
    """A table of buckets, ``[tat, ...]`` by name, that forgets the full ones and no others.

    A bucket that has refilled cannot be told from one that never was, so it may be forgotten, and nothing else may:
    forgetting an exhausted bucket would hand its burst back. Whoever adds a bucket first looks at the two that have
    waited longest for a look, and drops those that are full. Two for one is enough: the table never holds more than
    about twice as many buckets as are in debt together. Nothing is evicted for room, and strangers have no buckets.
    """

    def drop_full(self, now: int) -> None:
        """Look at two, and drop those whose tat has come; to be called before one is added."""
        for _ in range(min(2, len(self))):
            name = next(iter(self))
            if self[name][0] <= now:
                del self[name]
            else:
                self.move_to_end(name)


def check_cost(cost: object, rate: Rate) -> None:
    """Raise ValueError unless the cost is a whole number that the burst can hold."""
    if type(cost) is not int or not 0 < cost <= rate.burst:
        raise ValueError(f"cost {cost!r} is not a whole number from 1 to the burst, {rate.burst}")
