"""What contenders are put through, each for itself."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Final

from redis_contenders import GENEROUS, STINGY, Contender, tokens_taken
from redis_load import Server
from redis_loops import Ran, closed_loop, open_loop
from redis_report import A_SECOND, CALLERS, OPEN, REFUSALS, SERVED, Account, title

FAMILIES: Final = [f"key_{number:016x}" for number in random.Random(1).sample(range(2**62), 1_000)]
ABUSED: Final = [f"abused_{number}" for number in range(4)]
ABUSERS: Final = 64  # callers who go on although they are refused

Run = Callable[[float], Awaitable[Ran]]
"""One turn, for about so many seconds."""


@dataclass(frozen=True, slots=True)
class Situation:
    """The same for all contenders."""

    title: str
    seconds: float
    """How long a turn is."""
    runs: dict[str, Run]


class Asked:
    """The limiters themselves. Keeps account of what each was asked."""

    def __init__(self, contenders: Sequence[Contender]) -> None:
        self._contenders = contenders
        self._generous = {contender.name: contender.check(GENEROUS) for contender in contenders}
        self._stingy = {contender.name: contender.check(STINGY) for contender in contenders}
        self._buckets = cycle(random.Random(2).choices(FAMILIES, k=100_000))
        self._abused = cycle(ABUSED)
        self._checks: Counter[str] = Counter()

    def situations(self) -> list[Situation]:
        """All of them."""
        return [
            *[self._situation(title(callers), 0.4, partial(self._call, callers)) for callers in CALLERS],
            self._situation(OPEN, 1.5, self._arrive),
            self._situation(REFUSALS, 0.3, self._abuse),
        ]

    async def exhaust(self) -> None:
        """Take all tokens of the buckets that are to be abused."""
        for check in self._stingy.values():
            for bucket in ABUSED * STINGY.burst:
                await check(bucket)

    async def accounts(self) -> dict[str, Account]:
        """What each was asked, and what the server knows of it."""
        return {
            contender.name: Account(self._checks[contender.name], await tokens_taken(contender, FAMILIES))
            for contender in self._contenders
        }

    def _situation(self, title: str, seconds: float, run: Callable[[str, float], Awaitable[Ran]]) -> Situation:
        return Situation(title, seconds, {name: partial(run, name) for name in self._generous})

    async def _call(self, callers: int, name: str, seconds: float) -> Ran:
        ran = await closed_loop(self._generous[name], self._buckets, callers, seconds)
        return self._counted(name, ran)

    async def _arrive(self, name: str, seconds: float) -> Ran:
        ran = await open_loop(self._generous[name], self._buckets, A_SECOND, seconds, cap=2 * seconds)
        return self._counted(name, ran)

    async def _abuse(self, name: str, seconds: float) -> Ran:
        ran = await closed_loop(self._stingy[name], self._abused, ABUSERS, seconds)
        if ran.refused != ran.checks:
            raise RuntimeError(f"{name} admitted {ran.checks - ran.refused} checks of exhausted buckets")
        return ran

    def _counted(self, name: str, ran: Ran) -> Ran:
        self._checks[name] += ran.checks
        if ran.refused:
            raise RuntimeError(f"{name} refused {ran.refused} checks of buckets that hold enough")
        return ran


def served(servers: Sequence[Server]) -> Situation:
    """The servers, each under load."""
    return Situation(SERVED, 1.0, {server.name: server.load for server in servers})
