"""Exact limits across processes and machines: one Redis, a cluster, or the master that sentinels name."""

from collections.abc import Callable, Sequence
from time import monotonic_ns

from vc_auth.limiters.clients import patience
from vc_auth.limiters.outages import Outages
from vc_auth.limiters.redis.connections import Connections
from vc_auth.limiters.redis.keeper import BucketKeeper
from vc_auth.limiters.redis.link import MOST, MOST_IN_A_CLUSTER
from vc_auth.limiters.redis.script import TAGS, tag_of
from vc_auth.limiters.resilient import PROBES, ResilientLimiter
from vc_auth.rates import Decision, Rate
from vc_auth.urls import parse_redis

__all__ = ["ClusterLimiter", "open_redis_limiter"]


class ClusterLimiter:
    """A limiter for each hash tag: a script may touch the buckets of one tag alone, and its server may fail alone."""

    def __init__(self, by_tag: Sequence[ResilientLimiter]) -> None:
        self._by_tag = by_tag

    @property
    def trouble(self) -> Exception | None:
        """Why some buckets are kept here at present; None if the servers keep them all."""
        return next((limiter.trouble for limiter in self._by_tag if limiter.trouble is not None), None)

    async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        return await self._by_tag[tag_of(bucket)].hit(bucket, rate, cost)

    async def peek(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        return await self._by_tag[tag_of(bucket)].peek(bucket, rate, cost)

    async def open(self) -> None:
        """See `vc_auth.limiters.resilient.ResilientLimiter`; one tag stands for all, the others open when used."""
        await self._by_tag[0].open()

    async def aclose(self) -> None:
        """See `vc_auth.limiters.resilient.ResilientLimiter`."""
        for limiter in self._by_tag:
            await limiter.aclose()


def open_redis_limiter(
    url: str,
    outages: Outages,
    *,
    deadline: float = 0.05,
    now_ns: Callable[[], int] = monotonic_ns,
    probes: tuple[float, float] = PROBES,
    server_now_us: Callable[[], int] | None = None,
) -> ResilientLimiter | ClusterLimiter:
    """The limiter on the Redis that a URL names. It connects when it is opened, or used.

    ``deadline`` is how many seconds a check may take before it is decided without the server, and ``probes`` between
    how many and how many pass before it is tried again while it is away. ``server_now_us`` takes the place of the
    server's clock in tests. Raises `vc_auth.urls.BadURL`.
    """
    address = parse_redis(url)
    connections = Connections(address, patience(deadline))

    def make(tag: int, most: int) -> ResilientLimiter:
        keeper = BucketKeeper(
            connections, deadline=deadline, most=most, now_ns=now_ns, tag=tag, server_now_us=server_now_us
        )
        return ResilientLimiter(keeper, outages, now_ns, probes=probes)

    if address.kind == "cluster":
        return ClusterLimiter([make(tag, MOST_IN_A_CLUSTER) for tag in range(TAGS)])
    return make(0, MOST)
