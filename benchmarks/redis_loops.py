"""Ways to ask a limiter: callers that wait for their answers, and arrivals that wait for nobody."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from redis_contenders import Check

MOST: Final = 256  # checks in flight in an open loop; the others wait for their turn, and their wait counts


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one turn."""

    checks: int
    """Those that were made."""
    refused: int
    seconds: float
    cpu: float
    """Seconds that this process was busy."""
    latencies: Sequence[int]
    """Nanoseconds; in an open loop also of arrivals that were given up, who had waited so long by then."""


async def closed_loop(check: Check, buckets: Iterator[str], callers: int, seconds: float) -> Ran:
    """So many callers, each with one check after the other."""
    clock, latencies, refused = time.perf_counter_ns, list[int](), 0

    async def call(end: int) -> None:
        nonlocal refused
        while (began := clock()) < end:
            if not await check(next(buckets)):
                refused += 1
            latencies.append(clock() - began)

    began, busy = clock(), time.process_time()
    end = began + round(seconds * 1e9)
    await asyncio.gather(*(call(end) for _ in range(callers)))
    return Ran(len(latencies), refused, (clock() - began) / 1e9, time.process_time() - busy, latencies)


async def open_loop(check: Check, buckets: Iterator[str], a_second: int, seconds: float, cap: float) -> Ran:
    """Checks that arrive when they arrive, whether or not those before them are done, as those of strangers do.

    A latency counts from the arrival that was scheduled, so a limiter that falls behind is not asked any slower for
    it (Tene: coordinated omission). What has not begun after ``cap`` seconds is given up.
    """
    clock, queue, latencies = time.perf_counter_ns, asyncio.Queue[int | None](), list[int]()
    made = refused = 0
    began, busy = clock(), time.process_time()
    give_up = began + round(cap * 1e9)

    async def serve() -> None:
        nonlocal made, refused
        while (arrived := await queue.get()) is not None:
            if clock() < give_up:
                if not await check(next(buckets)):
                    refused += 1
                made += 1
            latencies.append(clock() - arrived)

    async def arrive() -> None:
        for arrival in _arrivals(a_second, seconds):
            while clock() < began + arrival:  # noqa: ASYNC110  # timers know only milliseconds
                await asyncio.sleep(0)
            queue.put_nowait(began + arrival)
        for _ in range(MOST):
            queue.put_nowait(None)

    await asyncio.gather(arrive(), *(serve() for _ in range(MOST)))
    return Ran(made, refused, (clock() - began) / 1e9, time.process_time() - busy, latencies)


def _arrivals(a_second: int, seconds: float) -> list[int]:
    """Nanoseconds from the beginning, at random and always the same: a Poisson process."""
    chance, at, arrivals = random.Random(3), 0.0, list[int]()
    while (at := at + chance.expovariate(a_second)) < seconds:
        arrivals.append(round(at * 1e9))
    return arrivals
