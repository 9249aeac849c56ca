"""What the guard needs of a limiter. `vc_auth.testing.LimiterContract` is the same in tests."""

from typing import Protocol

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
