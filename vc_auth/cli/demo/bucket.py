"""A free key's bucket, reckoned from outside: 100 requests at once, then one a second.

Written from the contract, and not with `vc_auth.rates`, which is what the tour checks.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from vc_auth.cli.demo.wire import Moment

BURST: Final = 100
SECOND: Final = 1_000_000  # microseconds; a free key's token comes back in one


class State(NamedTuple):
    """The numbers of one answer's limit headers."""

    remaining: int
    reset: int
    """Seconds until the bucket is full."""
    full_at: int
    """The UTC second in which it is."""


class Bucket:
    """What is known of a bucket of which every request is known.

    The server reads its clocks at some moment between a request's sending and its answer's arrival. So there are two
    bounds for the moment at which the bucket is full again, and all that follows from them is exact: on most machines
    there is one number that can be right, on a very slow one there are neighbours, and there is never a tolerance.

    ``on_redis``: the same holds there, where it is the Redis that reads its clock in between, as long as its seconds
    are as long as ours. But a worker also refuses by itself, while by the reply to its last check no whole token can
    be there. It counts the debt in that reply from when the check left, though it was that of a moment later; so the
    bucket may be said to be full sooner, by less than that exchange took. It was the last one that was admitted, or
    came after it: there was no token since.
    """

    def __init__(self, *, on_redis: bool = False) -> None:
        self.spent = 0
        self._on_redis = on_redis
        self._earliest = self._latest = 0  # when it is full, by the monotonic clock
        self._sooner = 0  # by how much a refusal may say so at most

    def states(self, sent: Moment, received: Moment, *, admitted: bool) -> Iterator[State]:
        """Every state that the contract allows after one more request is admitted, or refused; none if it cannot be."""
        cost = SECOND if admitted else 0
        earliest = self._earliest - (0 if admitted else self._sooner)
        least = max(earliest - received.monotonic, 0) + cost
        most = max(self._latest - sent.monotonic, 0) + cost
        for seconds in range(_rounded_up(least), _rounded_up(most) + 1):
            if seconds > BURST if admitted else seconds != BURST:
                continue  # refused is exactly who finds less than one token
            soonest = max(least, (seconds - 1) * SECOND + 1) + sent.utc
            latest = min(most, seconds * SECOND) + received.utc
            for full_at in range(_rounded_up(soonest), _rounded_up(latest) + 1):
                yield State(BURST - seconds, seconds, full_at)

    def spend(self, sent: Moment, received: Moment) -> None:
        """One request was admitted."""
        self.spent += 1
        self._sooner = self._taken(sent, received)
        self._earliest = max(self._earliest, sent.monotonic) + SECOND
        self._latest = max(self._latest, received.monotonic) + SECOND

    def refuse(self, sent: Moment, received: Moment) -> None:
        """One request was refused."""
        self._sooner = max(self._sooner, self._taken(sent, received))

    def _taken(self, sent: Moment, received: Moment) -> int:
        return received.monotonic - sent.monotonic if self._on_redis else 0


def _rounded_up(microseconds: int) -> int:
    return -(-microseconds // SECOND)
