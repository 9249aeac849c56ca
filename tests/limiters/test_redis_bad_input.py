"""What an operator can get wrong with a Redis, and what he is told; no password is ever shown."""

import asyncio
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from math import inf, nan
from struct import pack, unpack

import pytest
import trustme
from proxy import Proxy
from redis_limiters import DAILY, PATIENT, make_limiter, opened
from redis_servers import Cluster, RedisServer, Sentinels
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from support import App, get, limited, new_key

from vc_auth import FREE, APIKeyMiddleware, Plan, Settings, VCAuth
from vc_auth.errors import LimiterError
from vc_auth.limiters.redis.link import ClusterLink, connect
from vc_auth.limiters.redis.script import name_of
from vc_auth.limiters.resilient import ResilientLimiter
from vc_auth.rates import SECOND, Rate
from vc_auth.testing import TurnableClock
from vc_auth.urls import parse_redis

PASSWORD = "s3cret/p%wd"
QUOTED = "s3cret%2Fp%25wd"


@pytest.fixture(scope="module")
def locked_server() -> Iterator[RedisServer]:
    with RedisServer("--requirepass", PASSWORD) as server:
        yield server


def patient(url: str) -> Settings:
    """With a plan that is as exact on a machine that has other things to do."""
    plan = Plan("free", rate=DAILY.limit, burst=DAILY.burst)
    return Settings(store="memory://", limiter=url, limiter_timeout=PATIENT, plans=(plan,))


async def start(url: str) -> None:
    async with VCAuth(Settings(store="memory://", limiter=url)):
        pass


# -- the way in --------------------------------------------------------------------------------------------------------


async def test_the_right_password_opens(locked_server: RedisServer) -> None:
    for user in ("", "default"):
        async with opened(make_limiter(f"redis://{user}:{QUOTED}@127.0.0.1:{locked_server.port}/0")) as limiter:
            assert (await limiter.hit(f"bucket of {user}", DAILY)).remaining == 99


@pytest.mark.parametrize("credentials", ["", ":wr0ng@", "ann:wr0ng@"])
async def test_a_wrong_password_stops_the_start_with_a_sentence(locked_server: RedisServer, credentials: str) -> None:
    url = f"redis://{credentials}127.0.0.1:{locked_server.port}"
    with pytest.raises(LimiterError, match=r"does not let us in.*check the user and the password in the URL") as caught:
        await start(url)
    assert "wr0ng" not in str(caught.value)


async def test_a_user_who_may_not_run_scripts_stops_the_start(redis_server: RedisServer) -> None:
    redis_server.command("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+info", "+get")
    with pytest.raises(LimiterError, match="no permissions"):
        await start(f"redis://reader:x@127.0.0.1:{redis_server.port}")


def test_the_settings_show_no_password() -> None:
    for url in (
        f"redis://:{QUOTED}@h",
        f"redis+sentinel://h/m?sentinel_password={QUOTED}",
        f"limits+redis://a:{QUOTED}@h",
    ):
        settings = Settings(limiter=url)
        assert QUOTED not in repr(settings)
        assert PASSWORD not in repr(settings)
        assert "***" in repr(settings)
    assert "limiter='memory://'" in repr(Settings())


async def test_a_redis_older_than_6_2_stops_the_start(redis_server: RedisServer) -> None:
    async with Proxy(redis_server.port) as proxy:
        proxy.edit = lambda reply: re.sub(rb"redis_version:\d\.\d", b"redis_version:6.0", reply)
        with pytest.raises(LimiterError, match=r"version 6\.0\.\d+; it has to be 6\.2 or newer"):
            await start(f"redis://127.0.0.1:{proxy.port}")


async def test_a_server_with_little_room_is_asked_over_the_connections_that_it_has_room_for() -> None:
    with RedisServer("--requirepass", PASSWORD, "--maxclients", "4") as server:
        async with opened(make_limiter(f"redis://:{QUOTED}@127.0.0.1:{server.port}")) as limiter:
            decisions = await asyncio.gather(*(limiter.hit("one", DAILY) for _ in range(101)))
            assert sum(decision.allowed for decision in decisions) == 100
            assert limiter.trouble is None


