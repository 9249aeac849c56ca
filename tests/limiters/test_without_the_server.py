"""A limiter without its server: what each mode answers, what a share is, and what is said of it."""

import asyncio
import logging
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis_limiters import Told, make_limiter, opened
from redis_servers import RedisServer
from support import UNAVAILABLE, App, get, limited, new_key

from vc_auth import FREE, PRO, APIKeyMiddleware, Settings, VCAuth, forks
from vc_auth.errors import BackendError
from vc_auth.limiters import Unreachable
from vc_auth.limiters.local import LocalBuckets
from vc_auth.limiters.outages import Outages
from vc_auth.limiters.remote import Lost, Owed, Unasked, Watcher
from vc_auth.limiters.resilient import FEW, ResilientLimiter
from vc_auth.metrics import Metrics
from vc_auth.rates import SECOND, Decision, Rate, part_of, token_bucket
from vc_auth.testing import TurnableClock
from vc_auth.workers import share_of_workers


class Remote:
    """A server in the test's hand: it is there, or what it raises."""

    def __init__(self) -> None:
        self.error: BackendError | None = None
        self.error_of_charges: BackendError | None = None
        self.debt = 0
        self.asked: list[str] = []
        self.charged: list[Owed] = []
        self.binds = 0
        self.charges = asyncio.Event()
        self.charges.set()

    async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        return self._decide("hit", rate, cost)

    async def peek(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        return self._decide("peek", rate, cost)

    def _decide(self, verb: str, rate: Rate, cost: int) -> Decision:
        self.asked.append(verb)
        if self.error is not None:
            self._watcher.failed(self.error, asyncio.get_running_loop().time())
            raise self.error
        self._watcher.answered()
        return token_bucket(0, 1, 0, rate, cost)[1]

    def last_debt(self, bucket: str, rate: Rate, now: int) -> int:
        return self.debt

    async def bind(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.binds += 1

    async def check(self) -> None:
        if self.error is not None:
            raise self.error

    async def probe(self) -> None:
        self.asked.append("probe")
        await self.check()

    async def charge(self, owed: Sequence[Owed]) -> None:
        await self.charges.wait()
        if self.error_of_charges is not None:
            raise self.error_of_charges
        self.charged += owed

    async def aclose(self) -> None:
        pass


def limiter_on(
    remote: Remote,
    clock: TurnableClock,
    mode: str = "local",
    share: Fraction = Fraction(1),
    told: Metrics | None = None,
) -> ResilientLimiter:
    outages = Outages(mode, lambda: share, told if told is not None else Metrics())
    return ResilientLimiter(remote, outages, clock.monotonic_ns, probes=(0, 0))


async def until_back(limiter: ResilientLimiter) -> None:
    async with asyncio.timeout(30):
        while limiter.trouble is not None:  # noqa: ASYNC110  # it has nobody to tell
            await asyncio.sleep(0)
        await asyncio.gather(*limiter._tasks.values())


# -- the breaker -------------------------------------------------------------------------------------------------------


async def begin_to_hand_back(remote: Remote, limiter: ResilientLimiter) -> None:
    """What a few hits were charged in an outage: the server gets it as soon as `Remote.charges` is set."""
    remote.error = Unasked("away")
    for _ in range(FEW):
        await limiter.hit("one", FREE.rate)
    remote.error = None
    remote.charges.clear()
    while "probe" not in remote.asked:  # noqa: ASYNC110  # it has nobody to tell
        await asyncio.sleep(0)


async def test_after_a_few_failures_in_a_row_the_server_is_only_probed(clock: TurnableClock) -> None:
    remote, told = Remote(), Told()
    limiter = limiter_on(remote, clock, told=told)
    remote.error = Unasked("away")
    for _ in range(FEW - 1):
        await limiter.hit("one", FREE.rate)
    remote.error = None
    await limiter.hit("one", FREE.rate)  # it answers, so these were not in a row
    remote.error = Unasked("away")
    for _ in range(FEW + 50):
        await limiter.hit("one", FREE.rate)
        await limiter.peek("one", FREE.rate)
    assert remote.asked.count("hit") + remote.asked.count("peek") == 2 * FEW
    assert str(limiter.trouble) == "away"
    remote.error = None
    await until_back(limiter)
    assert remote.asked[-1] == "probe"
    assert told.changes == ["away", "reachable"]
    await limiter.aclose()


async def test_what_fails_together_is_one_failure(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock)
    await limiter.hit("one", FREE.rate)
    since = asyncio.get_running_loop().time()
    for times in range(1, FEW + 1):
        assert limiter.trouble is None
        await asyncio.sleep(0.002)
        for _ in range(2 * FEW):  # flights that were out side by side
            limiter.failed(Lost(f"hiccup {times}"), since)
        since = asyncio.get_running_loop().time()
    assert str(limiter.trouble) == f"hiccup {FEW}"
    await until_back(limiter)
    await limiter.aclose()


async def test_where_nothing_more_can_be_asked_one_failure_is_enough(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock)
    await limiter.hit("one", FREE.rate)
    limiter.failed(Lost("all seats are taken"), asyncio.get_running_loop().time(), hopeless=True)
    assert str(limiter.trouble) == "all seats are taken"
    await until_back(limiter)
    assert remote.asked == ["hit", "probe"]
    await limiter.aclose()


async def test_each_change_of_state_is_one_line(clock: TurnableClock, caplog: pytest.LogCaptureFixture) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock, share=Fraction(1, 4))
    remote.error = Unasked("away")
    for _ in range(200):
        await limiter.hit("one", FREE.rate)
    remote.error = None
    await until_back(limiter)
    assert [record.getMessage().replace("0.0", "X") for record in caplog.records if record.name == "vc_auth"] == [
        "limiter unreachable (away); this process limits by itself at 1/4 of each plan until it is back",
        "limiter is back after X s; limits are exact again",
    ]
    await limiter.aclose()


async def test_a_hook_that_fails_harms_nobody(clock: TurnableClock, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Metrics):
        def limiter_unreachable(self, reason: str) -> None:
            raise ValueError(reason)

    remote = Remote()
    limiter = limiter_on(remote, clock, told=Broken())
    remote.error = Unasked("away")
    for _ in range(5):
        assert (await limiter.hit("one", FREE.rate)).allowed
    assert "a hook of the metrics failed" in caplog.text
    await limiter.aclose()


async def test_a_new_loop_goes_on_probing(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock)
    remote.error = Unasked("away")

    async def hit() -> Decision:
        return await limiter.hit("one", FREE.rate)

    for left in (99, 98, 97, 96):
        assert (await asyncio.to_thread(asyncio.run, hit())).remaining == left
    await limiter.aclose()  # nothing of this loop
    remote.error = None
    await limiter.peek("one", FREE.rate)
    await until_back(limiter)
    assert remote.charged == [Owed("one", FREE.rate, 4 * SECOND)]
    assert remote.binds == 5
    await limiter.aclose()


# -- what is handed back -----------------------------------------------------------------------------------------------


async def test_what_was_charged_meanwhile_is_handed_back_and_what_may_stand_there_is_not(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock)
    remote.error = Lost("cut")
    for _ in range(FEW):
        await limiter.hit("lost", FREE.rate, 5)
    for _ in range(10):
        await limiter.hit("one", FREE.rate, 2)
    await limiter.hit("lost", FREE.rate, 4)
    clock.advance(seconds=3)
    await limiter.hit("one", PRO.rate)  # upgraded meanwhile: 17 tokens and this one
    remote.error = None
    await until_back(limiter)
    assert sorted(remote.charged) == sorted([Owed("lost", FREE.rate, 4 * SECOND), Owed("one", PRO.rate, 1_800_000)])
    assert len(limiter._local) == 0
    await limiter.aclose()


async def test_it_is_handed_back_with_the_next_answer_too_and_before_closing(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock)
    remote.error = Unasked("cut")
    await limiter.hit("one", FREE.rate)
    remote.error = None
    await limiter.hit("two", FREE.rate)
    await until_back(limiter)
    assert remote.charged == [Owed("one", FREE.rate, SECOND)]
    remote.error = Unasked("cut")
    await limiter.hit("one", FREE.rate)
    await limiter.aclose()
    assert remote.charged == 2 * [Owed("one", FREE.rate, SECOND)]


@pytest.mark.parametrize(("error", "times"), [(Unasked("refused"), 1), (Lost("cut"), 0)])
async def test_a_charge_that_was_lost_is_not_made_again_and_one_that_was_refused_is(
    clock: TurnableClock, error: BackendError, times: int
) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock)
    remote.error, remote.error_of_charges = Unasked("away"), error
    for _ in range(FEW):
        await limiter.hit("one", FREE.rate)
    remote.error = None
    for _ in range(20):
        await asyncio.sleep(0)
    remote.error_of_charges = None
    await until_back(limiter)
    assert remote.charged == times * [Owed("one", FREE.rate, 3 * SECOND)]
    await limiter.aclose()


