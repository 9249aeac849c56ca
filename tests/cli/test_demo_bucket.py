"""The bucket that the tour reckons from outside, against the one that the limiter keeps."""

import asyncio
from itertools import pairwise
from struct import unpack
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from vc_auth import FREE
from vc_auth.cli.demo.bucket import BURST, SECOND, Bucket, State
from vc_auth.cli.demo.wire import Moment
from vc_auth.limiters.redis.flights import Seats
from vc_auth.limiters.redis.keeper import BucketKeeper
from vc_auth.rates import token_bucket, whole_seconds
from vc_auth.testing import TurnableClock

START = 1_000 * SECOND
UTC = 1_700_000_000_250_000

# Before a request is sent, until the server looks at its clock, until the answer is there: in microseconds.
exact = st.tuples(st.integers(0, 3 * SECOND), st.just(0), st.just(0))
slow = st.tuples(st.integers(0, 3 * SECOND), st.integers(0, 3 * SECOND), st.integers(0, 3 * SECOND))


def at(microseconds: int) -> Moment:
    return Moment(microseconds, UTC + microseconds)


def play(requests: list[tuple[int, int, int]]) -> list[tuple[bool, State, list[State]]]:
    """What the limiter said to each request, and what the outsider thinks that it may have said."""
    bucket, tat, now, played = Bucket(), 0, START, []
    for before, under_way, back in requests:
        sent, seen, received = at(now + before), at(now + before + under_way), at(now + before + under_way + back)
        tat, decision = token_bucket(tat, FREE.rate.emission_us, seen.monotonic, FREE.rate)
        reset = whole_seconds(decision.reset_after_us)
        said = State(decision.remaining, reset, whole_seconds(seen.utc + decision.reset_after_us))
        played.append((decision.allowed, said, list(bucket.states(sent, received, admitted=decision.allowed))))
        if decision.allowed:
            bucket.spend(sent, received)
        now = received.monotonic
    return played


@given(st.lists(slow, max_size=40), st.integers(0, 120))
def test_what_the_limiter_says_is_always_among_what_may_be_said(
    requests: list[tuple[int, int, int]], at_once: int
) -> None:
    for _, said, states in play([(0, 0, 0)] * at_once + requests):
        assert said in states


@given(st.lists(exact, max_size=40), st.integers(0, 120))
def test_with_exact_clocks_there_is_one_answer_and_no_other(requests: list[tuple[int, int, int]], at_once: int) -> None:
    for _, said, states in play([(0, 0, 0)] * at_once + requests):
        assert states == [said]


def test_a_full_bucket_admits_its_burst_and_then_refuses() -> None:
    bucket, now = Bucket(), at(START)
    for spent in range(1, BURST + 1):
        assert list(bucket.states(now, now, admitted=False)) == []
        (state,) = bucket.states(now, now, admitted=True)
        assert (state.remaining, state.reset) == (BURST - spent, spent)
        bucket.spend(now, now)
    assert list(bucket.states(now, now, admitted=True)) == []
    (refused,) = bucket.states(now, now, admitted=False)
    assert (refused.remaining, refused.reset) == (0, 100)


def test_a_token_is_back_after_a_second_and_not_a_microsecond_before() -> None:
    bucket, now = Bucket(), at(START)
    for _ in range(BURST):
        bucket.spend(now, now)
    before, then = at(START + SECOND - 1), at(START + SECOND)
    assert not list(bucket.states(before, before, admitted=True))
    assert list(bucket.states(then, then, admitted=True))
    assert not list(bucket.states(then, then, admitted=False))


def test_an_answer_that_took_long_leaves_neighbouring_numbers() -> None:
    bucket = Bucket()
    for _ in range(10):
        bucket.spend(at(START), at(START))
    states = list(bucket.states(at(START), at(START + 3 * SECOND), admitted=True))
    remaining = sorted({state.remaining for state in states})
    assert remaining == [89, 90, 91, 92]
    assert all(next_ - one == 1 for one, next_ in pairwise(remaining))


# -- on a Redis --------------------------------------------------------------------------------------------------------


class Remote:
    """A bucket on another machine, whose clock began elsewhere; a way there, and a way back. It is its own watcher."""

    def __init__(self, clock: TurnableClock) -> None:
        self.seats = Seats()
        self.asked = 0
        self.there = self.back = 0  # microseconds
        self._clock = clock
        self._tat = 0

    async def bind(self) -> None:
        """There is nothing to connect."""

    async def ask(self, *words: Any) -> list[int]:
        *_, numbers = words
        emission, capacity, charge = map(int, unpack("<3d", numbers))
        assert (emission, capacity) == (FREE.rate.emission_us, FREE.rate.capacity_us)
        self.asked += 1
        self._clock.advance(us=self.there)
        now = self._clock.monotonic_ns() // 1_000 + 12_345_678
        debt = max(self._tat - now, 0)
        if debt + charge <= capacity:
            self._tat = now + debt + charge
        self._clock.advance(us=self.back)
        return [debt]

    def answered(self) -> None:
        """As it should."""

    def failed(self, error: Exception, since: float, *, hopeless: bool = False) -> None:
        raise error


