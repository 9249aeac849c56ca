"""Servers that the tests of limiters share: each process that runs tests starts them once, and empties them."""

from collections.abc import Iterator

import pytest
from redis_servers import Cluster, RedisServer, Sentinels


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis_sentinels() -> Iterator[Sentinels]:
    with Sentinels() as sentinels:
        yield sentinels
