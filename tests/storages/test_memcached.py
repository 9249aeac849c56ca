"""Windows on a real memcached."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memcached_server import MemcachedServer
from support import SCALE, App, get, limited, new_key
from window_keepers import PATIENT, SIX, STEPS, StandingWall, Step, Watching, keeper_of, tell, until

from vc_auth import APIKeyMiddleware, Settings, VCAuth
from vc_auth.errors import LimiterError
from vc_auth.limiters.remote import Lost, Owed, Unasked
from vc_auth.limiters.resilient import ResilientLimiter
from vc_auth.limiters.windows import WindowKeeper
from vc_auth.rates import SECOND, Rate

BOTH = ("fixed-window", "sliding-window-counter")
SHORT = 0.05  # seconds


@pytest.fixture
def server() -> Iterator[MemcachedServer]:
    with MemcachedServer() as server:
        yield server


def settings_of(server: MemcachedServer, **others: Any) -> Settings:
    return Settings(store="memory://", limiter=f"limits+{server.url}", limiter_timeout=PATIENT, **others)


def is_away(auth: VCAuth) -> bool:
    assert isinstance(auth.limiter, ResilientLimiter)
    return auth.limiter.trouble is not None


@pytest.mark.parametrize("strategy", BOTH)
async def test_a_free_key_sends_sixty_and_is_then_told_to_wait(
    server: MemcachedServer, strategy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    StandingWall(monkeypatch)
    async with VCAuth(settings_of(server, limiter_strategy=strategy)) as auth:
        app, key = APIKeyMiddleware(App(), auth), await new_key(auth)
        for left in reversed(range(60)):
            answer = await get(app, key)
            assert (answer.status, answer.headers["x-ratelimit-remaining"]) == (200, str(left))
            assert answer.headers["ratelimit-policy"] == '"free";q=60;w=60'
        refused = await get(app, key)
        wait = int(refused.headers["retry-after"])
        assert (refused.status, refused.body) == (429, limited(wait))
        assert 60 <= wait <= 61


@pytest.mark.parametrize("strategy", BOTH)
async def test_a_refused_request_takes_nothing_and_what_is_owed_is_taken(
    server: MemcachedServer, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    StandingWall(monkeypatch)
    async with keeper_of(f"limits+{server.url}", strategy) as keeper:
        await keeper.hit("family", SIX, 3)
        for _ in range(3):
            assert (await keeper.hit("family", SIX, 4))[:3] == (False, 6, 3)
        assert (await keeper.peek("family", SIX, 3))[:3] == (True, 6, 0)
        await keeper.charge([Owed("family", SIX, 9 * SIX.emission_us), Owed("another", SIX, 2 * SIX.emission_us)])
        assert not (await keeper.hit("family", SIX)).allowed
        assert (await keeper.hit("another", SIX)).remaining == 3
        assert (await keeper.hit("family", Rate("60/minute", 60))).remaining == 60 - 6 - 1


async def test_a_fixed_window_is_over_no_later_than_a_refusal_says(server: MemcachedServer) -> None:
    rate = Rate("6/2second", 6)  # no other clock is there than memcached's own
    async with keeper_of(f"limits+{server.url}", "fixed-window") as keeper:
        await keeper.hit("family", rate, 6)
        loop = asyncio.get_running_loop()
        refused = await keeper.hit("family", rate)
        at_the_latest = loop.time() + refused.retry_after_us / SECOND
        assert 0 < refused.retry_after_us <= 2 * SECOND
        while loop.time() < at_the_latest and not (await keeper.peek("family", rate)).allowed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert (await keeper.hit("family", rate)).allowed


names = iter(range(1_000_000))


@given(steps=st.lists(STEPS, max_size=30))
@settings(max_examples=max(1, round(30 * SCALE)), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_sliding_window_says_when_more_will_pass(server: MemcachedServer, steps: list[Step]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        wall = StandingWall(patch)
        wall.advance(us=next(names) * 86_400 * SECOND)  # where nothing was spent so far
        asyncio.run(tell(f"limits+{server.url}", "sliding-window-counter", wall, steps))


async def test_however_many_come_at_once_no_more_pass(server: MemcachedServer) -> None:
    rate = Rate("60/day", 60)
    for strategy, least in (("fixed-window", 60), ("sliding-window-counter", 1)):  # it may turn away too many who race
        watching = Watching()
        async with keeper_of(f"limits+{server.url}", strategy, watching=watching) as keeper:
            decisions = await asyncio.gather(*(keeper.hit("family", rate) for _ in range(300)))
            assert least <= sum(decision.allowed for decision in decisions) <= 60
            assert (watching.answers, watching.errors) == (300, [])
            while (await keeper.hit("family", rate)).allowed:
                pass
            assert (await keeper.peek("family", rate)).remaining == 0


# -- away, and back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", BOTH)
async def test_while_memcached_is_away_this_process_limits_by_itself(
    server: MemcachedServer, strategy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "vc_auth")
    async with VCAuth(settings_of(server, limiter_strategy=strategy)) as auth:
        app, spent, fresh = APIKeyMiddleware(App(), auth), await new_key(auth), await new_key(auth)
        for _ in range(60):
            await get(app, spent)
        server.kill()
        assert {(await get(app, spent)).status for _ in range(5)} == {429}
        statuses = [(await get(app, fresh)).status for _ in range(70)]
        assert statuses.count(200) in range(60, 66)
        server.start()
        await until(lambda: not is_away(auth))
        assert (await get(app, fresh)).status in (200, 429)  # as soon as one has come back
        assert (await get(app, await new_key(auth))).headers["x-ratelimit-remaining"] == "59"
    away, back = caplog.messages
    assert away.startswith(f"limiter unreachable (limits+{server.url} does not answer: ")
    assert back.startswith("limiter is back after ")


async def test_a_memcached_that_was_frozen_while_it_was_connected_to_is_asked_again() -> None:
    with MemcachedServer("bob:secret") as server:  # so that connecting takes an answer
        url = f"limits+memcached://bob:secret@127.0.0.1:{server.port}"
        async with keeper_of(url, "sliding-window-counter", deadline=SHORT) as keeper:
            server.freeze()
            for _ in range(4):  # the pool has two connections
                with pytest.raises((Lost, Unasked)):
                    await keeper.hit("family", SIX)
            server.thaw()
            await until_it_answers(keeper)
            assert (await keeper.hit("another", SIX)).remaining == 5


async def until_it_answers(keeper: WindowKeeper) -> None:
    async with asyncio.timeout(PATIENT):
        while True:
            try:
                return await keeper.probe()
            except (Lost, Unasked):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("user", ["", "bob:wrong-secret@"])
async def test_whoever_is_not_let_in_does_not_start(user: str) -> None:
    with MemcachedServer("bob:right-secret") as server:
        where = f"127.0.0.1:{server.port}"
        with pytest.raises(LimiterError, match=r"does not let us in: .*; check the user and the password") as caught:
            async with VCAuth(Settings(store="memory://", limiter=f"limits+memcached://{user}{where}")):
                pass
        assert "secret" not in f"{caught.value!r}"
        url = f"limits+memcached://bob:right-secret@{where}"
        async with keeper_of(url, "fixed-window") as keeper:
            assert (await keeper.hit("family", SIX)).remaining == 5


# -- one event loop, and closed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", BOTH)
def test_another_event_loop_has_connections_of_its_own(server: MemcachedServer, strategy: str) -> None:
    keeper = WindowKeeper(f"limits+{server.url}", strategy, PATIENT)
    rate = Rate("6/day", 6)

    async def hit() -> int:
        await keeper.bind(Watching())
        decision = await keeper.hit("family", rate)
        assert server.connections() > 0
        return decision.remaining

    assert [asyncio.run(hit()) for _ in range(3)] == [5, 4, 3]
    asyncio.run(until(lambda: server.connections() == 0))


async def test_several_servers_share_the_windows(server: MemcachedServer) -> None:
    with MemcachedServer() as other:
        url = f"limits+{server.url},127.0.0.1:{other.port}"
        async with keeper_of(url, "sliding-window-counter") as keeper:
            decisions = await asyncio.gather(*(keeper.hit(f"family-{number}", SIX) for number in range(50)))
            assert {decision.remaining for decision in decisions} == {5}
            assert min(server.connections(), other.connections()) > 0
        await until(lambda: server.connections() + other.connections() == 0)


def test_memcached_keeps_no_moving_windows() -> None:
    sentence = r"'limits\+memcached://h:11211' has no 'moving-window'; choose another limiter_strategy, such as 's"
    with pytest.raises(LimiterError, match=sentence):
        VCAuth(Settings(store="memory://", limiter="limits+memcached://h:11211", limiter_strategy="moving-window"))
