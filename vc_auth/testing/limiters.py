"""The contract of limiters."""

from contextlib import AbstractAsyncContextManager

import pytest

from vc_auth.limiters import Limiter
from vc_auth.plans import FREE, PRO
from vc_auth.rates import SECOND, Rate
from vc_auth.testing.clock import TurnableClock


@pytest.mark.asyncio
class LimiterContract:
    """What every `vc_auth.limiters.Limiter` of the token-bucket kind does."""

    def open_limiter(self, clock: TurnableClock) -> AbstractAsyncContextManager[Limiter]:
        """Open a limiter without buckets, whose time is the clock's."""
        raise NotImplementedError

    async def test_a_burst_passes_at_once_and_then_one_for_each_emission_interval(self) -> None:
        clock = TurnableClock()
        async with self.open_limiter(clock) as limiter:
            for left in reversed(range(100)):
                decision = await limiter.hit("family", FREE.rate)
                assert (decision.allowed, decision.limit, decision.remaining) == (True, 100, left)
            refused = await limiter.hit("family", FREE.rate)
            assert (refused.allowed, refused.remaining, refused.retry_after_us) == (False, 0, SECOND)
            for _ in range(3):
                clock.advance(us=SECOND - 1)
                refused = await limiter.hit("family", FREE.rate)
                assert (refused.allowed, refused.retry_after_us) == (False, 1)
                clock.advance(us=1)
                assert (await limiter.hit("family", FREE.rate)).allowed

    async def test_an_idle_bucket_refills_to_its_burst_and_no_further(self) -> None:
        clock = TurnableClock()
        async with self.open_limiter(clock) as limiter:
            assert (await limiter.hit("family", FREE.rate, 100)).remaining == 0
            clock.advance(seconds=40)
            assert (await limiter.hit("family", FREE.rate, 40)).remaining == 0
            assert not (await limiter.hit("family", FREE.rate)).allowed
            clock.advance(seconds=3_600)
            assert (await limiter.hit("family", FREE.rate, 100)).allowed
            assert not (await limiter.hit("family", FREE.rate)).allowed

    async def test_a_refusal_takes_nothing_and_says_exactly_how_long(self) -> None:
        clock = TurnableClock()
        async with self.open_limiter(clock) as limiter:
            await limiter.hit("family", FREE.rate, 95)
            for _ in range(3):
                refused = await limiter.hit("family", FREE.rate, 10)
                assert (refused.allowed, refused.remaining, refused.retry_after_us) == (False, 5, 5 * SECOND)
            clock.advance(us=refused.retry_after_us - 1)
            assert not (await limiter.hit("family", FREE.rate, 10)).allowed
            clock.advance(us=1)
            assert (await limiter.hit("family", FREE.rate, 10)).allowed

    async def test_a_decision_says_when_one_more_is_there_and_when_all_are(self) -> None:
        clock = TurnableClock()
        async with self.open_limiter(clock) as limiter:
            first = await limiter.hit("family", FREE.rate)
            assert (first.refill_after_us, first.reset_after_us) == (SECOND, SECOND)
            clock.advance(us=250_000)
            second = await limiter.hit("family", FREE.rate)
            assert (second.remaining, second.refill_after_us, second.reset_after_us) == (98, 750_000, 1_750_000)

    async def test_a_peek_says_what_a_hit_would_and_takes_nothing(self) -> None:
        clock = TurnableClock()
        async with self.open_limiter(clock) as limiter:
            for rate, cost in ((FREE.rate, 60), (FREE.rate, 60), (PRO.rate, 7), (FREE.rate, 1)):
                peeks = [await limiter.peek("family", rate, cost) for _ in range(3)]
                assert peeks == [await limiter.hit("family", rate, cost)] * 3
                clock.advance(us=1_234_567)

    async def test_buckets_do_not_touch_each_other(self) -> None:
        async with self.open_limiter(TurnableClock()) as limiter:
            await limiter.hit("one", FREE.rate, 100)
            assert not (await limiter.hit("one", FREE.rate)).allowed
            assert (await limiter.hit("another", FREE.rate)).remaining == 99

    async def test_an_upgrade_keeps_the_debt_in_tokens(self) -> None:
        async with self.open_limiter(TurnableClock()) as limiter:
            await limiter.hit("family", FREE.rate, 100)
            assert (await limiter.hit("family", PRO.rate)).remaining == 1_000 - 100 - 1

    async def test_a_downgrade_keeps_the_debt_as_far_as_the_new_burst_holds_it(self) -> None:
        clock = TurnableClock()
        async with self.open_limiter(clock) as limiter:
            await limiter.hit("little", PRO.rate, 30)
            assert (await limiter.hit("little", FREE.rate)).remaining == 69
            await limiter.hit("much", PRO.rate, 900)
            refused = await limiter.hit("much", FREE.rate)
            assert (refused.allowed, refused.retry_after_us, refused.reset_after_us) == (False, SECOND, 100 * SECOND)
            clock.advance(seconds=1)
            assert (await limiter.hit("much", FREE.rate)).allowed

    async def test_a_smaller_burst_at_the_same_rate_holds_no_more_than_itself(self) -> None:
        async with self.open_limiter(TurnableClock()) as limiter:
            await limiter.hit("family", FREE.rate, 100)
            refused = await limiter.hit("family", Rate("60/minute", 10))
            assert (refused.allowed, refused.retry_after_us, refused.reset_after_us) == (False, SECOND, 10 * SECOND)

    async def test_a_step_of_the_wall_clock_neither_locks_a_bucket_nor_refills_it_twice(self) -> None:
        clock = TurnableClock()
        async with self.open_limiter(clock) as limiter:
            await limiter.hit("family", FREE.rate, 100)
            clock.step(seconds=-3_600)
            assert (await limiter.hit("family", FREE.rate)).retry_after_us <= 100 * SECOND
            clock.advance(seconds=100)
            assert (await limiter.hit("family", FREE.rate, 100)).allowed

    @pytest.mark.parametrize("cost", [0, -1, 101, 1.5, True, "1", None])
    async def test_a_cost_that_can_never_pass_is_refused_with_a_sentence(self, cost: int) -> None:
        async with self.open_limiter(TurnableClock()) as limiter:
            with pytest.raises(ValueError, match="from 1 to the burst, 100"):
                await limiter.hit("family", FREE.rate, cost)
            with pytest.raises(ValueError, match="from 1 to the burst, 100"):
                await limiter.peek("family", FREE.rate, cost)
            assert (await limiter.hit("family", FREE.rate)).remaining == 99