async def test_a_charge_that_fails_after_a_single_failure_waits_for_the_next_answer(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock)
    remote.error, remote.error_of_charges = Unasked("cut"), Unasked("cut")
    await limiter.hit("one", FREE.rate)
    remote.error = None
    await limiter.hit("two", FREE.rate)
    await until_back(limiter)
    assert remote.charged == []
    remote.error_of_charges = None
    await limiter.hit("two", FREE.rate)
    await until_back(limiter)
    assert remote.charged == [Owed("one", FREE.rate, SECOND)]
    await limiter.aclose()


async def test_whoever_hands_back_meanwhile_hands_back_nothing_twice(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock)
    await begin_to_hand_back(remote, limiter)
    limiter._trouble = None  # as soon as the probe has handed back, which waits for the server
    await limiter.hit("two", FREE.rate)  # an answer, so it is handed back
    await asyncio.sleep(0)
    closing = asyncio.create_task(limiter.aclose())  # and once more
    for _ in range(10):
        await asyncio.sleep(0)
    remote.charges.set()
    await closing
    assert remote.charged == [Owed("one", FREE.rate, 3 * SECOND)]


async def test_a_charge_that_was_cut_short_by_closing_is_not_made_again(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock)
    await begin_to_hand_back(remote, limiter)
    await asyncio.sleep(0)
    await limiter.aclose()
    remote.charges.set()
    await limiter.open()
    await until_back(limiter)
    assert remote.charged == []
    await limiter.aclose()


