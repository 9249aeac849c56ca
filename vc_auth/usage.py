"""Counts now, writes later: how often each key was used, without a request ever waiting for it.

Counts are added up in memory, and written behind in batches under ``(worker, seq)``, which a store adds once however
often it is told. So a batch whose outcome is unknown is kept as it is, and sent again before any newer one: nothing is
lost, and nothing is counted twice. A process that is killed takes with it what it counted since its last write, which
is one interval's.
"""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from vc_auth.clock import Clock, from_us
from vc_auth.forks import tell_of_forks
from vc_auth.records import KeyRecord, UsageBatch, UsageCount

logger: Final = logging.getLogger("vc_auth")

ADMITTED: Final = 0
LIMITED: Final = 1
FORBIDDEN: Final = 2
_LAST_USED: Final = 3

CAPACITY: Final = 100_000  # keys and hours: what is kept while it cannot be written
BATCH: Final = 5_000  # keys and hours: others may wait for their turn to write
FAREWELL: Final = 10.0  # seconds for the last writes
RETRY_AFTER: Final = 0.25  # seconds, between two of these
_SECOND: Final = 1_000_000_000
_HOUR: Final = 3_600 * _SECOND


class UsageCounter:
    """Counts requests of known keys, and hands the sums to ``write`` every ``interval`` seconds.

    ``write`` adds a `UsageBatch` once, and raises when it cannot say that it did. What cannot be written is kept and
    tried again. At most ``capacity`` keys and hours are kept: what comes on top is not counted, and the log says so.
    """

    def __init__(
        self,
        write: Callable[[UsageBatch], Awaitable[None]],
        *,
        interval: float = 1.0,
        clock: Clock = time,
        capacity: int = CAPACITY,
    ) -> None:
        self._write = write
        self._interval = interval
        self._time_ns = clock.time_ns
        self._capacity = capacity
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn_to_write = asyncio.Lock()
        self._flusher: asyncio.Task[None] | None = None
        self._failing = False
        self.after_fork()
        tell_of_forks(self)

    def after_fork(self) -> None:
        """Begin with no counts, and under a name that nobody else has. See `vc_auth.forks.Forks`."""
        self._hours: dict[int, dict[str, list[int]]] = {}  # hour -> key id -> admitted, limited, forbidden, last used
        self._projects: dict[str, str] = {}  # key id -> project id
        self._batches: deque[UsageBatch] = deque()  # the first of them may have been written
        self._kept = 0
        self._is_full = False
        self._worker, self._seq = secrets.token_hex(8), 0
        self._counts: dict[str, list[int]] = {}  # of the present hour
        self._since = self._until = 0  # when to look again which hour that is, and whether somebody writes

    def count(self, record: KeyRecord, outcome: int) -> None:
        """Count one request: ADMITTED, LIMITED or FORBIDDEN. It waits for nothing, and never fails."""
        now = self._time_ns()
        if not self._since <= now < self._until:
            self._look_up(now)
        counts = self._counts.get(record.id)
        if counts is None:
            counts = self._begin(record)
        counts[outcome] += 1
        if now > counts[_LAST_USED]:  # the clock may have stepped back
            counts[_LAST_USED] = now

    async def flush(self) -> None:
        """Write everything that was counted so far. What ``write`` raises is raised, and all is kept for the next time.

        A flush that is cancelled leaves its batch in doubt; that one is sent again, unchanged and first.
        """
        self._bind()
        async with self._turn_to_write:
            await self._write_batches()
            self._batches.extend(self._take())
            await self._write_batches()

    async def aclose(self) -> None:
        """Write what is left, and end the task that writes. If that fails for 10 s, the log says what is missing."""
        self._bind()
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.gather(self._flusher, return_exceptions=True)
            self._flusher = None
        try:
            async with asyncio.timeout(FAREWELL):
                while True:
                    if await self._try_to_flush():
                        return
                    await asyncio.sleep(RETRY_AFTER)
        except TimeoutError:
            logger.error("usage of %d keys and hours was not written before the end", self._kept)  # noqa: TRY400  # no news

    # -- counting ------------------------------------------------------------------------------------------------------

    def _look_up(self, now: int) -> None:
        hour = now // _HOUR
        self._counts = self._hours.setdefault(hour, {})
        self._since = hour * _HOUR
        self._until = min(self._since + _HOUR, now + _SECOND)
        self._bind()
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.get_running_loop().create_task(self._flush_for_ever())

    def _begin(self, record: KeyRecord) -> list[int]:
        counts = [0, 0, 0, 0]
        if self._kept < self._capacity:
            self._kept += 1
            self._counts[record.id] = counts
            self._projects[record.id] = record.project.id
        elif not self._is_full:
            self._is_full = True
            logger.error("usage of %d keys and hours waits to be written; no others are counted", self._kept)
        return counts

    # -- writing -------------------------------------------------------------------------------------------------------

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self._try_to_flush()

    async def _try_to_flush(self) -> bool:
        try:
            await self.flush()
        except Exception as error:  # noqa: BLE001  # whatever a store raises, it could not say
            if not self._failing:
                logger.warning("usage cannot be written (%r); it is kept and tried again", error)
            self._failing = True
            return False
        if self._failing:
            logger.warning("usage is written again")
        self._failing = False
        return True

    async def _write_batches(self) -> None:
        while self._batches:
            batch = self._batches[0]
            await self._write(batch)
            self._batches.popleft()
            self._kept -= len(batch.counts)
            self._is_full = False

    def _take(self) -> list[UsageBatch]:
        """All that was counted, as batches; from now on it is counted afresh."""
        counts = [self._count_of(key, hour, sums) for hour, keys in self._hours.items() for key, sums in keys.items()]
        self._hours, self._projects, self._until = {}, {}, 0
        parts = [tuple(counts[begin : begin + BATCH]) for begin in range(0, len(counts), BATCH)]
        self._seq += len(parts)
        return [UsageBatch(self._worker, seq, part) for seq, part in enumerate(parts, self._seq - len(parts) + 1)]

    def _count_of(self, key_id: str, hour: int, sums: list[int]) -> UsageCount:
        admitted, limited, forbidden, last_used = sums
        begin, last = from_us(hour * _HOUR // 1_000), from_us(last_used // 1_000)
        return UsageCount(key_id, self._projects[key_id], begin, admitted, limited, forbidden, last)

    def _bind(self) -> None:
        """Take leave of another event loop: what was to be done there will never be."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._turn_to_write = asyncio.Lock()
            self._flusher = None
