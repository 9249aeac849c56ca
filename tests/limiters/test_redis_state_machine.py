"""Redis, memory and the exact model side by side, in every step: the same verdict, remaining and wait."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, ClassVar, TypeVar

import pytest
from exact_bucket import ExactBucket
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from redis_limiters import make_limiter
from redis_servers import RedisServer
from support import SCALE

from vc_auth import FREE, PRO
from vc_auth.limiters import MemoryLimiter, Unreachable
from vc_auth.limiters.remote import Lost, Unasked
from vc_auth.limiters.resilient import ResilientLimiter
from vc_auth.rates import Decision, Rate
from vc_auth.testing import TurnableClock

T = TypeVar("T")

RATES = [FREE.rate, PRO.rate, Rate("60/minute", 3), Rate("1/second", 10), Rate("7/second", 5), Rate("1/hour", 2)]
buckets = st.sampled_from(["one", "another"])
costs = st.integers(1, 3)
passages = st.one_of(
    st.sampled_from([0, 1, 99_999, 100_000, 142_857, 142_858, 999_999, 1_000_000, 3_600_000_000]),
    st.integers(0, 5_000_000),
)


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with RedisServer() as server:
        OnRedis.server = server
        yield


class OnRedis(RuleBasedStateMachine):
    """Some clients of one Redis, whose time is the test's. It can be cut off from all of them."""

    server: ClassVar[RedisServer]
    mode: ClassVar[str]
    clients: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.server.command("FLUSHALL")
        self.clock = TurnableClock()
        self.loop = asyncio.new_event_loop()
        self.memory = MemoryLimiter(self.clock)
        self.models: dict[str, ExactBucket] = {}
        self.rates = {"one": FREE.rate, "another": RATES[2]}
        self.is_lost = False
        self.limiters = [self.new_client() for _ in range(self.clients)]

    def new_client(self) -> ResilientLimiter:
        limiter = make_limiter(self.server.url, mode=self.mode, clock=self.clock, probes=(0, 0))
        assert isinstance(limiter, ResilientLimiter)
        self.run(limiter.open())
        connections = limiter._remote._connections  # type: ignore[attr-defined]  # where it can be cut off
        ask = connections.ask

        async def ask_or_not(*words: Any) -> Any:
            if self.is_lost:
                raise Unasked("it is away")
            return await ask(*words)

        connections.ask = ask_or_not
        return limiter

    def teardown(self) -> None:
        for limiter in self.limiters:
            self.run(limiter.aclose())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    @property
    def now(self) -> int:
        return self.clock.monotonic_ns() // 1_000

    def expected(self, bucket: str, cost: int) -> Decision:
        """What memory says, which is what the model says."""
        rate = self.rates[bucket]
        decision = self.run(self.memory.hit(bucket, rate, cost))
        model = self.models.setdefault(bucket, ExactBucket(self.now, rate))
        assert (decision.allowed, decision.remaining, decision.retry_after_us) == model.hit(self.now, rate, cost)
        return decision

    @rule(us=passages)
    def wait(self, us: int) -> None:
        self.clock.advance(us=us)

    @precondition(lambda self: not self.is_lost)
    @rule(bucket=buckets, rate=st.sampled_from(RATES))
    def change_plan(self, bucket: str, rate: Rate) -> None:
        """As a change of plan is told to every process, each client asks with the new rate."""
        self.rates[bucket] = rate
        for limiter in self.limiters:
            assert self.run(limiter.hit(bucket, rate)) == self.expected(bucket, 1)

    @precondition(lambda self: not self.is_lost)
    @rule(data=st.data(), bucket=buckets, cost=costs)
    def peek(self, data: st.DataObject, bucket: str, cost: int) -> None:
        cost = min(cost, self.rates[bucket].burst)
        limiter = data.draw(st.sampled_from(self.limiters))
        expected = self.run(self.memory.peek(bucket, self.rates[bucket], cost))
        assert self.run(limiter.peek(bucket, self.rates[bucket], cost)) == expected

    @precondition(lambda self: not self.is_lost)
    @rule()
    def lose(self) -> None:
        self.is_lost = True

    @precondition(lambda self: self.is_lost)
    @rule()
    def find(self) -> None:
        self.is_lost = False
        self.run(self.until_known())

    async def until_known(self) -> None:
        """Until each client has had an answer, and done what it then does."""
        while any(limiter.trouble is not None for limiter in self.limiters):  # noqa: ASYNC110  # it has nobody to tell
            await asyncio.sleep(0)
        for limiter in self.limiters:
            await limiter.peek("nobody's", FREE.rate)
            await asyncio.gather(*limiter._tasks.values())


class TwoClients(OnRedis):
    """Without the server they refuse, and take nothing."""

    mode = "closed"
    clients = 2

    @rule(data=st.data(), bucket=buckets, cost=costs)
    def hit(self, data: st.DataObject, bucket: str, cost: int) -> None:
        rate = self.rates[bucket]
        cost = min(cost, rate.burst)
        limiter = data.draw(st.sampled_from(self.limiters))
        try:
            decision = self.run(limiter.hit(bucket, rate, cost))
        except Unreachable:
            assert self.is_lost
        else:
            assert decision == self.expected(bucket, cost)
            assert not (decision.allowed and self.is_lost)


class OneClient(OnRedis):
    """Alone it knows all, so it decides without the server as with it, and hands back what the server missed."""

    mode = "local"
    clients = 1

    @rule(bucket=buckets, cost=costs)
    def hit(self, bucket: str, cost: int) -> None:
        rate = self.rates[bucket]
        cost = min(cost, rate.burst)
        assert self.run(self.limiters[0].hit(bucket, rate, cost)) == self.expected(bucket, cost)

    @precondition(lambda self: not self.is_lost)
    @rule(hits=st.lists(st.tuples(buckets, costs), min_size=1, max_size=5))
    def lose_replies(self, hits: list[tuple[str, int]]) -> None:
        """The server takes tokens, and nobody hears of that; they are not taken again."""
        connections = self.limiters[0]._remote._connections  # type: ignore[attr-defined]
        ask = connections.ask

        async def ask_in_vain(*words: Any) -> Any:
            await ask(*words)
            raise Lost("no reply")

        connections.ask = ask_in_vain
        for bucket, cost in hits:
            self.hit(bucket, cost)
        connections.ask = ask
        self.run(self.until_known())
        for bucket, _ in hits:
            self.hit(bucket, 1)  # what nobody heard of cannot be known before


for machine in (TwoClients, OneClient):
    machine.TestCase.settings = settings(max_examples=max(5, round(60 * SCALE)), stateful_step_count=50)
TestTwoClients = TwoClients.TestCase
TestOneClient = OneClient.TestCase
