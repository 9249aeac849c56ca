"""Windows of `limits`, as the tests open them, and their time, turned by hand."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import ClassVar, Final

import pytest
from hypothesis import strategies as st
from limits.aio.storage import Storage
from redis_servers import RedisServer

from vc_auth.errors import BackendError
from vc_auth.limiters.windows import WindowKeeper
from vc_auth.rates import SECOND, Decision, Rate

STRATEGIES: Final = ("fixed-window", "moving-window", "sliding-window-counter")
PATIENT: Final = 30.0  # seconds for a check, where slowness is not what is tested
SIX: Final = Rate("6/minute", 6)


class Watching:
    """Writes down what a keeper says of its storage."""

    def __init__(self) -> None:
        self.answers = 0
        self.errors: list[BackendError] = []

    def answered(self) -> None:
        self.answers += 1

    def failed(self, error: BackendError, since: float, *, hopeless: bool = False) -> None:
        self.errors.append(error)


@asynccontextmanager
async def keeper_of(
    url: str, strategy: str, *, deadline: float = PATIENT, watching: Watching | None = None
) -> AsyncIterator[WindowKeeper]:
    """A keeper on the running event loop."""
    async with aclosing(WindowKeeper(url, strategy, deadline)) as keeper:
        await keeper.bind(watching if watching is not None else Watching())
        yield keeper


class StandingWall:
    """`time.time`, which is what `limits` reads, stands still until it is turned."""

    exact_us: Final = 2_000
    """A storage admits no sooner than a decision says, and not later by more than this."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._now = 1_800_000_000.0  # a sliding window begins with it
        patch.setattr(time, "time", lambda: self._now)

    def advance(self, *, us: int) -> None:
        self._now += us / SECOND


class RunningRedis:
    """A Redis, whose own time is in what its keys still have to live: that much less, and so much later it is."""

    def __init__(self, server: RedisServer, strategy: str, patch: pytest.MonkeyPatch) -> None:
        server.command("FLUSHALL")
        self._server = server
        self._wall = StandingWall(patch)
        self.exact_us = (1_500 if strategy == "fixed-window" else 500) * 1_000  # it runs while the test does

    def advance(self, *, us: int) -> None:
        self._wall.advance(us=us)
        for key in self._server.command("KEYS", "*"):
            self._server.command("PEXPIRE", key, self._server.command("PTTL", key) - us // 1_000)


Wall = StandingWall | RunningRedis
Step = tuple[str, int]
"""What is done; and its cost, or the sevenths of a second that pass."""
STEPS: Final = st.tuples(st.sampled_from(["hit", "until one more", "until all"]), st.integers(1, 6)) | st.tuples(
    st.just("pause"), st.integers(0, 300)
)


async def tell(url: str, strategy: str, wall: Wall, steps: list[Step]) -> None:
    """Each time that a decision names is waited for, up to shortly before and then to the end."""
    exact_us = wall.exact_us
    async with keeper_of(url, strategy) as keeper:
        for what, number in steps:
            if what == "pause":
                wall.advance(us=number * SECOND // 7)
                continue
            said = await keeper.hit("family", SIX, number)
            if not said.allowed:
                if is_exact(url, strategy, said, number) and said.retry_after_us > exact_us:
                    wall.advance(us=said.retry_after_us - exact_us)
                    assert not (await keeper.hit("family", SIX, number)).allowed
                    wall.advance(us=exact_us)
                else:
                    wall.advance(us=said.retry_after_us)
                assert (await keeper.hit("family", SIX, number)).allowed
            elif what == "until one more":
                if said.refill_after_us > exact_us:
                    wall.advance(us=said.refill_after_us - exact_us)
                    assert (await keeper.peek("family", SIX)).remaining == max(said.remaining - 1, 0)
                    wall.advance(us=exact_us)
                else:
                    wall.advance(us=said.refill_after_us)
                assert await left(keeper) > said.remaining
            elif what == "until all":
                wall.advance(us=said.reset_after_us)
                assert await left(keeper) == 6


def is_exact(url: str, strategy: str, refused: Decision, cost: int) -> bool:
    return strategy != "moving-window" or cost == refused.remaining + 1 or "redis" in url


async def left(keeper: WindowKeeper) -> int:
    peek = await keeper.peek("family", SIX)
    return peek.remaining + peek.allowed


# -- a storage that does what a test wants -----------------------------------------------------------------------------


Told = Callable[[], Awaitable[int]]


class Sick(Storage):
    """A storage of somebody's own, for fixed windows alone. What it does is up to the test."""

    STORAGE_SCHEME = ["async+sick"]  # noqa: RUF012  # as `limits` has it
    told: ClassVar[Told]

    @classmethod
    def says(cls, told: Told, patch: pytest.MonkeyPatch) -> None:
        """From now on, to whatever it is asked."""
        patch.setattr(cls, "told", staticmethod(told), raising=False)

    @property
    def base_exceptions(self) -> type[Exception]:
        return Exception

    async def get(self, key: str) -> int:
        return await type(self).told()

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return await type(self).told()

    async def get_expiry(self, key: str) -> float:
        return time.time() - 1  # it does not know

    async def check(self) -> bool:
        raise AssertionError

    async def reset(self) -> int | None:
        raise AssertionError

    async def clear(self, key: str) -> None:
        raise AssertionError


def raising(error: Exception) -> Told:
    async def told() -> int:
        raise error

    return told


async def never() -> int:
    await asyncio.Event().wait()
    return 0


# -- how the tests look at servers ------------------------------------------------------------------------------------


def clients(server: RedisServer) -> int:
    """How many are connected, but for who asks, and for servers among themselves."""
    lines = server.command("CLIENT", "LIST").splitlines()
    return sum(re.search(" name= .* flags=[NU] ", line) is not None for line in lines) - 1


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENT):
        while not is_true():  # noqa: ASYNC110  # it waits for another process
            await asyncio.sleep(0.005)
