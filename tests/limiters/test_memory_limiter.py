"""The memory limiter: the contract, and what it forgets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vc_auth import FREE, Settings
from vc_auth.limiters import Limiter, MemoryLimiter, open_limiter
from vc_auth.rates import Decision, Rate, token_bucket
from vc_auth.testing import LimiterContract, TurnableClock


class TestMemoryLimiter(LimiterContract):
    @asynccontextmanager
    async def open_limiter(self, clock: TurnableClock) -> AsyncIterator[Limiter]:
        yield MemoryLimiter(clock)


def finish(coroutine: object) -> Decision:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)  # type: ignore[attr-defined]  # it is a coroutine
    except StopIteration as stop:
        decision = stop.value
        assert isinstance(decision, Decision)
        return decision
    raise AssertionError("it waited for something")


async def test_an_exhausted_bucket_is_never_forgotten_however_many_come_after_it(clock: TurnableClock) -> None:
    limiter = MemoryLimiter(clock)
    await limiter.hit("exhausted", FREE.rate, 100)
    for number in range(20_000):
        await limiter.hit(f"other {number}", FREE.rate)
    assert not (await limiter.hit("exhausted", FREE.rate)).allowed
    clock.advance(us=999_999)
    for number in range(20_000):
        await limiter.hit(f"third {number}", FREE.rate)
    assert not (await limiter.hit("exhausted", FREE.rate)).allowed


async def test_the_table_holds_little_more_than_twice_what_is_in_debt(clock: TurnableClock) -> None:
    limiter = MemoryLimiter(clock)
    longest = 0
    for number in range(50_000):  # each bucket is in debt for one second, so 1,000 are at any time
        await limiter.hit(f"family {number}", FREE.rate)
        clock.advance(us=1_000)
        longest = max(longest, len(limiter))
    assert longest <= 2 * 1_000 + 2


class Forgetting(RuleBasedStateMachine):
    """A table that forgets answers as one that never does."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = TurnableClock()
        self.limiter = MemoryLimiter(self.clock)
        self.kept: dict[str, tuple[int, int]] = {}

    @rule(
        name=st.integers(0, 40).map(str),
        rate=st.sampled_from([Rate("1/second", 3), Rate("10/second", 5), Rate("1/second", 10)]),
        cost=st.integers(1, 3),
    )
    def hit(self, name: str, rate: Rate, cost: int) -> None:
        now = self.clock.monotonic_ns() // 1_000
        tat, expected = token_bucket(*self.kept.get(name, (0, 1)), now, rate, cost)
        self.kept[name] = (tat, rate.emission_us)
        assert finish(self.limiter.hit(name, rate, cost)) == expected

    @rule(us=st.one_of(st.integers(0, 5_000_000), st.sampled_from([0, 1, 99_999, 100_000, 1_000_000])))
    def wait(self, us: int) -> None:
        self.clock.advance(us=us)

    @invariant()
    def it_holds_no_more_than_ever_came(self) -> None:
        assert len(self.limiter) <= len(self.kept)


Forgetting.TestCase.settings = settings(max_examples=100, stateful_step_count=60)
TestForgetting = Forgetting.TestCase


def test_a_limiter_is_opened_by_its_url(clock: TurnableClock) -> None:
    assert isinstance(open_limiter(Settings(limiter="memory://"), clock), MemoryLimiter)
    assert open_limiter(Settings(limiter="none"), clock) is None
    with pytest.raises(ValueError, match="'mysql://h' is no limiter; give 'memory://'"):
        open_limiter(Settings(limiter="mysql://h"), clock)