async def test_thousands_of_buckets_are_handed_back_in_parts(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock)
    remote.error = Unasked("away")
    for number in range(1_500):
        await limiter.hit(f"bucket {number}", FREE.rate)
    remote.error = None
    await until_back(limiter)
    assert len(remote.charged) == len({owed.bucket for owed in remote.charged}) == 1_500
    await limiter.aclose()


# -- a share -----------------------------------------------------------------------------------------------------------


def test_a_share_begins_with_its_part_of_what_was_known_to_remain(clock: TurnableClock) -> None:
    debts = {"unknown": 0, "half": 50 * SECOND, "empty": 100 * SECOND}
    local = LocalBuckets(lambda: Fraction(1, 5), clock.monotonic_ns, lambda bucket, rate, now: debts[bucket])
    assert {name: local.peek(name, FREE.rate, 1).remaining for name in debts} == {"unknown": 19, "half": 9, "empty": 0}
    for name, admitted in (("unknown", 20), ("half", 10), ("empty", 0)):
        decisions = [local.hit(name, FREE.rate, 1) for _ in range(25)]
        assert sum(decision.allowed for decision in decisions) == admitted
        assert {decision.limit for decision in decisions} == {100}
        assert decisions[-1].retry_after_us == 5 * SECOND
    clock.advance(seconds=5)
    assert [local.hit("empty", FREE.rate, 1).allowed for _ in range(2)] == [True, False]


@given(
    workers=st.integers(1, 40),
    known=st.integers(0, 100),
    steps=st.lists(st.tuples(st.integers(0, 30 * SECOND), st.integers(1, 5)), max_size=40),
)
@example(workers=26, known=0, steps=[(0, 4), (0, 1), (18 * SECOND, 1), (30 * SECOND, 2), (30 * SECOND, 5)])
def test_all_shares_together_admit_no_more_than_the_whole(
    workers: int, known: int, steps: list[tuple[int, int]]
) -> None:
    """Each of as many processes as there are shares does the same; together they stay below burst + rate * time."""
    clock = TurnableClock()
    local = LocalBuckets(lambda: Fraction(1, workers), clock.monotonic_ns, lambda *_: known * SECOND)
    admitted, passed = 0, 0
    for us, cost in steps:
        clock.advance(us=us)
        passed += us
        if local.hit("one", FREE.rate, cost).allowed:
            admitted += cost
    # A burst that is smaller than what one request costs is rounded up to that.
    most = max(Fraction(100 - known, workers), Fraction(5))
    assert admitted <= most + Fraction(passed, workers * SECOND)


def test_what_costs_more_than_a_share_holds_is_paid_for_in_full(clock: TurnableClock) -> None:
    local = LocalBuckets(lambda: Fraction(1, 50), clock.monotonic_ns, lambda *_: 0)  # bursts of 2, a token in 50 s
    assert local.hit("one", FREE.rate, 10).allowed
    for cost in (1, 2, 3, 10):
        for decision in (local.peek("one", FREE.rate, cost), local.hit("one", FREE.rate, cost)):
            assert (decision.allowed, decision.remaining, decision.limit) == (False, 0, 100)
            assert decision.retry_after_us == (10 + cost - max(cost, 2)) * 50 * SECOND
            assert decision.reset_after_us == 500 * SECOND
    assert local.hit("one", FREE.rate, 1).refill_after_us == (10 - 2 + 1) * 50 * SECOND
    clock.advance(us=(10 - 2 + 1) * 50 * SECOND - 1)
    assert not local.hit("one", FREE.rate, 1).allowed
    clock.advance(us=1)
    assert local.peek("one", FREE.rate, 1).allowed
    assert local.hit("one", FREE.rate, 1).allowed
    assert not local.hit("one", FREE.rate, 1).allowed


