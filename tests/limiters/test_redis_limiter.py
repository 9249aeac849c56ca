"""The limiter on Redis: the contract on each kind of server, and what it keeps there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis
from redis_limiters import make_limiter, opened
from redis_servers import TEST_URL, Cluster, RedisServer, Sentinels

from vc_auth.limiters import Limiter
from vc_auth.testing import LimiterContract, TurnableClock


class OnRedis(LimiterContract):
    url: str

    @asynccontextmanager
    async def open_limiter(self, clock: TurnableClock) -> AsyncIterator[Limiter]:
        async with opened(make_limiter(self.url, clock=clock)) as limiter:
            yield limiter


class TestOnOneServer(OnRedis):
    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        self.url = TEST_URL or redis_server.url
        with redis.Redis.from_url(self.url) as client:
            client.flushdb()


class TestOverASocket(OnRedis):
    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer) -> None:
        redis_server.command("FLUSHALL")
        self.url = f"unix://{redis_server.socket}"


class TestOnACluster(OnRedis):
    @pytest.fixture(autouse=True)
    def _server(self, redis_cluster: Cluster) -> None:
        redis_cluster.flush()
        self.url = redis_cluster.url


class TestBehindSentinels(OnRedis):
    @pytest.fixture(autouse=True)
    def _server(self, redis_sentinels: Sentinels) -> None:
        redis_sentinels.flush()
        self.url = redis_sentinels.url
