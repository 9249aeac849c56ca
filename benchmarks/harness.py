"""Times contenders side by side: in turns, in small batches, many rounds, medians."""

import asyncio
import gc
import random
import statistics
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final

BATCH: Final = 1_000  # repetitions; a few milliseconds, so that a noisy neighbour hits all contenders alike

Batch = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to be timed: ``batch`` does it `BATCH` times, ``floor`` does what of it is not its own cost."""

    name: str
    batch: Batch
    floor: Batch
    turns: int = 1
    """How often in a round: what adds little drowns in noise unless it is looked at more often."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What many rounds said, in nanoseconds."""

    median: float
    p10: float
    p90: float


@dataclass(frozen=True, slots=True)
class Timing:
    """One repetition, its floor, and the difference of the two when they were timed one after the other."""

    whole: Spread
    floor: Spread
    added: Spread


@dataclass(frozen=True, slots=True)
class _Turn:
    yardstick: float
    floor: float
    whole: float


class Bench:
    """Times the contenders in turns; every round shuffles them anew, the same way in every run.

    A shared machine changes its speed by the second. So every turn times the same ``yardstick`` as well, and is scaled
    by what that took to what it takes in the median.
    """

    def __init__(self, contenders: Sequence[Contender], yardstick: Batch) -> None:
        self._order = [contender for contender in contenders for _ in range(contender.turns)]
        self._turns: dict[str, list[_Turn]] = {contender.name: [] for contender in contenders}
        self._yardstick = yardstick
        self._chance = random.Random(1)

    async def warm_up(self) -> None:
        """A round that does not count: it fills caches, and Python specialises its bytecode."""
        await self.round()
        self._turns = {name: [] for name in self._turns}

    async def round(self) -> None:
        """Everybody has a turn."""
        self._chance.shuffle(self._order)
        for contender in self._order:
            await _settle()
            await contender.floor()  # a server's request is fresh in the processor's caches, so these are, too
            turn = _Turn(await _time(self._yardstick), await _time(contender.floor), await _time(contender.batch))
            self._turns[contender.name].append(turn)

    def timings(self) -> dict[str, Timing]:
        """What all rounds said."""
        usual = statistics.median(turn.yardstick for turns in self._turns.values() for turn in turns)
        return {name: _timing(turns, usual) for name, turns in self._turns.items()}


def _timing(turns: Sequence[_Turn], usual: float) -> Timing:
    return Timing(
        whole=_spread([turn.whole * usual / turn.yardstick for turn in turns]),
        floor=_spread([turn.floor * usual / turn.yardstick for turn in turns]),
        added=_spread([(turn.whole - turn.floor) * usual / turn.yardstick for turn in turns]),
    )


async def _time(batch: Batch) -> float:
    gc.disable()
    started = perf_counter_ns()
    await batch()
    elapsed = perf_counter_ns() - started
    gc.enable()
    return elapsed / BATCH


async def _settle() -> None:
    """Let what the last contender left behind end on nobody's time: garbage, tasks, timer threads."""
    gc.collect()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    while threading.active_count() > 1:  # noqa: ASYNC110  # a thread's end sets no event
        await asyncio.sleep(0.001)


def _spread(values: Sequence[float]) -> Spread:
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return Spread(statistics.median(values), tenths[0], tenths[-1])


def show_progress(number: int, rounds: int) -> None:
    """Say on stderr how far it is: one line that counts on a terminal, a line every tenth in a log."""
    line = f"round {number} of {rounds}"
    if sys.stderr.isatty():
        print(f"\r{line}", end="\n" if number == rounds else "", file=sys.stderr, flush=True)
    elif number % max(1, rounds // 10) == 0:
        print(line, file=sys.stderr, flush=True)
