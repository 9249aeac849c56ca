"""What belongs to one event loop in one process, such as connections: made anew for any other."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

from vc_auth.forks import tell_of_forks
from vc_auth.limiters.remote import Unasked

T = TypeVar("T")

_of_parents: Final[list[Any]] = []


class OfTheLoop(Generic[T]):
    """Makes a thing for the running event loop, and closes it with `aclose`, or else with that loop.

    Whoever ends a loop, as `asyncio.run`, servers and test clients do, first closes the generators that were begun in
    it, and that is when connections can still be closed. A process that was forked leaves its parent's things alone.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._thing: T | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: AsyncGenerator[None, None] | None = None
        tell_of_forks(self)

    @property
    def thing(self) -> T:
        """Raises Unasked if it is closed."""
        if self._thing is None:
            raise Unasked("the limiter is closed")
        return self._thing

    async def bind(self) -> None:
        """Make it for the running loop, unless it is there."""
        loop = asyncio.get_running_loop()
        if self._thing is None or self._loop is not loop:
            self._thing, self._loop = self._make(), loop
            self._closing = self._close_at_the_end(self._thing)
            await anext(self._closing)  # from here on, the loop knows of it

    async def aclose(self) -> None:
        """Close it; `bind` makes another one."""
        closing, loop = self._closing, self._loop
        self._abandon()
        if closing is not None and loop is asyncio.get_running_loop():
            await closing.aclose()

    async def _close_at_the_end(self, thing: T) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self._close(thing)

    def _abandon(self) -> None:
        self._thing = self._loop = self._closing = None

    def after_fork(self) -> None:
        """It is the parent's. Kept, and never touched: to close it here could close it there. See `vc_auth.forks`."""
        _of_parents.append((self._thing, self._loop, self._closing))
        self._abandon()
