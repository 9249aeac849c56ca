"""A limiter on a server that may fail: decides in time, whatever the server does."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from vc_auth.errors import BackendError, LimiterError
from vc_auth.forks import tell_of_forks
from vc_auth.limiters.base import check_cost
from vc_auth.limiters.local import LocalBuckets
from vc_auth.limiters.outages import Outages
from vc_auth.limiters.remote import Foreign, Lost, Remote, Unreachable
from vc_auth.rates import Decision, Rate, token_bucket

FEW: Final = 3  # round trips in a row that fail before the server is no longer asked
PROBES: Final = (0.25, 0.5)  # seconds between two probes, at random, so that many processes do not knock together
AT_ONCE: Final = 512  # buckets that are handed back in one round trip


class ResilientLimiter:
    """A `vc_auth.limiters.Limiter` that asks a remote one, and decides by itself while that does not answer.

    A circuit breaker: after a few failures in a row the remote is no longer asked but by a probe, twice or more a
    second. Meanwhile ``outages.mode`` says what happens: ``"local"``: this process limits by itself at its share of
    each rate, from its share of what was last known to remain; ``"closed"``: Unreachable is raised; ``"open"``:
    everything passes. When a probe succeeds, what was charged here while the server was not asked is handed back to it,
    and it decides again.
    """

    def __init__(
        self, remote: Remote, outages: Outages, now_ns: Callable[[], int], *, probes: tuple[float, float] = PROBES
    ) -> None:
        self._remote = remote
        self._probes = probes
        self._outages = outages
        self._local = LocalBuckets(outages.share, now_ns, remote.last_debt)
        # Those that the server cannot keep, so nothing is handed back.
        self._apart = LocalBuckets(outages.share, now_ns, remote.last_debt)
        self._failures = 0
        self._failed_at = 0.0
        self._trouble: BackendError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn_to_charge = asyncio.Lock()
        tell_of_forks(self)

    @property
    def trouble(self) -> BackendError | None:
        """Why the server is not asked at present; None if it is."""
        return self._trouble

    async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        if self._loop is not asyncio.get_running_loop():
            await self._bind()
        if self._trouble is not None:
            return self._hit_here(bucket, rate, cost, self._trouble, settled=False)
        try:
            return await self._remote.hit(bucket, rate, cost)
        except BackendError as error:
            return self._hit_here(bucket, rate, cost, error, settled=isinstance(error, Lost))

    async def peek(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""
        if self._loop is not asyncio.get_running_loop():
            await self._bind()
        if self._trouble is not None:
            return self._peek_here(bucket, rate, cost, self._trouble)
        try:
            return await self._remote.peek(bucket, rate, cost)
        except BackendError as error:
            return self._peek_here(bucket, rate, cost, error)

    async def open(self) -> None:
        """Raises LimiterError for a server that somebody has to mend. One that is away is probed until it is back."""
        await self._bind()
        try:
            await self._remote.check()
        except LimiterError:
            raise
        except BackendError as error:
            self._do_without(error)

    async def aclose(self) -> None:
        """Hand back what is owed, if the server answers, and close. The next use opens anew."""
        if self._loop is not asyncio.get_running_loop():
            return  # nothing of this loop's
        if self._trouble is None and self._local:
            await self._hand_back()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._remote.aclose()
        self._loop = None

    # -- without the server --------------------------------------------------------------------------------------------

    def _hit_here(self, bucket: str, rate: Rate, cost: int, error: BackendError, *, settled: bool) -> Decision:
        check_cost(cost, rate)
        local = self._buckets_without(error)
        return local.hit(bucket, rate, cost, settled=settled) if local is not None else _without_limits(rate, cost)

    def _peek_here(self, bucket: str, rate: Rate, cost: int, error: BackendError) -> Decision:
        check_cost(cost, rate)
        local = self._buckets_without(error)
        return local.peek(bucket, rate, cost) if local is not None else _without_limits(rate, cost)

    def _buckets_without(self, error: BackendError) -> LocalBuckets | None:
        """Those that decide where the server does not, for this reason; None if everything passes."""
        if self._outages.mode == "closed":
            raise Unreachable(str(error)) from error
        if self._outages.mode == "open":
            return None
        return self._apart if isinstance(error, Foreign) else self._local

    # -- the server ----------------------------------------------------------------------------------------------------

    async def _bind(self) -> None:
        self._tasks = {}
        self._turn_to_charge = asyncio.Lock()
        self._failed_at = 0.0  # by another loop's clock
        await self._remote.bind(self)
        self._loop = asyncio.get_running_loop()
        if self._trouble is not None:
            self._start("probe", self._probe_until_it_answers)

    def answered(self) -> None:
        """See `vc_auth.limiters.remote.Watcher`."""
        self._failures = 0
        if self._local and self._trouble is None:
            self._start("hand back", self._hand_back)

    def failed(self, error: BackendError, since: float, *, hopeless: bool = False) -> None:
        """See `vc_auth.limiters.remote.Watcher`."""
        if since >= self._failed_at:  # else it was under way when the last one failed: one hiccup fails many at once
            self._failures += 1
            self._failed_at = asyncio.get_running_loop().time()
        if hopeless or self._failures >= FEW:
            self._do_without(error)

    def _do_without(self, error: BackendError) -> None:
        if self._trouble is None:
            self._trouble = error
            self._outages.begin(error)
            self._start("probe", self._probe_until_it_answers)

    async def _probe_until_it_answers(self) -> None:
        while self._trouble is not None:
            await asyncio.sleep(random.uniform(*self._probes))  # noqa: S311  # jitter
            try:
                await self._remote.probe()
                await self._charge()  # most of it, before anybody is admitted there again
            except BackendError:
                continue
            self._trouble, self._failures = None, 0
            self._outages.end()
            await self._hand_back()

    async def _hand_back(self) -> None:
        try:
            await self._charge()
        except BackendError:
            return  # with the next answer, then
        self._local.forget_settled()

    async def _charge(self) -> None:
        async with self._turn_to_charge:  # or somebody else would charge the same
            debts = self._local.debts()
            for begin in range(0, len(debts), AT_ONCE):
                some = debts[begin : begin + AT_ONCE]
                try:
                    await self._remote.charge([debt.owed for debt in some])
                except (Lost, asyncio.CancelledError):
                    self._local.settle(some)  # rather once too little than twice
                    raise
                self._local.settle(some)

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if name not in self._tasks or self._tasks[name].done():
            self._tasks[name] = asyncio.get_running_loop().create_task(work())

    def after_fork(self) -> None:
        """What is owed is the parent's to hand back. See `vc_auth.forks.Forks`."""
        self._loop, self._tasks = None, {}
        self._local.clear()


def _without_limits(rate: Rate, cost: int) -> Decision:
    return token_bucket(0, rate.emission_us, 0, rate, cost)[1]
