"""How many bytes a bucket takes on the server."""

import asyncio
from collections.abc import Iterator

from redis_contenders import Ours
from redis_report import Memory
from redis_server import RedisServer

from vc_auth.limiters.redis.script import name_of
from vc_auth.plans import FREE

KEYS = 100_000
CALLERS = 64


async def measure_memory(redis: RedisServer) -> Memory:
    """Memory of `KEYS` buckets that are in debt, on a server that holds nothing else."""
    buckets = [f"key_{number:016x}" for number in range(KEYS)]
    redis.flush()
    empty = redis.memory()
    await _exhaust(redis.url, buckets)
    used, keys = redis.memory() - empty, redis.number_of_keys()
    if keys != KEYS:
        raise RuntimeError(f"{keys} of {KEYS} buckets are there")
    return Memory(KEYS, used, sum(len(name_of(bucket)) for bucket in buckets))


async def _exhaust(url: str, buckets: list[str]) -> None:
    """All tokens of each are taken at once, so that it stays for longer than it takes to measure."""
    ours = Ours(url)
    waiting: Iterator[str] = iter(buckets)

    async def call() -> None:
        for bucket in waiting:
            decision = await ours.limiter.hit(bucket, FREE.rate, cost=FREE.rate.burst)
            if not decision.allowed:
                raise RuntimeError(f"{bucket} was not new")

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    await ours.aclose()
