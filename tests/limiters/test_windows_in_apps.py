"""Windows of `limits` as an application meets them: through the middleware, with its storage there, away, and back."""

import logging
from typing import Any

import pytest
from redis_servers import RedisServer, free_port
from support import UNAVAILABLE, App, get, limited, new_key
from window_keepers import PATIENT, STRATEGIES, StandingWall, until

from vc_auth import APIKeyMiddleware, Settings, VCAuth
from vc_auth.errors import LimiterError, SettingsError
from vc_auth.limiters.resilient import ResilientLimiter


def settings_of(url: str, **others: Any) -> Settings:
    return Settings(store="memory://", limiter=f"limits+{url}", limiter_timeout=PATIENT, **others)


def limiter_of(auth: VCAuth) -> ResilientLimiter:
    assert isinstance(auth.limiter, ResilientLimiter)
    return auth.limiter


@pytest.mark.parametrize("place", ["memory", "redis"])
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_free_key_sends_sixty_and_is_then_told_to_wait(
    place: str, strategy: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.command("FLUSHALL")
    wall = StandingWall(monkeypatch)
    url = redis_server.url if place == "redis" else "memory://"
    async with VCAuth(settings_of(url, limiter_strategy=strategy)) as auth:
        app, key = APIKeyMiddleware(App(), auth), await new_key(auth)
        for left in reversed(range(60)):
            answer = await get(app, key)
            assert (answer.status, answer.body) == (200, b"ok")
            assert answer.headers["ratelimit-policy"] == '"free";q=60;w=60'
            assert answer.headers["ratelimit"].startswith(f'"free";r={left};t=')
            assert answer.headers["x-ratelimit-limit"] == "60"
            assert answer.headers["x-ratelimit-remaining"] == str(left)
        refused = await get(app, key)
        wait = int(refused.headers["retry-after"])
        assert (refused.status, refused.body) == (429, limited(wait))
        assert refused.headers["ratelimit"] == f'"free";r=0;t={wait}'
        assert 0 < wait <= 61
        full_at = int(refused.headers["x-ratelimit-reset"]) - auth.clock.time_ns() // 1_000_000_000
        assert wait - 1 <= full_at <= 121
        assert (await get(app, await new_key(auth, "another"))).status == 200
        if place == "memory":
            wall.advance(us=wait * 1_000_000)
            assert (await get(app, key)).status == 200


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_requests_may_cost_more_than_one(strategy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    StandingWall(monkeypatch)
    async with VCAuth(settings_of("memory://", limiter_strategy=strategy, cost=7)) as auth:
        app, key = APIKeyMiddleware(App(), auth), await new_key(auth)
        assert [(await get(app, key)).status for _ in range(10)] == [200] * 8 + [429] * 2
        assert (await get(app, key)).headers["x-ratelimit-remaining"] == "4"


def test_a_cost_above_a_window_is_a_mistake_in_the_settings() -> None:
    sentence = "cost: 61 tokens can never pass plan 'free', whose window is 60; raise the window or lower the cost"
    with pytest.raises(SettingsError, match=sentence):
        VCAuth(settings_of("memory://", cost=61))


# -- away, and back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_while_the_storage_is_away_this_process_limits_by_itself(
    strategy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "vc_auth")
    with RedisServer() as server:
        settings = settings_of(server.url, limiter_strategy=strategy, limiter_share=0.5)
        async with VCAuth(settings) as auth:
            app, spent, fresh = APIKeyMiddleware(App(), auth), await new_key(auth), await new_key(auth)
            for _ in range(60):
                assert (await get(app, spent)).status == 200
            server.kill()
            assert {(await get(app, spent)).status for _ in range(5)} == {429}  # nothing is given away
            statuses = [(await get(app, fresh)).status for _ in range(40)]
            assert statuses.count(200) in range(30, 36)
            assert (await get(app, fresh)).headers["ratelimit-policy"] == '"free";q=60;w=60'
            server.start()
            await until(lambda: limiter_of(auth).trouble is None)
            answer = await get(app, fresh)
            assert answer.status == 200
            assert int(answer.headers["x-ratelimit-remaining"]) in range(59 - 30, 59 - 10)  # it was told
    away, back = caplog.messages
    assert away.startswith(f"limiter unreachable (limits+{server.url} does not answer: ")
    assert away.endswith("; this process limits by itself at 1/2 of each plan until it is back")
    assert back.startswith("limiter is back after ")


@pytest.mark.parametrize(("mode", "status", "body"), [("closed", 503, UNAVAILABLE), ("open", 200, b"ok")])
async def test_while_the_storage_is_away_the_settings_may_say_otherwise(mode: Any, status: int, body: bytes) -> None:
    with RedisServer() as server:
        async with VCAuth(settings_of(server.url, on_limiter_error=mode)) as auth:
            app, key = APIKeyMiddleware(App(), auth), await new_key(auth)
            assert (await get(app, key)).status == 200
            server.kill()
            for _ in range(100):
                answer = await get(app, key)
                assert (answer.status, answer.body) == (status, body)
            server.start()
            await until(lambda: limiter_of(auth).trouble is None)
            answer = await get(app, key)
            assert (answer.status, answer.headers["x-ratelimit-remaining"]) == (200, "59")


async def test_a_storage_that_is_away_does_not_stop_the_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "vc_auth")
    async with VCAuth(settings_of(f"redis://:secret@127.0.0.1:{free_port()}")) as auth:
        assert limiter_of(auth).trouble is not None
        assert (await get(APIKeyMiddleware(App(), auth), await new_key(auth))).status == 200
    assert len(caplog.messages) == 1
    assert "limiter unreachable (limits+redis://:***@127.0.0.1:" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("user", ["", ":wrong-secret@", "nobody:wrong-secret@"])
async def test_whoever_is_not_let_in_does_not_start(user: str, caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer() as server:
        server.command("CONFIG", "SET", "requirepass", "right-secret")
        where = f"127.0.0.1:{server.port}"
        with pytest.raises(LimiterError, match=r"does not let us in: .*; check the user and the password") as caught:
            async with VCAuth(settings_of(f"redis://{user}{where}")):
                pass
        assert "wrong-secret" not in f"{caught.value!r} {caplog.text}"
        async with VCAuth(settings_of(f"redis://:right-secret@{where}")) as auth:
            app = APIKeyMiddleware(App(), auth)
            assert (await get(app, await new_key(auth))).headers["x-ratelimit-remaining"] == "59"
            assert limiter_of(auth).trouble is None