class Workers:
    """Some processes with a limiter each, and the bucket that they share."""

    def __init__(self, number: int) -> None:
        self.clock = TurnableClock()
        self.remote = Remote(self.clock)
        self.keepers = [self._keeper() for _ in range(number)]
        self.bucket = Bucket(on_redis=True)
        self.remembered = 0  # refusals for which the Redis was not asked

    async def bind(self) -> "Workers":
        for keeper in self.keepers:
            await keeper.bind(self.remote)
        return self

    async def play(self, worker: int, before: int, on_its_way: int, there: int, back: int, home: int) -> None:
        self.clock.advance(us=before)
        sent, asked = self._now(), self.remote.asked
        self.remote.there, self.remote.back = there, back
        self.clock.advance(us=on_its_way)
        decision = await self.keepers[worker].hit("bucket", FREE.rate)
        full_at = whole_seconds(self._now().utc + decision.reset_after_us)
        self.clock.advance(us=home)
        received = self._now()
        said = State(decision.remaining, whole_seconds(decision.reset_after_us), full_at)
        assert said in list(self.bucket.states(sent, received, admitted=decision.allowed))
        learn = self.bucket.spend if decision.allowed else self.bucket.refuse
        learn(sent, received)
        self.remembered += self.remote.asked == asked

    def _keeper(self) -> BucketKeeper:
        return BucketKeeper(cast("Any", self.remote), deadline=60, most=8, now_ns=self.clock.monotonic_ns)

    def _now(self) -> Moment:
        return Moment(self.clock.monotonic_ns() // 1_000, self.clock.time_ns() // 1_000)


ways = st.sampled_from([0, 1, 1_000]) | st.integers(0, SECOND)
over_there = st.tuples(st.integers(0, 2), st.integers(0, SECOND), ways, ways, ways, ways)


@given(st.lists(over_there, max_size=40), st.integers(95, 105), st.integers(0, SECOND - 1))
def test_what_workers_say_of_a_bucket_on_redis_is_always_among_what_may_be_said(
    requests: list[tuple[int, int, int, int, int, int]], at_once: int, into_a_second: int
) -> None:
    async def go_round() -> None:
        workers = await Workers(3).bind()
        workers.clock.advance(us=into_a_second)  # else the bucket would always be full on the second
        for number in range(at_once):
            await workers.play(number % 3, 0, 0, 0, 0, 0)
        for request in requests:
            await workers.play(*request)

    asyncio.run(go_round())


def test_a_worker_remembers_a_bucket_as_full_sooner_by_no_more_than_its_exchange_took() -> None:
    first, sent, received = (at(START + microseconds) for microseconds in (800_000, 1_300_000, 1_400_000))
    full = 1_102  # a twentieth of a second before it
    for bucket, told in ((Bucket(), [full]), (Bucket(on_redis=True), [full - 1, full])):
        for _ in range(BURST - 1):
            bucket.spend(first, first)
        bucket.spend(sent, sent)
        assert seconds_of_refusals(bucket, sent) == [full]
        bucket.refuse(sent, received)
        bucket.refuse(received, received)
        assert seconds_of_refusals(bucket, received) == told
        then, later = at(START + 1_800_000), at(START + 1_900_000)
        bucket.spend(then, then)
        assert seconds_of_refusals(bucket, then) == [full + 1], "what was before the last token counts no longer"
        bucket.refuse(then, later)
        assert seconds_of_refusals(bucket, later) == [second + 1 for second in told]
        bucket.refuse(then, at(START + 9_000_000))
        # Whatever it remembers: who refuses finds not one token, so it takes more than 99 seconds to fill.
        assert seconds_of_refusals(bucket, at(START + 2_799_999)) == [full + 1]


def test_a_worker_remembers_the_reply_that_told_it_of_the_last_token() -> None:
    bucket = Bucket(on_redis=True)
    for _ in range(BURST - 1):
        bucket.spend(at(START + 800_000), at(START + 800_000))
    bucket.spend(at(START + 1_300_000), at(START + 1_400_000))
    assert seconds_of_refusals(bucket, at(START + 1_400_000)) == [1_101, 1_102]


def seconds_of_refusals(bucket: Bucket, now: Moment) -> list[int]:
    """When it may be said to be full: UTC, counted from the beginning of these tests."""
    return [state.full_at - UTC // SECOND for state in bucket.states(now, now, admitted=False)]
