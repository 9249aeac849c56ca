"""Redis fails, for real, while requests are checked: each is decided in time, and it is exact again soon after."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from proxy import Proxy
from redis_limiters import Told, make_limiter, opened
from redis_servers import Cluster, RedisServer, Sentinels
from support import SCALE

from vc_auth.limiters import Limiter
from vc_auth.limiters.redis import ClusterLimiter
from vc_auth.limiters.redis.flights import SEATS
from vc_auth.limiters.redis.keeper import BucketKeeper
from vc_auth.limiters.redis.script import name_of
from vc_auth.limiters.resilient import ResilientLimiter
from vc_auth.rates import Decision, Rate

DEADLINE = 0.05
SLOW = 0.5  # seconds for a decision on a machine that has other things to do; without a deadline they would take many
FAULT = max(1.0, min(10.0, SCALE))  # seconds; ten of them in a long run
PATIENCE = 30.0
WIDE = Rate("1/minute", 1_000_000)  # nobody waits for a token of it, and nobody runs out
NARROW = Rate("1/day", 50)


@dataclass
class Load:
    """Callers that ask without end, one bucket each in turn."""

    limiter: Limiter
    admitted: dict[str, int] = field(default_factory=dict)
    slowest: float = 0.0
    decisions: int = 0

    async def ask(self, bucket: str) -> None:
        begin = time.perf_counter()
        decision = await self.limiter.hit(bucket, WIDE)
        self.slowest = max(self.slowest, time.perf_counter() - begin)
        self.decisions += 1
        self.admitted[bucket] = self.admitted.get(bucket, 0) + decision.allowed

    async def _call(self, bucket: str) -> None:
        while True:
            await self.ask(bucket)
            await asyncio.sleep(0.001)

    @asynccontextmanager
    async def going_on(self, callers: int = 40) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._call(f"bucket {number % 20}")) for number in range(callers)]
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until_back(limiter: ResilientLimiter | ClusterLimiter) -> float:
    """Seconds until the server decides again."""
    begin = time.perf_counter()
    while limiter.trouble is not None:
        assert time.perf_counter() - begin < PATIENCE
        await asyncio.sleep(0.01)
    return time.perf_counter() - begin


@dataclass
class Place:
    """A Redis behind a proxy, and a limiter on it."""

    server: RedisServer
    proxy: Proxy
    limiter: ResilientLimiter
    told: Told

    async def until_back(self) -> float:
        """Seconds until the server decides again, and has back what it is owed."""
        begin = time.perf_counter()
        await until_back(self.limiter)
        await asyncio.gather(*self.limiter._tasks.values())
        return time.perf_counter() - begin

    def scripts_run(self) -> int:
        """How often the server ran our script so far."""
        return int(self.server.command("INFO", "commandstats")["cmdstat_evalsha"]["calls"])

    async def spent(self, bucket: str) -> int:
        """How many tokens the server has seen."""
        async with opened(make_limiter(self.server.url)) as another:
            return WIDE.burst - (await another.peek(bucket, WIDE)).remaining - 1  # which a hit would take


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    told = Told()
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        proxy = await stack.enter_async_context(Proxy(server.port))
        limiter = make_limiter(f"redis://127.0.0.1:{proxy.port}", deadline=DEADLINE, metrics=told)
        assert isinstance(limiter, ResilientLimiter)
        await stack.enter_async_context(opened(limiter))
        yield Place(server, proxy, limiter, told)


def freeze(place: Place) -> None:
    place.server.freeze()


def thaw(place: Place) -> None:
    place.server.thaw()


def kill(place: Place) -> None:
    place.server.kill()


def restart(place: Place) -> None:
    place.server.start()


def drop_replies(place: Place) -> None:
    place.proxy.drops_replies = True


def deliver_replies(place: Place) -> None:
    place.proxy.drops_replies = False


def cut_replies(place: Place) -> None:
    place.proxy.cuts_replies = True


def leave_replies_whole(place: Place) -> None:
    place.proxy.cuts_replies = False


def fill_the_memory(place: Place) -> None:
    place.server.command("CONFIG", "SET", "maxmemory", "1")


def empty_the_memory(place: Place) -> None:
    place.server.command("CONFIG", "SET", "maxmemory", "0")


def make_it_a_replica(place: Place) -> None:
    place.server.command("REPLICAOF", "127.0.0.1", "1")


def make_it_a_master(place: Place) -> None:
    place.server.command("REPLICAOF", "NO", "ONE")


FAULTS = [
    (freeze, thaw),
    (kill, restart),
    (drop_replies, deliver_replies),
    (cut_replies, leave_replies_whole),
    (fill_the_memory, empty_the_memory),
    (make_it_a_replica, make_it_a_master),
]


@pytest.mark.parametrize(("begin", "end"), FAULTS, ids=lambda step: step.__name__)
async def test_every_check_is_decided_in_time_and_soon_it_is_exact_again(
    place: Place, begin: Callable[[Place], None], end: Callable[[Place], None], caplog: pytest.LogCaptureFixture
) -> None:
    load = Load(place.limiter)
    async with load.going_on():
        await asyncio.sleep(0.3)
        assert place.told.changes == []
        begin(place)
        await asyncio.sleep(FAULT)
        assert len(place.told.changes) == 1
        end(place)
        assert await place.until_back() < 2
        await asyncio.sleep(0.2)
    assert load.slowest < DEADLINE + SLOW
    await place.until_back()
    assert len(place.told.changes) == 2
    assert place.told.changes[1] == "reachable"
    assert [record.levelname for record in caplog.records if record.name == "vc_auth"] == ["WARNING", "WARNING"]
    if begin is not kill:  # which loses what the server knew
        spent = sum([await place.spent(bucket) for bucket in load.admitted])
        assert abs(spent - sum(load.admitted.values())) <= SEATS
    await assert_exact(place)


async def assert_exact(place: Place) -> None:
    """Two clients share one bucket to the last token."""
    async with opened(make_limiter(place.server.url)) as another:
        decisions = [await limiter.hit("fresh", NARROW) for _ in range(30) for limiter in (place.limiter, another)]
    assert [decision.remaining for decision in decisions] == [*reversed(range(50)), *[0] * 10]
    assert sum(decision.allowed for decision in decisions) == 50


@pytest.mark.parametrize(
    ("begin", "end"),
    [(drop_replies, deliver_replies), (cut_replies, leave_replies_whole), (freeze, thaw)],
    ids=lambda step: step.__name__,
)
async def test_no_more_than_one_flight_of_checks_is_charged_in_both_places(
    place: Place, begin: Callable[[Place], None], end: Callable[[Place], None]
) -> None:
    """However many ask at once: what the server took unheard is at most what was in the air together."""
    await place.limiter.hit("crowd", WIDE)
    begin(place)
    decisions = await asyncio.gather(*(place.limiter.hit("crowd", WIDE) for _ in range(3_000)))
    assert all(decision.allowed for decision in decisions)
    await asyncio.gather(*(task for name, task in place.limiter._tasks.items() if name != "probe"))
    place.server.thaw()
    assert 1 <= await place.spent("crowd") <= 1 + SEATS
    end(place)
    await place.until_back()
    await assert_exact(place)  # there are seats again


async def test_nobody_waits_any_longer_for_what_was_lost_once_the_server_is_back(place: Place) -> None:
    assert isinstance(place.limiter._remote, BucketKeeper)
    drop_replies(place)
    async with Load(place.limiter).going_on():
        while place.limiter.trouble is None:  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.01)
    assert place.limiter._remote._flights._overdue
    deliver_replies(place)
    await place.until_back()
    assert not place.limiter._remote._flights._overdue


async def test_a_server_that_was_restarted_while_nobody_asked_costs_one_check_and_no_outage(place: Place) -> None:
    place.proxy.round_trip = 0.03
    tasks = []
    for _ in range(8):  # each in a flight, and over a connection, of its own
        tasks.append(asyncio.create_task(place.limiter.hit("one", WIDE)))
        await asyncio.sleep(0.003)
    await asyncio.gather(*tasks)
    place.proxy.round_trip = 0
    place.server.kill()
    place.server.start()
    await asyncio.sleep(0.05)
    for _ in range(10):
        assert (await place.limiter.hit("one", WIDE)).allowed
    assert place.told.changes == []
    assert await place.spent("one") >= 9


async def test_a_server_that_was_never_there_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer() as server:
        server.kill()
        told = Told()
        async with opened(make_limiter(server.url, deadline=DEADLINE, metrics=told)) as limiter:
            assert isinstance(limiter, ResilientLimiter)
            begin = time.perf_counter()
            decisions = [await limiter.hit("one", NARROW) for _ in range(60)]
            assert time.perf_counter() - begin < SLOW
            assert sum(decision.allowed for decision in decisions) == 50
            assert "Connect call failed" in str(told.changes)
            assert "limits by itself at 1 of each plan" in caplog.text
            server.start()
            await until_back(limiter)
            await asyncio.gather(*limiter._tasks.values())
            assert not (await limiter.hit("one", NARROW)).allowed  # all of it was handed back
            assert (await limiter.peek("one", Rate("1/day", 60))).remaining == 9


async def test_a_server_that_is_30_ms_away_stays_in_use(place: Place) -> None:
    place.proxy.round_trip = 0.03
    load = Load(place.limiter)
    async with load.going_on():
        await asyncio.sleep(2)
    spent = sum([await place.spent(bucket) for bucket in load.admitted])
    assert spent > 0.9 * load.decisions  # a busy machine may add 20 ms now and then
    assert load.decisions > 500


async def test_a_server_is_waited_for_as_long_as_a_check_may_take(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vc_auth.limiters.clients.ANSWERING", DEADLINE)
    async with opened(make_limiter(redis_server.url)) as limiter:
        redis_server.freeze()
        asyncio.get_running_loop().call_later(4 * DEADLINE, redis_server.thaw)
        assert (await limiter.hit("is waited for", NARROW)).remaining == 49
        assert limiter.trouble is None
        async with opened(make_limiter(redis_server.url)) as another:
            assert (await another.peek("is waited for", NARROW)).remaining == 48


async def test_a_server_that_is_slower_than_a_check_may_be_is_not_asked_until_it_is_quick(place: Place) -> None:
    place.proxy.round_trip = 4 * DEADLINE
    for _ in range(5):
        assert (await place.limiter.hit("one", NARROW)).allowed
    await asyncio.sleep(0.5)  # the checks that were lost are there by now
    scripts = place.scripts_run()
    async with asyncio.timeout(PATIENCE):
        while place.scripts_run() < scripts + 3:  # noqa: ASYNC110  # two of one probe, of which the second is late
            await asyncio.sleep(0.02)
    assert len(place.told.changes) == 1
    place.proxy.round_trip = 0
    assert await place.until_back() < 2
    await assert_exact(place)


async def test_what_is_owed_to_something_that_is_no_bucket_any_more_is_forgotten(place: Place) -> None:
    place.server.kill()
    for _ in range(5):
        assert (await place.limiter.hit("odd", NARROW)).allowed
    place.server.start()
    place.server.command("LPUSH", name_of("odd"), "somebody else's")
    await place.until_back()
    assert place.server.command("LRANGE", name_of("odd"), 0, -1) == ["somebody else's"]
    await assert_exact(place)


async def test_a_server_that_forgets_the_script_is_told_it_again(place: Place) -> None:
    decisions: list[Decision] = []

    async def ask() -> None:
        for _ in range(20):
            decisions.append(await place.limiter.hit("one", NARROW))
            await asyncio.sleep(0.001)

    tasks = [asyncio.create_task(ask()) for _ in range(10)]
    for _ in range(10):
        place.server.command("SCRIPT", "FLUSH")
        await asyncio.sleep(0.01)
    await asyncio.gather(*tasks)
    assert sum(decision.allowed for decision in decisions) == 50
    assert place.told.changes == []


async def test_no_reply_is_given_to_another_request_whoever_is_called_off(place: Place) -> None:
    """Each bucket has a number of tokens of its own, so a reply that strays is seen."""
    for number in range(40):
        for _ in range(number):
            assert (await place.limiter.hit(f"bucket {number}", WIDE)).allowed
    wrong, right = [], 0

    async def look(number: int) -> None:
        nonlocal right
        decision = await place.limiter.peek(f"bucket {number}", WIDE)
        if decision.remaining != WIDE.burst - number - 1:
            wrong.append((number, decision))
        right += 1

    async def cut_now_and_then() -> None:
        while True:
            place.proxy.cuts_replies = not place.proxy.cuts_replies
            place.proxy.round_trip = 0.003
            await asyncio.sleep(0.02)

    cutting = asyncio.create_task(cut_now_and_then())
    for _ in range(max(20, round(100 * SCALE))):
        tasks = [asyncio.create_task(look(number % 40)) for number in range(200)]
        await asyncio.sleep(0.004)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    cutting.cancel()
    assert wrong == []
    assert right > 1_000


async def test_a_failover_is_followed() -> None:
    told = Told()
    with Sentinels(down_after=0.5) as sentinels:
        async with opened(make_limiter(sentinels.url, deadline=DEADLINE, metrics=told)) as limiter:
            assert isinstance(limiter, ResilientLimiter)
            load = Load(limiter)
            async with load.going_on():
                await asyncio.sleep(0.3)
                sentinels.master.kill()
                await asyncio.to_thread(sentinels.until_promoted)
                promoted = time.perf_counter()
                await until_back(limiter)
                took = time.perf_counter() - promoted
            assert load.slowest < DEADLINE + SLOW
            assert told.changes[-1] == "reachable"
            assert took < 2
            await asyncio.gather(*limiter._tasks.values())
            async with opened(make_limiter(sentinels.replica.url)) as another:
                both = [await each.hit("fresh", NARROW) for _ in range(30) for each in (limiter, another)]
            assert sum(decision.allowed for decision in both) == 50


async def test_of_a_cluster_only_what_a_lost_server_kept_is_limited_locally(redis_cluster: Cluster) -> None:
    told = Told()
    async with opened(make_limiter(redis_cluster.url, deadline=DEADLINE, metrics=told)) as limiter:
        assert isinstance(limiter, ClusterLimiter)
        load = Load(limiter)
        async with load.going_on():
            await asyncio.sleep(0.3)
            redis_cluster.nodes[1].freeze()
            await asyncio.sleep(0.7)
            troubled = [each.trouble is not None for each in limiter._by_tag]
            redis_cluster.nodes[1].thaw()
            assert await until_back(limiter) < 2
        assert load.slowest < DEADLINE + SLOW
        assert 0 < sum(troubled) < 20  # of the tags that 20 buckets have
        assert [change == "reachable" for change in told.changes] == [False, True]
