"""The connections to one Redis, and how many checks may be on them."""

from typing import Any

from vc_auth.limiters.lifetimes import OfTheLoop
from vc_auth.limiters.redis.flights import Seats
from vc_auth.limiters.redis.link import Link, check, connect
from vc_auth.urls import RedisURL


class Connections:
    """Connections of the running event loop to what a URL names; several keepers may share them."""

    def __init__(self, url: RedisURL, patience: float) -> None:
        self._url = url
        self._patience = patience
        self._link = OfTheLoop(self._connect, _close)
        self.seats = Seats()
        self._users = 0

    async def bind(self) -> None:
        """Begin on the running event loop, if they are not there yet. It is counted, for each loop anew."""
        await self._link.bind()
        self._users += 1

    async def ask(self, *words: Any) -> Any:
        """See `vc_auth.limiters.redis.link.Link`."""
        return await self._link.thing.ask(*words)

    async def check(self) -> None:
        """Raises LimiterError for a server that somebody has to mend, any other BackendError for what may pass."""
        await check(self._link.thing, self._url)

    async def aclose(self) -> None:
        """Close them when all who bound have: others may have to hand back. Whoever binds again gets new ones."""
        self._users -= 1
        if self._users == 0:
            await self._link.aclose()

    def _connect(self) -> Link:
        self._users = 0
        self.seats = Seats()  # what another loop had in the air never lands
        return connect(self._url, self._patience)


async def _close(link: Link) -> None:
    await link.aclose()
