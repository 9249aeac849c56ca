"""One process's part of every bucket, while the server that keeps them is not asked."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, NamedTuple

from vc_auth.limiters.base import Buckets
from vc_auth.limiters.remote import Owed
from vc_auth.rates import Decision, Rate, part_of, token_bucket

_TAT, _EMISSION, _SETTLED, _RATE = range(4)

LastDebt = Callable[[str, Rate, int], int]
"""The debt of a bucket of this rate now, in microseconds, as far as it is known."""


class Debt(NamedTuple):
    """What a bucket owes the server, and up to which tat that is."""

    owed: Owed
    tat: int


class LocalBuckets:
    """Buckets of a share of their rate, and of their burst, each begun with its share of what was known to remain.

    A part refills in the same time as the whole, so a debt in microseconds is the same for both. Beside each bucket's
    tat stands the tat up to which the server knows of it already: the debt between them is *owed*, and is handed back
    when it answers again.
    """

    def __init__(self, share: Callable[[], Fraction], now_ns: Callable[[], int], last_debt: LastDebt) -> None:
        self._share = share
        self._now_ns = now_ns
        self._last_debt = last_debt
        self._buckets = Buckets()  # name -> [tat, emission of the part, tat that is settled, the whole rate]

    def __len__(self) -> int:
        return len(self._buckets)

    def hit(self, bucket: str, rate: Rate, cost: int, *, settled: bool = False) -> Decision:
        """Decide, and take. ``settled``: what is taken is not owed, for the server may have taken it as well."""
        now = self._now_ns() // 1_000
        part = part_of(rate, self._share(), cost)
        state = self._buckets.get(bucket)
        if state is None:
            self._buckets.drop_full(now)
            state = self._buckets[bucket] = self._new(bucket, rate, part, now)
        elif state[_EMISSION] != part.emission_us:
            state[_SETTLED] = token_bucket(state[_SETTLED], state[_EMISSION], now, part, 0)[0]
        state[_TAT], decision = _spend(state, now, part, rate, cost)
        if settled and decision.allowed:
            state[_SETTLED] = max(state[_SETTLED], now) + cost * part.emission_us
        state[_EMISSION], state[_RATE] = part.emission_us, rate
        return decision

    def peek(self, bucket: str, rate: Rate, cost: int) -> Decision:
        """What `hit` would say."""
        now = self._now_ns() // 1_000
        part = part_of(rate, self._share(), cost)
        state = self._buckets.get(bucket)
        if state is None:
            state = self._new(bucket, rate, part, now)
        return _spend(state, now, part, rate, cost)[1]

    def debts(self) -> list[Debt]:
        """What is owed now, in microseconds of the whole rates, rounded up."""
        now = self._now_ns() // 1_000
        return [
            Debt(Owed(name, rate, -((settled_or_now - tat) * rate.emission_us // emission)), tat)
            for name, (tat, emission, settled, rate) in self._buckets.items()
            if tat > (settled_or_now := max(settled, now))
        ]

    def settle(self, debts: Iterable[Debt]) -> None:
        """The server has these, or may have them."""
        for owed, tat in debts:
            if (state := self._buckets.get(owed.bucket)) is not None:
                state[_SETTLED] = max(state[_SETTLED], tat)

    def forget_settled(self) -> None:
        """Drop all that nothing is owed of: the server knows better."""
        still_owed = {debt.owed.bucket for debt in self.debts()}
        for name in self._buckets.keys() - still_owed:
            del self._buckets[name]

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()

    def _new(self, bucket: str, rate: Rate, part: Rate, now: int) -> list[Any]:
        """A bucket of which nothing is owed, with its share of what was last known to remain."""
        debt = self._last_debt(bucket, rate, now)
        start = now + max(part.capacity_us - (rate.capacity_us - debt), 0) if debt else now
        return [start, part.emission_us, start, rate]


def _spend(state: list[Any], now: int, part: Rate, rate: Rate, cost: int) -> tuple[int, Decision]:
    """`token_bucket` for a part of a rate.

    Where one request has cost more than the part's burst, there is more debt than the next one's burst holds. Unless
    plan or share have changed, none of it is forgiven: nothing passes until the burst holds it again.
    """
    is_same = (state[_EMISSION], state[_RATE]) == (part.emission_us, rate)
    beyond = max(state[_TAT] - now - part.capacity_us, 0) if is_same else 0
    tat, decision = token_bucket(state[_TAT], state[_EMISSION], now + beyond, part, cost)
    return tat, decision._replace(
        limit=rate.burst,
        retry_after_us=decision.retry_after_us + beyond,
        refill_after_us=decision.refill_after_us + beyond,
        reset_after_us=decision.reset_after_us + beyond,
    )
