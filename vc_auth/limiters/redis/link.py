"""The way to a Redis: connections of one event loop, over which one command at a time is asked, once."""

import asyncio
import re
from typing import Any, Final, Protocol

from hiredis import pack_command
from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from vc_auth.errors import LimiterError
from vc_auth.limiters.clients import close_client
from vc_auth.limiters.redis.script import TAGS
from vc_auth.limiters.remote import Lost, Unasked
from vc_auth.urls import RedisURL

OLDEST: Final = (6, 2)
MOST: Final = 8  # flights at once to one server, each with a connection of its own
MOST_IN_A_CLUSTER: Final = 4  # for each of the 64 tags
ROOM: Final = 3  # times as many connections: those of lost flights wait for a late reply beside those that are asked


class Link(Protocol):
    """What the flights need of a Redis."""

    async def ask(self, *words: Any) -> Any:
        """The reply to one command, which is sent once at most.

        Raises Unasked or LimiterError if it was not carried out, NoScriptError if the server has not its script (which
        is the same), and Lost if nobody knows.
        """

    async def warm(self) -> None:
        """Connect as often as may be needed, for far from a server that takes longer than a check may."""

    async def aclose(self) -> None:
        """Close all connections."""


class PoolLink:
    """A single server, or the master that sentinels name.

    Keeps the connections that it got from redis-py's pool, whose care for each of them takes as long as a round trip.
    When one fails, all that wait beside it go with it, for they are as old.
    """

    def __init__(self, pool: ConnectionPool, url: RedisURL, patience: float, sentinel: Sentinel | None = None) -> None:
        self._pool = pool
        self._url = url
        self._patience = patience
        self._sentinel = sentinel
        self._idle: list[AbstractConnection] = []
        self._kept = 0

    async def ask(self, *words: Any) -> Any:
        """See `Link`."""
        sent = False
        try:
            async with asyncio.timeout(self._patience):
                connection = await self._get_connection()
                sent = True
                reply = await self._exchange(connection, pack_command(words))
        except (RedisError, OSError) as error:
            raise _meaning(error, self._url, sent=sent) from error
        if isinstance(reply, Exception):
            raise _meaning(reply, self._url, sent=True) from reply
        return reply

    async def _get_connection(self) -> AbstractConnection:
        if self._idle:
            return self._idle.pop()
        connection: AbstractConnection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        self._kept += 1
        return connection

    async def _exchange(self, connection: AbstractConnection, command: bytes) -> Any:
        """The reply, also where that is an error. What is raised says nothing of the command."""
        try:
            await connection.send_packed_command([command], check_health=False)
            reply = await connection.read_response()
        except ResponseError as error:
            reply = error
        except BaseException:
            given_up = [connection, *self._idle]
            self._idle.clear()  # before anything is awaited: nobody may take one of them meanwhile
            self._kept -= len(given_up)
            for each in given_up:
                await each.disconnect(nowait=True)
                await self._pool.release(each)
            raise
        self._idle.append(connection)
        return reply

    async def warm(self) -> None:
        """See `Link`."""
        made = (self._pool.get_connection() for _ in range(MOST - self._kept))  # type: ignore[no-untyped-call]
        for connection in await asyncio.gather(*made, return_exceptions=True):
            if isinstance(connection, AbstractConnection):
                self._kept += 1
                self._idle.append(connection)

    async def aclose(self) -> None:
        """See `Link`."""
        self._idle.clear()
        await self._pool.aclose()
        for sentinel in self._sentinel.sentinels if self._sentinel is not None else ():
            await sentinel.aclose()


class ClusterLink:
    """A cluster, which finds the server of each key by its tag."""

    def __init__(self, cluster: RedisCluster, url: RedisURL, patience: float) -> None:
        self._cluster = cluster
        self._url = url
        self._patience = patience

    async def ask(self, *words: Any) -> Any:
        """See `Link`."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._cluster.execute_command(*words)
        except RedisClusterException as error:  # no node, so far, could be asked for its slots
            raise _meaning(error, self._url, sent=False) from error
        except (RedisError, OSError) as error:
            raise _meaning(error, self._url, sent=True) from error

    async def warm(self) -> None:
        """See `Link`; redis-py does as it likes."""

    async def aclose(self) -> None:
        """See `Link`."""
        await close_client(self._cluster)


def _meaning(error: Exception, url: RedisURL, *, sent: bool) -> Exception:
    """What an error of redis-py says of the command: see `Link.ask`."""
    if isinstance(error, NoScriptError):
        return error
    words = str(error) or type(error).__name__
    if isinstance(error, (AuthenticationError, AuthorizationError, NoPermissionError)):
        return LimiterError(f"Redis at {url} does not let us in: {words}; check the user and the password in the URL")
    if "Cluster mode is not enabled" in words:
        return LimiterError(f"Redis at {url} is no cluster; use 'redis://'")
    if isinstance(error, (ResponseError, BusyLoadingError)):
        return Unasked(f"Redis at {url} refuses: {words}")
    return Lost(f"no reply from Redis at {url}: {words}") if sent else Unasked(f"Redis at {url} is away: {words}")


async def check(link: Link, url: RedisURL) -> None:
    """Raises LimiterError for a server that somebody has to mend, any other BackendError for what may pass."""
    info = await link.ask("INFO", "server")
    if isinstance(info, bytes):  # a cluster's client has parsed it
        info = dict(line.split(":", 1) for line in info.decode("utf-8", "replace").splitlines() if ":" in line)
    version, clustered = str(info.get("redis_version", "0")), info.get("redis_mode") == "cluster"
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise LimiterError(f"Redis at {url} is version {version}; it has to be 6.2 or newer")
    if clustered and url.kind != "cluster":
        raise LimiterError(f"Redis at {url} is part of a cluster; use 'redis+cluster://'")
    await link.warm()


def connect(url: RedisURL, patience: float) -> Link:
    """The way to what the URL names, for the running event loop. Nothing is sent yet.

    ``patience`` is after how many seconds a connection that says nothing is given up, or is not to be had.
    """
    transport: dict[str, Any] = {
        "protocol": 2,
        "driver_info": None,  # nobody needs to know, and it takes two round trips
        # A script that spends must never be sent again by anybody but us, so redis-py may not repeat a thing.
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,  # it would cost a task for each command; `ask` has one for all
        "socket_connect_timeout": patience,
    }
    options = dict(url.options)
    guards = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    if url.tls:
        transport |= {"ssl": True, **options}
        if "ssl_check_hostname" in options:
            transport["ssl_check_hostname"] = options["ssl_check_hostname"].lower() not in ("false", "0", "no")
    common = {"username": url.username, "password": url.password, **transport}
    if url.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in url.nodes]
        most = TAGS * MOST_IN_A_CLUSTER * ROOM
        return ClusterLink(RedisCluster(startup_nodes=nodes, max_connections=most, **common), url, patience)
    common |= {"db": url.db, "max_connections": MOST * ROOM + 2}  # one more to probe with, and one to hand back with
    if url.kind == "sentinel":
        sentinel = Sentinel(url.nodes, sentinel_kwargs={**guards, **transport}, **common)  # type: ignore[no-untyped-call]
        return PoolLink(sentinel.master_for(url.service).connection_pool, url, patience, sentinel)
    if url.kind == "unix":
        return PoolLink(Redis(unix_socket_path=url.path, **common).connection_pool, url, patience)
    ((host, port),) = url.nodes
    return PoolLink(Redis(host=host, port=port, **common).connection_pool, url, patience)
