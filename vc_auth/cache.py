"""A read-through cache for look-ups that may be slow, fail, hang, or be overtaken by a change.

What it promises, each for a reason:

* *Negative entries live apart*, so guesses evict no customer.
* *Single flight*: requests for one key share one look-up, and at most ``max_loads`` are under way at once. Strangers
  beyond that are turned away; keys that are known wait for their turn.
* *Forgetting reaches flights under way.* A flight that was forgotten may not fill the cache, and whoever waits for it
  looks again. A flight is thus its own generation: what is not in the table of flights any more is of an older one.
* *A flight belongs to nobody*: a waiter that is cancelled takes nobody with it.
* *Stale if error*: what was verified once goes on for a while when the source is away.
* *Distrust*: where a feed tells of changes, its heartbeat has to `trust` what is remembered again and again; without it
  nothing is used that was asked for more than a second ago.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from cachetools import LRUCache

from vc_auth.clock import Clock
from vc_auth.errors import BackendError

logger: Final = logging.getLogger("vc_auth")
PROBE_INTERVAL_NS: Final = 500_000_000
TRUST_NS: Final = 500_000_000  # two heartbeats of a feed
DISTRUSTED_TTL_NS: Final = 1_000_000_000
ALWAYS: Final = 1 << 63

V = TypeVar("V")


class _Entry(Generic[V]):
    __slots__ = ("asked_at", "deadline", "value")

    def __init__(self, value: V, asked_at: int, deadline: int) -> None:
        self.value = value
        self.asked_at = asked_at
        self.deadline = deadline


class _Flight(Generic[V]):
    """One look-up under way. It never raises: a failure without waiters is nobody's to retrieve."""

    __slots__ = ("forgotten", "problem", "task", "value")

    def __init__(self) -> None:
        self.forgotten = False
        self.value: V | None = None
        self.problem: str | None = "the look-up was cancelled"  # until it has an answer
        self.task: asyncio.Task[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """Sizes in entries, times in seconds; the defaults are those of `vc_auth.Settings`, which explains them."""

    clock: Clock = time
    size: int = 10_000
    ttl: float = 60.0
    negative_size: int = 16_384
    negative_ttl: float = 5.0
    timeout: float = 0.5
    stale_if_error: float = 30.0
    max_loads: int = 64


class ReadThroughCache(Generic[V]):
    """An LRU of values with deadlines before ``fetch``, a coroutine function that finds a value or None.

    `find` raises BackendError when the source failed, was slower than the timeout, or has too many look-ups under way.
    """

    def __init__(self, fetch: Callable[[str], Awaitable[V | None]], options: CacheOptions) -> None:
        self._fetch = fetch
        self._now = options.clock.monotonic_ns
        # An LRU like cachetools', but in C alone: theirs takes three Python frames for a hit, and every request is one.
        self._entries: OrderedDict[str, _Entry[V]] = OrderedDict()
        self._size = options.size
        self._unknown: LRUCache[str, int] = LRUCache(options.negative_size)
        self._ttl = round(options.ttl * 1e9)
        self._negative_ttl = round(options.negative_ttl * 1e9)
        self._timeout = options.timeout
        self._stale_if_error = round(options.stale_if_error * 1e9)
        self._max_loads = options.max_loads
        self._flights: dict[str, _Flight[V]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = asyncio.Semaphore(self._max_loads)
        self._failing_since: int | None = None
        self._next_probe = 0
        self._trusted_until = ALWAYS

    def peek(self, key: str) -> V | None:
        """The value if it is remembered and fresh. None says nothing: `find` knows more."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = self._now()
        if now >= entry.deadline or (now >= self._trusted_until and now - entry.asked_at >= DISTRUSTED_TTL_NS):
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def find(self, key: str) -> V | None:
        """The value of ``key``, or None if there is none."""
        value = self.peek(key)
        if value is not None:
            return value
        self._bind()
        entry = self._entries.get(key)
        return await (self._find_stranger(key) if entry is None else self._find_again(key, entry))

    def forget(self, key: str) -> None:
        """Ask the source at the next look-up, and keep look-ups that are under way from answering anything."""
        self._entries.pop(key, None)
        self._unknown.pop(key, None)
        if (flight := self._flights.pop(key, None)) is not None:
            flight.forgotten = True

    def forget_where(self, is_meant: Callable[[V], bool]) -> None:
        """Forget every value of which ``is_meant`` is true. What a flight will bring is not known, so all are meant."""
        for key in [key for key, entry in self._entries.items() if is_meant(entry.value)]:
            del self._entries[key]
        for key in list(self._flights):
            self.forget(key)

    def forget_all(self) -> None:
        """Forget everything, known and unknown."""
        self._unknown.clear()
        self.forget_where(lambda _: True)

    def trust(self) -> None:
        """What is remembered was in step with the source just now: use it for the next half second."""
        self._trusted_until = self._now() + TRUST_NS

    def distrust(self) -> None:
        """From now on, somebody has to `trust`."""
        self._trusted_until = 0

    async def aclose(self) -> None:
        """End the look-ups that are under way, and forget everything. It may be used again afterwards."""
        ours = list(self._tasks) if self._loop is asyncio.get_running_loop() else []
        self._loop = None
        for task in ours:
            task.cancel()
        self.forget_all()
        await asyncio.gather(*ours, return_exceptions=True)

    # -- behind a miss -------------------------------------------------------------------------------------------------

    async def _find_stranger(self, key: str) -> V | None:
        deadline = self._unknown.get(key)
        if deadline is not None and self._now() < deadline:
            return None
        if key not in self._flights and len(self._tasks) >= self._max_loads:
            raise BackendError(f"{self._max_loads} look-ups are under way already")
        return await self._load(key)

    async def _find_again(self, key: str, entry: _Entry[V]) -> V | None:
        if self._failing_since is None:
            try:
                return await self._load(key)
            except BackendError:
                if self._entries.get(key) is not entry:
                    raise  # forgotten while we asked: it may not be used any more
        if not self._may_use_stale():
            return await self._load(key)
        if self._now() >= self._next_probe:
            self._next_probe = self._now() + PROBE_INTERVAL_NS
            self._launch(key)
        return entry.value

    def _may_use_stale(self) -> bool:
        return self._failing_since is not None and self._now() - self._failing_since < self._stale_if_error

    async def _load(self, key: str) -> V | None:
        while True:
            flight = self._launch(key)
            await asyncio.wait((flight.task,))  # leaves the task alone when the waiter is cancelled
            if flight.forgotten:
                continue
            if flight.problem is not None:
                raise BackendError(flight.problem)
            return flight.value

    def _launch(self, key: str) -> _Flight[V]:
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            flight.task = asyncio.get_running_loop().create_task(self._fly(key, flight))
            self._tasks.add(flight.task)
            flight.task.add_done_callback(self._tasks.discard)
        return flight

    async def _fly(self, key: str, flight: _Flight[V]) -> None:
        try:
            async with asyncio.timeout(self._timeout), self._turns:
                asked_at = self._now()
                flight.value = await self._fetch(key)
        except Exception as error:  # noqa: BLE001  # whatever a store raises, it did not answer
            flight.problem = self._failed(error)
        else:
            flight.problem = None
            self._answered()
            if not flight.forgotten:
                self._remember(key, flight.value, asked_at)
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]

    def _remember(self, key: str, value: V | None, asked_at: int) -> None:
        if value is None:
            self._entries.pop(key, None)
            self._unknown[key] = asked_at + self._negative_ttl
        else:
            self._unknown.pop(key, None)
            self._entries[key] = _Entry(value, asked_at, asked_at + self._ttl)
            self._entries.move_to_end(key)
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)

    # -- the source is away, and back ----------------------------------------------------------------------------------

    def _failed(self, error: Exception) -> str:
        problem = f"no answer within {self._timeout} s" if isinstance(error, TimeoutError) else repr(error)[:200]
        if self._failing_since is None:
            self._failing_since = self._now()
            self._next_probe = self._failing_since + PROBE_INTERVAL_NS
            logger.warning("key store unreachable (%s); verified keys go on, others are answered 503", problem)
        return problem

    def _answered(self) -> None:
        if self._failing_since is not None:
            self._failing_since = None
            logger.warning("key store reachable again")

    def _bind(self) -> None:
        """Take leave of what belonged to another event loop: nobody will ever finish it there."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._flights.clear()
            self._tasks.clear()
            self._turns = asyncio.Semaphore(self._max_loads)
            self._work_in(loop)

    def _work_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start what has to run on every event loop that this is used in."""
