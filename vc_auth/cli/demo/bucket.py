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
    """

    def __init__(self) -> None:
        self.spent = 0
        self._earliest = self._latest = 0  # when it is full, by the monotonic clock

    def states(self, sent: Moment, received: Moment, *, admitted: bool) -> Iterator[State]:
        """Every state that the contract allows after one more request is admitted, or refused; none if it cannot be."""
        cost = SECOND if admitted else 0
        least = max(self._earliest - received.monotonic, 0) + cost
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
        self._earliest = max(self._earliest, sent.monotonic) + SECOND
        self._latest = max(self._latest, received.monotonic) + SECOND


def _rounded_up(microseconds: int) -> int:
    return -(-microseconds // SECOND)
