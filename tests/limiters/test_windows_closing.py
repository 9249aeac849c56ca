"""A client under a storage of `limits` belongs to one event loop, and is closed with it."""

import asyncio
import gc
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from redis_servers import Cluster, RedisServer, Sentinels
from window_keepers import PATIENT, SIX, STRATEGIES, Watching, clients, keeper_of, until

from vc_auth.errors import LimiterError
from vc_auth.limiters.windows import WindowKeeper


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_server_is_left_without_connections(redis_server: RedisServer, strategy: str) -> None:
    for url in (redis_server.url, f"redis+unix://{redis_server.socket}"):
        async with keeper_of(f"limits+{url}", strategy) as keeper:
            await asyncio.gather(*(keeper.hit("a server's", SIX) for _ in range(20)))
            assert clients(redis_server) > 0
        await until(lambda: clients(redis_server) == 0)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_cluster_keeps_windows_and_is_left_without_connections(redis_cluster: Cluster, strategy: str) -> None:
    redis_cluster.flush()
    names = [f"a cluster's {number}" for number in range(20)]
    await until(lambda: not any(map(clients, redis_cluster.nodes)))
    async with keeper_of(f"limits+{redis_cluster.url}", strategy) as keeper:
        for left in (4, 2, 0):
            decisions = await asyncio.gather(*(keeper.hit(name, SIX, 2) for name in names))
            assert {decision.remaining for decision in decisions} == {left}
        assert not (await keeper.hit(names[0], SIX)).allowed
    await until(lambda: not any(map(clients, redis_cluster.nodes)))


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_the_master_that_sentinels_name_keeps_windows_and_is_left_without_connections(
    redis_sentinels: Sentinels, strategy: str
) -> None:
    redis_sentinels.flush()
    servers = [redis_sentinels.master, redis_sentinels.replica, *redis_sentinels.sentinels]
    await until(lambda: not any(map(clients, servers)))
    async with keeper_of(f"limits+{redis_sentinels.url}", strategy) as keeper:
        for left in (4, 2, 0):
            assert (await keeper.hit("family", SIX, 2)).remaining == left
        assert not (await keeper.hit("family", SIX)).allowed
        assert clients(redis_sentinels.replica) == 0  # which lags behind
    await until(lambda: not any(map(clients, servers)))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_another_event_loop_has_connections_of_its_own(redis_server: RedisServer, strategy: str) -> None:
    redis_server.command("FLUSHALL")
    keeper = WindowKeeper(f"limits+{redis_server.url}", strategy, PATIENT)

    async def hit() -> int:
        await keeper.bind(Watching())
        return (await keeper.hit("family", SIX)).remaining

    assert [asyncio.run(hit()) for _ in range(3)] == [5, 4, 3]
    gc.collect()  # what was not closed would warn
    asyncio.run(until(lambda: clients(redis_server) == 0))


def test_memory_is_swept_no_more_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    async def hit() -> None:
        async with keeper_of("limits+memory://", "moving-window") as keeper:
            await keeper.hit("family", SIX)
            await asyncio.sleep(0)  # it is being swept

    monkeypatch.setattr(asyncio, "to_thread", never)
    loop = asyncio.new_event_loop()  # and nobody cancels its tasks
    loop.run_until_complete(hit())
    assert asyncio.all_tasks(loop) == set()
    loop.close()


async def test_a_client_of_mongodb_is_closed_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Client:
        def __init__(self, uri: str, **options: Any) -> None:
            assert uri == "mongodb://h:1"
            assert options == dict.fromkeys(("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS"), 1_000)

        def close(self) -> None:
            closed.append(threading.current_thread())

    pretend(monkeypatch, "motor")
    pretend(monkeypatch, "motor.motor_asyncio", AsyncIOMotorClient=Client)
    pretend(monkeypatch, "pymongo")
    pretend(monkeypatch, "pymongo.errors", PyMongoError=OSError)
    async with keeper_of("limits+mongodb://h:1", "moving-window", deadline=0.05):
        closed.clear()  # one was made for its errors
    assert closed[0] is not threading.main_thread()


async def test_a_client_of_memcached_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Client:
        def __init__(self, hosts: list[tuple[str, int]], **options: Any) -> None:
            assert hosts == [("h", 1), ("i", 2)]
            assert options == dict.fromkeys(("connect_timeout", "read_timeout", "blocking_timeout"), 1.0)
            self.connection_pool = SimpleNamespace(close=lambda: closed.append("pool"))

        async def get(self, *keys: bytes) -> dict[bytes, Any]:
            return {key: SimpleNamespace(value=b"2") for key in keys}

    errors = SimpleNamespace(NoAvailableNodes=ValueError, MemcachioConnectionError=OSError)
    pretend(monkeypatch, "memcachio", Client=Client, errors=errors, __version__="0.5")
    async with keeper_of("limits+memcached://h:1,i:2", "fixed-window", deadline=0.05) as keeper:
        assert (await keeper.peek("family", SIX, 4)).allowed
        assert closed == []
    assert closed == ["pool"]
    with pytest.raises(LimiterError, match="'limits\\+memcached://h:1' has no 'moving-window'; choose another"):
        WindowKeeper("limits+memcached://h:1", "moving-window", PATIENT)


def pretend(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)
