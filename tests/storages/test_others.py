"""Windows on a Valkey, whose protocol is that of Redis; and on a MongoDB, of which only the client is here."""

import asyncio
import logging
import threading
from typing import Any

import pytest
from redis_servers import RedisServer, free_port
from support import App, get, new_key
from window_keepers import SIX, STRATEGIES, clients, keeper_of, until

from vc_auth import APIKeyMiddleware, Settings, VCAuth
from vc_auth.errors import LimiterError
from vc_auth.limiters.remote import Lost


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_valkey_keeps_windows_and_is_left_without_connections(strategy: str) -> None:
    with RedisServer() as server:
        async with keeper_of(f"limits+{server.url.replace('redis', 'valkey')}", strategy) as keeper:
            assert [(await keeper.hit("family", SIX, 2)).remaining for _ in range(3)] == [4, 2, 0]
            refused = await keeper.hit("family", SIX)
            assert (refused.allowed, refused.remaining) == (False, 0)
            await asyncio.gather(*(keeper.hit(f"family {number}", SIX) for number in range(100)))
            server.kill()
            with pytest.raises(Lost, match="does not answer"):
                await keeper.hit("family", SIX)
            server.start()
            assert (await keeper.hit("family", SIX)).remaining == 5
        await until(lambda: clients(server) == 0)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_mongodb_that_is_away_does_not_stop_the_start(strategy: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "vc_auth")
    before = set(threading.enumerate())
    url = f"limits+mongodb://bob:secret@127.0.0.1:{free_port()}"
    async with VCAuth(Settings(store="memory://", limiter=url, limiter_strategy=strategy)) as auth:
        app, key = APIKeyMiddleware(App(), auth), await new_key(auth)
        assert [(await get(app, key)).status for _ in range(61)] == [200] * 60 + [429]
    (away,) = caplog.messages
    assert away.startswith("limiter unreachable (")
    assert "limits+mongodb://bob:***@127.0.0.1:" in away
    assert "secret" not in caplog.text
    await until(lambda: not any("pymongo" in thread.name for thread in set(threading.enumerate()) - before))


async def test_a_mongodb_that_is_away_is_given_up_after_a_second() -> None:
    async with keeper_of(f"limits+mongodb://127.0.0.1:{free_port()}", "moving-window", deadline=0.05) as keeper:
        with pytest.raises(Lost, match=r"does not answer: .*, Timeout: 1\.0s"):
            await keeper.check()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # `limits` stumbles over its own __del__
def test_a_mongodb_url_that_cannot_be_is_refused_at_once_with_a_sentence() -> None:
    sentence = r"'limits\+mongodb://h:http' cannot be used: .*; write it as `limits` does"
    with pytest.raises(LimiterError, match=sentence):
        VCAuth(Settings(store="memory://", limiter="limits+mongodb://h:http"))