async def test_what_is_open_stays_open_when_somebody_opens_it_in_vain(redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    async with VCAuth(patient(redis_server.url)) as auth:
        key = await new_key(auth)
        redis_server.command("ACL", "SETUSER", "default", "-info")
        try:
            with pytest.raises(LimiterError):
                await auth.open()
        finally:
            redis_server.command("ACL", "SETUSER", "default", "+@all")
        assert (await get(APIKeyMiddleware(App(), auth), key)).headers["x-ratelimit-remaining"] == "99"


async def test_a_node_of_a_cluster_is_no_server_alone(redis_cluster: Cluster) -> None:
    with pytest.raises(LimiterError, match="is part of a cluster; use 'redis\\+cluster://'"):
        await start(redis_cluster.nodes[0].url)


async def test_a_server_alone_is_no_cluster(redis_server: RedisServer) -> None:
    with pytest.raises(LimiterError, match="is no cluster; use 'redis://'"):
        await start(f"redis+cluster://127.0.0.1:{redis_server.port}")


async def test_sentinels_that_know_no_such_service_do_not_stop_the_start(
    redis_sentinels: Sentinels, caplog: pytest.LogCaptureFixture
) -> None:
    await start(redis_sentinels.url.replace("mymaster", "nobody"))
    assert "No master found for 'nobody'" in caplog.text


async def test_tls_is_spoken_to_whom_the_certificate_names(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with Proxy(redis_server.port, tls=context) as proxy:
        where = f"rediss://127.0.0.1:{proxy.port}"
        async with opened(make_limiter(f"{where}?ssl_ca_certs={file}")) as limiter:
            assert (await limiter.hit("over TLS", DAILY)).remaining == 99
        async with opened(make_limiter(f"{where}?ssl_cert_reqs=none&ssl_check_hostname=false")) as limiter:
            assert (await limiter.hit("over TLS", DAILY)).remaining == 98
        async with aclosing(make_limiter(where)) as limiter:
            await limiter.open()
            assert "certificate verify failed" in str(limiter.trouble)


# -- what stands there -------------------------------------------------------------------------------------------------


async def test_a_key_holds_no_more_than_a_family_and_lives_no_longer_than_its_debt(redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    async with opened(make_limiter(redis_server.url)) as limiter:
        await limiter.hit("family", DAILY, 40)
        await limiter.peek("another", DAILY)
    (name,) = redis_server.command("KEYS", "*:*:*")
    assert name == name_of("family")
    assert 39 * DAILY.emission_us < redis_server.command("PTTL", name) * 1_000 <= 40 * DAILY.emission_us + 1_000
    tat, emission = unpack("<dd", redis_server.command("GET", name, decode=False))
    seconds, us = redis_server.command("TIME")
    assert 39 * DAILY.emission_us < tat - (int(seconds) * SECOND + int(us)) <= 40 * DAILY.emission_us
    assert emission == DAILY.emission_us


async def test_an_active_key_takes_no_more_than_100_bytes_beyond_its_name(redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    bucket, enterprise = f"{7:032x}", Rate("6000/minute", 10_000)
    async with opened(make_limiter(redis_server.url)) as limiter:
        await limiter.hit(bucket, enterprise)
    assert redis_server.command("MEMORY", "USAGE", name_of(bucket)) - len(name_of(bucket)) <= 100


async def test_nothing_of_a_key_or_its_digest_stands_in_redis(redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    async with VCAuth(patient(redis_server.url)) as auth:
        key = await new_key(auth)
        app = APIKeyMiddleware(App(), auth)
        assert [(await get(app, key)).status for _ in range(101)] == [200] * 100 + [429]
        refused = await get(app, key)
        seconds = int(refused.headers["retry-after"])
        assert 86_400 - PATIENT < seconds <= 86_400
        assert refused.body == limited(seconds)
        (record,) = await auth.registry.list_keys("acme")
    names = redis_server.command("KEYS", "*:*:*")
    assert set(names) == {name_of(record.family)}
    everything = [*names, *(redis_server.command("GET", name, decode=False).hex() for name in names)]
    for secret in (key, record.digest):
        assert not any(secret in each or secret.encode().hex() in each for each in everything)


@pytest.mark.parametrize(
    "write",
    [
        *(("SET", text) for text in ("hello", "", "sixteen letters.", "1795291200000000")),
        *(("SET", pack("<dd", *state)) for state in ((0.0, 1.0), (1e15, 0.0), (1e15, -1.0), (1e15, 0.5), (1.5, 1.0))),
        *(("SET", pack("<dd", *state)) for state in ((inf, 1.0), (1e15, inf), (nan, 1.0), (1e15, nan))),
        ("SET", pack("<ddd", 1e15, 1.0, 1.0)),
        ("LPUSH", "a"),
        ("HSET", "a", "b"),
    ],
)
async def test_something_else_under_the_name_of_a_bucket_is_left_alone_and_limited_locally(
    redis_server: RedisServer, write: tuple[str | bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.command("FLUSHALL")
    redis_server.command(write[0], name_of("odd"), *write[1:])
    before = redis_server.command("DUMP", name_of("odd"), decode=False)
    async with opened(make_limiter(redis_server.url)) as limiter:
        decisions = await asyncio.gather(*(limiter.hit(name, DAILY) for _ in range(101) for name in ("odd", "even")))
        odd, even = decisions[::2], decisions[1::2]
        assert sorted(d.remaining for d in odd) == sorted(d.remaining for d in even)
        assert sum(decision.allowed for decision in decisions) == 200
        assert not (await limiter.peek("odd", DAILY)).allowed
        assert limiter.trouble is None
        assert caplog.text.count("is no bucket; delete that key") == 1
        assert redis_server.command("DUMP", name_of("odd"), decode=False) == before
        redis_server.command("DEL", name_of("odd"))
        assert (await limiter.hit("odd", DAILY)).remaining == 99


async def test_a_thousand_plans_are_kept_apart(redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    plans = [Plan(f"plan-{number}", rate=f"{number + 1}/day", burst=number + 1) for number in range(1_000)]
    async with opened(make_limiter(redis_server.url)) as limiter:
        first = await asyncio.gather(*(limiter.hit(plan.name, plan.rate, plan.rate.burst) for plan in plans))
        assert all(decision.allowed for decision in first)
        second = await asyncio.gather(*(limiter.hit(plan.name, plan.rate) for plan in plans[:100]))
        assert not any(decision.allowed for decision in second)
        assert all(
            0 < decision.retry_after_us <= plan.rate.emission_us for decision, plan in zip(second, plans, strict=False)
        )


# -- clocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_server_whose_clock_is_an_hour_off_is_as_exact(redis_server: RedisServer, hours: int) -> None:
    redis_server.command("FLUSHALL")
    ours = TurnableClock()

    def theirs() -> int:
        return 10**10 + hours * 3_600 * SECOND + ours.monotonic_ns() // 1_000

    async with opened(make_limiter(redis_server.url, clock=ours, server_now_us=theirs)) as limiter:
        assert (await limiter.hit("one", FREE.rate, 100)).remaining == 0
        assert (await limiter.hit("one", FREE.rate)).retry_after_us == SECOND
        ours.advance(us=SECOND - 1)
        assert not (await limiter.hit("one", FREE.rate)).allowed
        ours.advance(us=1)
        assert (await limiter.hit("one", FREE.rate)).allowed


async def test_a_step_back_of_the_servers_clock_costs_a_key_one_burst_at_most_and_one_forward_returns_one(
    redis_server: RedisServer,
) -> None:
    redis_server.command("FLUSHALL")
    clock, steps = TurnableClock(), [10**12]

    def now() -> int:
        return steps[0] + clock.monotonic_ns() // 1_000

    async with opened(make_limiter(redis_server.url, clock=clock, server_now_us=now)) as limiter:
        await limiter.hit("one", FREE.rate, 60)
        steps[0] -= 3_600 * SECOND
        refused = await limiter.hit("one", FREE.rate)
        assert (refused.allowed, refused.reset_after_us) == (False, 100 * SECOND)
        clock.advance(seconds=100)
        assert (await limiter.hit("one", FREE.rate, 100)).allowed
        steps[0] += 3_600 * SECOND
        clock.advance(seconds=1)  # what is remembered of the refusal
        assert (await limiter.hit("one", FREE.rate, 100)).allowed
        assert not (await limiter.hit("one", FREE.rate)).allowed


# -- loops and processes -----------------------------------------------------------------------------------------------


def test_every_loop_has_connections_of_its_own_and_leaves_none_open(redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    limiter = make_limiter(redis_server.url)
    for left in (99, 98, 97):
        assert asyncio.run(limiter.hit("one", DAILY)).remaining == left
    assert redis_server.command("CLIENT", "LIST").count("\n") == 1  # whoever asks this


def test_a_test_client_without_a_lifespan_works(redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    auth = VCAuth(patient(redis_server.url))

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(request.user.decision.remaining))

    app = Starlette(routes=[Route("/", hello)], middleware=[Middleware(APIKeyMiddleware, auth=auth)])
    key = asyncio.run(new_key(auth))
    client = TestClient(app, headers={"Authorization": f"Bearer {key}"})
    assert [client.get("/").text for _ in range(3)] == ["99", "98", "97"]


async def test_a_limiter_that_was_closed_opens_when_it_is_used(redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    async with aclosing(make_limiter(redis_server.url)) as limiter:
        assert (await limiter.hit("one", DAILY)).remaining == 99
        await limiter.aclose()
        await limiter.aclose()
        assert (await limiter.hit("one", DAILY)).remaining == 98


async def test_checks_under_way_are_decided_when_it_closes(redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    async with aclosing(make_limiter(redis_server.url)) as limiter:
        await limiter.open()
        tasks = [asyncio.create_task(limiter.hit("one", DAILY)) for _ in range(50)]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(limiter.hit("one", DAILY)) for _ in range(50)]
        await limiter.aclose()
        decisions = await asyncio.gather(*tasks)
    assert all(decision.allowed for decision in decisions)


FORKED = """
import asyncio, os, sys
from redis_limiters import DAILY, make_limiter

limiter = make_limiter(sys.argv[1])
hit = lambda: print(limiter_loop.run_until_complete(limiter.hit("one", DAILY)).remaining, flush=True)
limiter_loop = asyncio.new_event_loop()
hit()
child = os.fork()
if not child:
    limiter_loop = asyncio.new_event_loop()
    hit()
    limiter_loop.run_until_complete(limiter.aclose())
    os._exit(0)
os.waitpid(child, 0)
hit()
limiter_loop.run_until_complete(limiter.aclose())
limiter_loop.close()
"""


def test_a_forked_process_has_connections_of_its_own_and_leaves_its_parents_alone(redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKED, redis_server.url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["99", "98", "97"]


def test_redis_py_sends_nothing_again() -> None:
    async def retries() -> int:
        link = connect(parse_redis("redis+cluster://h"), PATIENT)
        assert isinstance(link, ClusterLink)
        return int(link._cluster.retry.get_retries())

    assert asyncio.run(retries()) == 0


async def test_what_is_owed_at_a_fork_is_handed_back_once() -> None:
    with RedisServer() as server:
        async with opened(make_limiter(server.url)) as limiter:
            assert isinstance(limiter, ResilientLimiter)
            server.kill()
            for _ in range(5):
                await limiter.hit("one", FREE.rate)
            child = os.fork()
            if not child:
                os._exit(len(limiter._local))
            assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222  # it ends at once
            assert len(limiter._local) == 1


async def test_a_server_that_is_away_stops_neither_the_start_nor_the_command_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RedisServer() as server:
        server.kill()
        async with VCAuth(patient(server.url)) as auth:
            key = await new_key(auth)
            app = APIKeyMiddleware(App(), auth)
            assert [(await get(app, key)).status for _ in range(101)] == [200] * 100 + [429]
    assert caplog.text.count("limiter unreachable") == 1
