"""The script itself: what one call does to many buckets."""

import asyncio
from collections.abc import AsyncIterator
from struct import unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis_limiters import PATIENT
from redis_servers import RedisServer

from vc_auth.limiters.redis.connections import Connections
from vc_auth.limiters.redis.script import NO_BUCKET, Check, debts, name_of, scratch, tag_of
from vc_auth.limiters.remote import Unasked
from vc_auth.rates import SECOND
from vc_auth.urls import parse_redis

NOW = 1_795_291_200 * SECOND


@pytest.fixture
async def connections(redis_server: RedisServer) -> AsyncIterator[Connections]:
    redis_server.command("FLUSHALL")
    connections = Connections(parse_redis(redis_server.url), PATIENT)
    await connections.bind()
    yield connections
    await connections.aclose()


def take(tokens: int, *, bucket: str = "one", burst: int = 10) -> Check:
    return (name_of(bucket), SECOND, burst * SECOND, tokens * SECOND)


async def test_a_bucket_that_comes_several_times_in_one_script_is_spent_in_order(connections: Connections) -> None:
    checks = [take(4), take(4), take(4), take(2), take(1)]
    assert await debts(connections.ask, checks, NOW) == [0, 4 * SECOND, 8 * SECOND, 8 * SECOND, 10 * SECOND]


async def test_what_is_handed_back_is_taken_as_far_as_the_bucket_holds_it(connections: Connections) -> None:
    checks = [take(4), take(-3), take(0), take(-30), take(0), take(1)]
    assert await debts(connections.ask, checks, NOW) == [each * SECOND for each in (0, 4, 7, 7, 10, 10)]


async def test_connections_stay_open_for_those_who_have_not_closed_them_yet(connections: Connections) -> None:
    await connections.bind()
    await connections.aclose()
    assert await connections.ask("PING") == b"PONG"
    await connections.aclose()
    with pytest.raises(Unasked):
        await connections.ask("PING")
    await connections.bind()


async def test_looking_leaves_no_trace(connections: Connections, redis_server: RedisServer) -> None:
    assert await debts(connections.ask, [take(0), take(0, bucket="another")], NOW) == [0, 0]
    assert redis_server.command("DBSIZE") == 0


async def test_the_servers_own_time_is_exact_to_the_microsecond(connections: Connections) -> None:
    seconds, us = await connections.ask("TIME")
    before = int(seconds) * SECOND + int(us)
    assert await debts(connections.ask, [take(5)]) == [0]
    (debt,) = await debts(connections.ask, [take(0)])
    state = await connections.ask("GET", name_of("one"))
    seconds, us = await connections.ask("TIME")
    after = int(seconds) * SECOND + int(us)
    tat, emission = unpack("<dd", state)
    assert before < tat - 5 * SECOND < after
    assert tat - 5 * SECOND < tat - debt < after
    assert emission == SECOND


async def test_numbers_are_exact_as_far_as_a_rate_may_be_slow(connections: Connections) -> None:
    century = 100 * 366 * 86_400 * SECOND
    check: Check = (name_of("slow"), century - 1, century - 1, century - 1)
    for late in (0, 1, 123_456_789):
        debt = await debts(connections.ask, [check], NOW + late)
        assert debt == [0 if late == 0 else century - 1 - late]


async def test_one_that_is_no_bucket_harms_no_other(connections: Connections, redis_server: RedisServer) -> None:
    redis_server.command("LPUSH", name_of("odd"), "a")
    checks = [take(1), take(1, bucket="odd"), take(-1, bucket="odd"), take(1)]
    assert await debts(connections.ask, checks, NOW) == [0, NO_BUCKET, NO_BUCKET, SECOND]


async def test_the_scratch_check_writes_and_is_gone_at_once(
    connections: Connections, redis_server: RedisServer
) -> None:
    assert await debts(connections.ask, [scratch(7)]) == [0]
    await asyncio.sleep(0.01)
    assert redis_server.command("EXISTS", "vc1:{s07}") == 0


@given(st.text(min_size=1, max_size=40))
def test_a_name_says_its_version_and_its_tag(bucket: str) -> None:
    assert name_of(bucket) == f"vc1:{{s{tag_of(bucket):02d}}}:{bucket}"
    assert 0 <= tag_of(bucket) < 64
