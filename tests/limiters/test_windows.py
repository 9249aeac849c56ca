"""Windows of `limits`: what each strategy decides and says, in memory and on Redis."""

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits.aio.strategies import STRATEGIES as STRATEGIES_OF_LIMITS
from redis_servers import RedisServer
from support import SCALE
from window_keepers import (
    SIX,
    STEPS,
    STRATEGIES,
    RunningRedis,
    StandingWall,
    Step,
    Wall,
    Watching,
    keeper_of,
    tell,
)

from vc_auth.limiters.remote import Owed
from vc_auth.limiters.windows import WindowKeeper
from vc_auth.rates import SECOND, Decision, Rate

LITTLE, MUCH = Rate("60/minute", 60), Rate("600/minute", 600)


@pytest.fixture(params=STRATEGIES)
def strategy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "limits+memory://"
    server: RedisServer = request.getfixturevalue("redis_server")
    return f"limits+{server.url}"


@pytest.fixture
def wall(url: str, strategy: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Wall:
    if url == "limits+memory://":
        return StandingWall(monkeypatch)
    return RunningRedis(request.getfixturevalue("redis_server"), strategy, monkeypatch)


async def test_as_many_pass_as_the_rate_says_and_no_more(url: str, strategy: str, wall: Wall) -> None:
    async with keeper_of(url, strategy) as keeper:
        for left in reversed(range(6)):
            decision = await keeper.hit("family", SIX)
            assert (decision.allowed, decision.limit, decision.remaining) == (True, 6, left)
            assert decision.retry_after_us == 0
            assert 0 < decision.refill_after_us <= decision.reset_after_us
        refused = await keeper.hit("family", SIX)
        assert (refused.allowed, refused.limit, refused.remaining) == (False, 6, 0)
        assert 0 < refused.retry_after_us == refused.refill_after_us <= refused.reset_after_us


async def test_a_refused_request_takes_nothing(url: str, strategy: str, wall: Wall) -> None:
    async with keeper_of(url, strategy) as keeper:
        await keeper.hit("family", SIX, 4)
        for _ in range(3):
            refused = await keeper.hit("family", SIX, 3)
            assert (refused.allowed, refused.remaining) == (False, 2)
        assert (await keeper.hit("family", SIX, 2)).allowed
        assert not (await keeper.hit("family", SIX)).allowed


async def test_a_peek_says_what_a_hit_would_and_takes_nothing(url: str, strategy: str, wall: Wall) -> None:
    async with keeper_of(url, strategy) as keeper:
        for cost in (2, 1, 4, 3, 2):
            peeks = [await keeper.peek("family", SIX, cost) for _ in range(3)]
            hit = await keeper.hit("family", SIX, cost)
            for peek in peeks:
                assert peek[:3] == hit[:3]
                assert peek[3:] == pytest.approx(hit[3:], abs=wall.exact_us)
            wall.advance(us=7 * SECOND)


async def test_buckets_do_not_touch_each_other(url: str, strategy: str, wall: Wall) -> None:
    async with keeper_of(url, strategy) as keeper:
        await keeper.hit("one", SIX, 6)
        assert not (await keeper.hit("one", SIX)).allowed
        assert (await keeper.hit("another", SIX)).remaining == 5


async def test_what_was_spent_stays_spent_when_the_plan_changes(url: str, strategy: str, wall: Wall) -> None:
    async with keeper_of(url, strategy) as keeper:
        await keeper.hit("up", LITTLE, 60)
        assert not (await keeper.hit("up", LITTLE)).allowed
        assert (await keeper.hit("up", MUCH)).remaining == 600 - 60 - 1
        await keeper.hit("down", MUCH, 100)
        refused = await keeper.hit("down", LITTLE)
        assert (refused.allowed, refused.remaining) == (False, 0)
        wall.advance(us=refused.retry_after_us)
        assert (await keeper.hit("down", LITTLE)).allowed


async def test_however_many_come_at_once_no_more_pass(url: str, strategy: str, wall: Wall) -> None:
    watching = Watching()
    async with keeper_of(url, strategy, watching=watching) as keeper:
        decisions = await asyncio.gather(*(keeper.hit("family", LITTLE) for _ in range(300)))
        assert sum(decision.allowed for decision in decisions) == 60
        assert (watching.answers, watching.errors) == (300, [])
        some = await asyncio.gather(*(keeper.hit("costly", LITTLE, 7) for _ in range(100)))
        assert sum(decision.allowed for decision in some) == 8


@pytest.mark.parametrize("cost", [0, -1, 7, 1.5, True, "1", None])
async def test_a_cost_that_can_never_pass_is_refused_with_a_sentence(url: str, strategy: str, cost: int) -> None:
    async with keeper_of(url, strategy) as keeper:
        with pytest.raises(ValueError, match="from 1 to the burst, 6"):
            await keeper.hit("family", SIX, cost)
        with pytest.raises(ValueError, match="from 1 to the burst, 6"):
            await keeper.peek("family", SIX, cost)


async def test_what_is_owed_is_taken_as_far_as_it_is_there(url: str, strategy: str, wall: Wall) -> None:
    async with keeper_of(url, strategy) as keeper:
        await keeper.hit("owes much", SIX, 4)
        emission = SIX.emission_us
        await keeper.charge([Owed("owes much", SIX, 5 * emission), Owed("owes little", SIX, emission + 1)])
        assert not (await keeper.hit("owes much", SIX)).allowed
        assert (await keeper.hit("owes little", SIX)).remaining == 6 - 2 - 1


async def test_what_is_owed_is_taken_also_from_what_others_leave(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = STRATEGIES_OF_LIMITS[strategy]
    hit, others = kind.hit, iter([3])

    async def second(limiter: Any, window: Any, bucket: str, cost: int) -> bool:
        for taken in others:
            await hit(limiter, window, bucket, cost=taken)
            if strategy == "fixed-window":  # which counts what it refuses, as long as the window lasts
                return False
        return bool(await hit(limiter, window, bucket, cost=cost))

    async with keeper_of("limits+memory://", strategy) as keeper:
        monkeypatch.setattr(kind, "hit", second)
        await keeper.charge([Owed("family", SIX, 5 * SIX.emission_us)])
        assert not (await keeper.hit("family", SIX)).allowed


async def test_a_probe_is_charged_to_nobody(url: str, strategy: str, wall: Wall) -> None:
    async with keeper_of(url, strategy) as keeper:
        for _ in range(10):
            await keeper.check()
            await keeper.probe()
        assert (await keeper.hit("family", SIX)).remaining == 5


async def test_what_is_known_to_be_spent_is_taken_to_come_back_evenly(strategy: str) -> None:
    ns = 0
    keeper = WindowKeeper("limits+memory://", strategy, 30.0, lambda: ns)
    await keeper.bind(Watching())
    await keeper.hit("family", SIX, 4)
    assert keeper.last_debt("family", SIX, now=0) == 4 * SIX.emission_us
    assert keeper.last_debt("family", SIX, now=15 * SECOND) == 25 * SECOND
    assert keeper.last_debt("family", SIX, now=60 * SECOND) == 0
    assert keeper.last_debt("family", MUCH, now=0) == 4 * MUCH.emission_us
    assert keeper.last_debt("another", SIX, now=0) == 0
    ns = 61_000_000_000
    for number in range(4):
        await keeper.hit(f"family {number}", SIX)
    assert keeper.last_debt("family", SIX, now=0) == 0  # full by then, and forgotten
    await keeper.aclose()


# -- what a decision says of the time to come --------------------------------------------------------------------------


WAITS = {  # seconds until so many tokens pass: 10 s after three were spent, 20 s after two, and 30 s after one
    "fixed-window": {1: 30, 2: 30, 3: 30, 6: 30},
    "moving-window": {1: 30, 3: 40, 6: 50},
    "sliding-window-counter": {1: 30, 2: 40, 3: 50, 6: 80},
}


async def test_a_refusal_says_how_long_a_request_of_its_cost_waits(url: str, strategy: str, wall: Wall) -> None:
    async with keeper_of(url, strategy) as keeper:
        for cost in (1, 2, 3):
            assert (await keeper.hit("family", SIX, cost)).allowed
            wall.advance(us=10 * SECOND)
        for cost, seconds in WAITS[strategy].items():
            refused = await keeper.hit("family", SIX, cost)
            untold = strategy == "moving-window" and cost > 1 and "redis" not in url
            expected = 60 if untold else seconds
            assert refused.retry_after_us == pytest.approx(expected * SECOND, abs=wall.exact_us)


async def test_a_refusal_after_a_smaller_plan_says_how_long_at_the_latest(url: str, strategy: str, wall: Wall) -> None:
    async with keeper_of(url, strategy) as keeper:
        for _ in range(2):
            assert (await keeper.hit("family", MUCH, 50)).allowed
            wall.advance(us=20 * SECOND)
        refused = await keeper.hit("family", LITTLE)
        untold = strategy == "moving-window" and "redis" not in url
        expected = {"fixed-window": 20, "moving-window": 60 if untold else 20, "sliding-window-counter": 44}[strategy]
        assert refused.retry_after_us == pytest.approx(expected * SECOND, abs=wall.exact_us)


async def test_what_was_refused_as_a_window_ended_may_come_back_at_once(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, kind = StandingWall(monkeypatch), STRATEGIES_OF_LIMITS[strategy]
    async with keeper_of("limits+memory://", strategy) as keeper:
        await keeper.hit("family", SIX, 6)
        decides = "test" if strategy == "fixed-window" else "hit"
        decide = getattr(kind, decides)

        async def slowly(*args: Any, **options: Any) -> bool:
            allowed = await decide(*args, **options)
            wall.advance(us=130 * SECOND)
            return bool(allowed)

        monkeypatch.setattr(kind, decides, slowly)
        refused = await keeper.hit("family", SIX, 2)
        assert refused == Decision(False, 6, 6, retry_after_us=1, refill_after_us=0, reset_after_us=0)


@pytest.mark.parametrize("strategy", ["sliding-window-counter"])
async def test_what_the_last_window_held_weighs_less_and_less(url: str, strategy: str, wall: Wall) -> None:
    async with keeper_of(url, strategy) as keeper:
        await keeper.hit("family", SIX, 6)
        wall.advance(us=88 * SECOND)  # for 32 more it weighs something, and 3.2 now
        for cost, seconds in ((5, 12), (6, 22)):
            refused = await keeper.hit("family", SIX, cost)
            assert (refused.allowed, refused.remaining) == (False, 3)
            assert refused.retry_after_us == pytest.approx(seconds * SECOND, abs=wall.exact_us)
        assert (await keeper.hit("family", SIX, 3)).allowed


@given(steps=st.lists(STEPS, max_size=30))
@settings(max_examples=max(1, round(60 * SCALE)))
@pytest.mark.parametrize("kind", STRATEGIES)
def test_a_decision_in_memory_says_when_more_will_pass(kind: str, steps: list[Step]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(tell("limits+memory://", kind, StandingWall(patch), steps))


@pytest.mark.parametrize("seed", range(max(1, round(3 * SCALE))))
async def test_a_decision_on_redis_says_when_more_will_pass(
    seed: int, strategy: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, some = RunningRedis(redis_server, strategy, monkeypatch), random.Random(seed)
    kinds = [("hit", 6), ("until one more", 6), ("until all", 6), ("pause", 200)]
    story = [(what, some.randint(1, most)) for what, most in some.choices(kinds, weights=[6, 2, 1, 4], k=60)]
    await tell(f"limits+{redis_server.url}", strategy, wall, story)
