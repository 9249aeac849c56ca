"""Whether the Redis that is to keep the buckets does so: asked once, before anything is started."""

import asyncio

from vc_auth.cli.console import shown
from vc_auth.errors import BackendError
from vc_auth.limiters.clients import ANSWERING
from vc_auth.limiters.redis.connections import Connections
from vc_auth.limiters.redis.script import debts, scratch
from vc_auth.masking import masked
from vc_auth.urls import RedisURL, parse_redis


class NoRedis(Exception):
    """The Redis is away, or somebody has to mend it. The message is a sentence for the user."""


def knock(url: str) -> None:
    """Make a check that is nobody's. Raises NoRedis.

    A server would start without its Redis, and limit by itself until that is back; a tour of exact numbers cannot.
    """
    try:
        asyncio.run(_check(parse_redis(url)))
    except BackendError as error:
        raise NoRedis(shown(masked(str(error), url))) from None


async def _check(url: RedisURL) -> None:
    connections = Connections(url, ANSWERING)
    await connections.bind()
    try:
        await connections.check()
        await debts(connections.ask, [scratch(0)])
    finally:
        await connections.aclose()