def test_a_share_of_a_smaller_plan_forgives_what_its_burst_does_not_hold(clock: TurnableClock) -> None:
    local = LocalBuckets(lambda: Fraction(1, 50), clock.monotonic_ns, lambda *_: 0)
    assert local.hit("one", FREE.rate, 10).allowed
    assert local.hit("one", Rate("60/minute", 50), 1).reset_after_us == 50 * SECOND


def test_a_share_of_a_tiny_burst_still_admits_one() -> None:
    part = part_of(Rate("60/minute", 3), Fraction(1, 8), 2)
    assert (part.burst, part.emission_us, part.capacity_us) == (2, 8 * SECOND, 16 * SECOND)
    assert part_of(FREE.rate, Fraction(1)) == FREE.rate
    assert part_of(FREE.rate, Fraction(1, 3)).burst == 33


def test_the_share_is_one_of_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for named, share in (("", 1), ("4", Fraction(1, 4)), ("0", 1), ("x", 1)):
        monkeypatch.setenv("WEB_CONCURRENCY", named)
        assert share_of_workers() == share


def test_full_buckets_are_forgotten(clock: TurnableClock) -> None:
    local = LocalBuckets(lambda: Fraction(1), clock.monotonic_ns, lambda *_: 0)
    for number in range(10_000):
        local.hit(f"bucket {number}", FREE.rate, 1)
        clock.advance(us=10_000)
    assert len(local) <= 202


# -- through the middleware --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "statuses"), [("local", [200] * 25 + [429] * 5), ("closed", [503] * 30), ("open", [200] * 30)]
)
async def test_a_request_is_never_answered_500(
    mode: str, statuses: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer() as server:
        server.kill()
        settings = Settings(store="memory://", limiter=server.url, on_limiter_error=mode, limiter_share=0.25)  # type: ignore[arg-type]
        async with VCAuth(settings) as auth:
            key = await new_key(auth)
            app = APIKeyMiddleware(App(), auth)
            answers = [await get(app, key) for _ in range(30)]
    assert [answer.status for answer in answers] == statuses
    assert {answer.body for answer in answers} == {b"ok", limited(4), UNAVAILABLE} & {
        {200: b"ok", 429: limited(4), 503: UNAVAILABLE}[status] for status in statuses
    }
    assert [record.levelno for record in caplog.records if record.name == "vc_auth"] == [logging.WARNING]


async def test_after_a_fork_what_is_owed_is_the_parents_to_hand_back(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock)
    remote.error = Unasked("away")
    await limiter.hit("one", FREE.rate)
    forks._forked()  # as in the child of a real fork, see test_redis_bad_input
    remote.error = None
    await limiter.hit("two", FREE.rate)
    await until_back(limiter)
    assert remote.charged == []
    assert remote.binds == 2
    await limiter.aclose()


async def test_two_answers_hand_back_once(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock)
    remote.error = Unasked("cut")
    await limiter.hit("one", FREE.rate)
    remote.error = None
    await asyncio.gather(limiter.hit("two", FREE.rate), limiter.hit("three", FREE.rate))
    await until_back(limiter)
    assert remote.charged == [Owed("one", FREE.rate, SECOND)]
    await limiter.aclose()


async def test_a_debt_that_is_paid_by_time_while_it_is_handed_back_is_forgotten(clock: TurnableClock) -> None:
    local = LocalBuckets(lambda: Fraction(1), clock.monotonic_ns, lambda *_: 0)
    local.hit("one", FREE.rate, 1)
    debts = local.debts()
    clock.advance(seconds=2)
    local.hit("two", FREE.rate, 1)
    local.settle(debts)
    assert [debt.owed for debt in local.debts()] == [Owed("two", FREE.rate, SECOND)]


async def test_open_says_that_nothing_is_spent(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock, mode="open")
    remote.error = Unasked("away")
    for _ in range(5):
        decision = await limiter.hit("one", FREE.rate, 100)
        assert (decision.allowed, decision.limit) == (True, 100)
    assert (await limiter.peek("one", FREE.rate)).allowed
    with pytest.raises(ValueError, match="from 1 to the burst, 100"):
        await limiter.hit("one", FREE.rate, 101)
    await limiter.aclose()


async def test_closed_refuses_without_a_word_for_each(clock: TurnableClock) -> None:
    remote = Remote()
    limiter = limiter_on(remote, clock, mode="closed")
    remote.error = Unasked("away")
    for verb in (limiter.hit, limiter.peek) * 3:
        with pytest.raises(Unreachable, match="away"):
            await verb("one", FREE.rate)
    assert limiter._local.debts() == []
    await limiter.aclose()


async def test_a_healthy_server_says_nothing(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(make_limiter(redis_server.url)) as limiter:
        await limiter.hit("one", FREE.rate)
    assert [record for record in caplog.records if record.name == "vc_auth"] == []
