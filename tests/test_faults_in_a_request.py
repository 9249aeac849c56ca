"""Whatever is raised wherever a request waits: nobody gets in unchecked, nothing is left behind, the sums are exact."""

import asyncio
import gc
import json
import os
import random
import secrets
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CoroutineType
from typing import Any, Final, Literal, Self, TypeVar

import pytest
from starlette.types import Message, Receive, Scope, Send
from support import INVALID, SCALE, UNAVAILABLE, Answer, App, bearer, get, http_scope, new_key, websocket_scope

from vc_auth import APIKeyMiddleware, Settings, VCAuth, policy
from vc_auth.keys import digest
from vc_auth.limiters import MemoryLimiter
from vc_auth.plans import ENTERPRISE, FREE, Plan
from vc_auth.rates import Decision, Rate
from vc_auth.records import KeyRecord
from vc_auth.stores import MemoryKeyStore
from vc_auth.testing import TurnableClock

T = TypeVar("T")

STRANGER: Final = "vc_" + "0" * 32
UNHURRIED: Final = 10_000.0  # seconds
ALL_CHECKS: Final = ("policy", "bucket", "application")


class Interruption(BaseException):
    """As KeyboardInterrupt and SystemExit, that no `except Exception` stops; but those would end the loop, too."""


FAULTS: Final = (asyncio.CancelledError, TimeoutError, OSError, RuntimeError, Interruption)


# -- where tasks wait --------------------------------------------------------------------------------------------------


class Stepped(Coroutine[Any, Any, T]):
    """A coroutine whose every step is told to a `Disturbance` before the task takes it."""

    def __init__(self, inner: Coroutine[Any, Any, T], disturbance: "Disturbance") -> None:
        self._inner = inner
        self._disturbance = disturbance
        self._began = False

    def send(self, value: Any) -> Any:
        fault = self._disturbance.at(where(self._inner)) if self._began else None
        self._began = True
        yielded = self._inner.send(value) if fault is None else self._inner.throw(fault)
        self._disturbance.waits()
        return yielded

    def throw(self, *arguments: Any) -> Any:
        yielded = self._inner.throw(*arguments)
        self._disturbance.waits()
        return yielded

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._inner.__await__()


def where(coroutine: Any) -> str:
    """The coroutines that wait for each other there."""
    chain = []
    while isinstance(coroutine, CoroutineType):
        chain.append(coroutine.__qualname__)
        coroutine = coroutine.cr_await
    return " > ".join(chain)


class Disturbance:
    """Raises ``fault`` at one of the places where any task goes on, instead; or cancels the task that waits there.

    Places are numbered as they come, so the clean run says how many there are.
    """

    def __init__(self, fault: type[BaseException] | Literal["cancel"] | None = None, number: int = -1) -> None:
        self.places: list[str] = []
        self.waited = 0
        self.victim: asyncio.Task[Any] | None = None
        self._fault = fault
        self._number = number
        self._is_on = False

    def __enter__(self) -> Self:
        self._is_on = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_on = False

    def task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """The loop's task factory."""
        assert isinstance(coroutine, Coroutine)
        return asyncio.Task(Stepped(coroutine, self), loop=loop, context=context)

    def at(self, place: str) -> BaseException | None:
        """What to raise in a task that goes on."""
        if not self._is_on:
            return None
        self.places.append(place)
        if self._fault is None or self._fault == "cancel" or len(self.places) - 1 != self._number:
            return None
        self.victim = asyncio.current_task()
        return self._fault()

    def waits(self) -> None:
        """A task begins to wait."""
        if self._is_on:
            self.waited += 1
            if self._fault == "cancel" and self.waited - 1 == self._number:
                self.victim = asyncio.current_task()
                assert self.victim is not None
                self.victim.cancel()


# -- a service that waits everywhere -----------------------------------------------------------------------------------


class Store(MemoryKeyStore):
    def __init__(self) -> None:
        super().__init__()
        self.pause: Callable[[], Awaitable[None]] = _pause
        self.is_away = False
        self.answers = 0

    async def find(self, digest: str) -> KeyRecord | None:
        await self.pause()
        if self.is_away:
            raise RuntimeError("whatever it is, it is no answer")
        record = await super().find(digest)
        await self.pause()
        self.answers += 1
        return record


class Limiter(MemoryLimiter):
    def __init__(self, note: Callable[[str], None], clock: TurnableClock) -> None:
        super().__init__(clock)
        self.pause: Callable[[], Awaitable[None]] = _pause
        self._note = note

    async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        await self.pause()
        decision = await super().hit(bucket, rate, cost)
        self._note("bucket")
        await self.pause()
        return decision


async def _pause() -> None:
    await asyncio.sleep(0)


class Service:
    """A guarded application. ``trails``: which checks each request has passed, in their order."""

    def __init__(self, patch: pytest.MonkeyPatch, *, clocks_are_one: bool = False) -> None:
        self.clock = TurnableClock()
        self.store = Store()
        # Else the limiter's is one that nobody turns: what is spent stays spent.
        self.limiter = Limiter(self.note, self.clock if clocks_are_one else TurnableClock())
        settings = Settings(store_timeout=UNHURRIED, usage_flush_interval=UNHURRIED)
        self.auth = VCAuth(settings, store=self.store, limiter=self.limiter, clock=self.clock)
        self.app = APIKeyMiddleware(self.application, self.auth)
        self.trails: dict[asyncio.Task[Any] | None, list[str]] = {}
        check = policy.check

        def noted(*arguments: Any) -> None:
            check(*arguments)
            self.note("policy")

        patch.setattr("vc_auth.guard.check", noted)

    def note(self, passed: str) -> None:
        self.trails.setdefault(asyncio.current_task(), []).append(passed)

    def times(self, passed: str) -> int:
        return sum(trail.count(passed) for trail in self.trails.values())

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.note("application")
        await _pause()
        await receive()
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await receive()
            await send({"type": "websocket.close"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})

    async def request(self, scope: Scope) -> Answer:
        answer = Answer()
        messages = iter([{"type": "websocket.connect"}] if scope["type"] == "websocket" else [])

        async def receive() -> Message:
            await _pause()
            return next(messages, {"type": f"{scope['type']}.disconnect"})

        async def send(message: Message) -> None:
            await _pause()
            answer.messages.append(message)

        await self.app(scope, receive, send)
        return answer

    async def settle(self, *requests: asyncio.Task[Answer]) -> None:
        """Until nothing is under way but what counts usage."""
        await asyncio.wait(requests)
        for _ in range(100):
            if not self.auth.store._tasks:
                return
            await asyncio.sleep(0)
        raise AssertionError("a look-up never ends")

    def nothing_is_left(self) -> None:
        cache, flusher = self.auth.store, self.auth.usage and self.auth.usage._flusher
        assert (cache._flights, cache._tasks) == ({}, set())
        assert cache._turns._value == cache._max_loads
        assert self.auth.usage is None or not self.auth.usage._turn_to_write.locked()
        assert asyncio.all_tasks() - {flusher} == {asyncio.current_task()}

    async def sums_are_exact(self, key_id: str, plan: Plan) -> None:
        """Each hit took one token, and each request that came in was counted once."""
        next_one = await self.limiter.peek(key_id, plan.rate)
        assert next_one.remaining == plan.rate.burst - self.times("bucket") - 1
        await self.auth.aclose()
        totals = await self.auth.registry.key_totals("acme")
        assert sum(total.requests for total in totals.values()) == self.times("application")


# -- one request -------------------------------------------------------------------------------------------------------


class Way:
    """What requests find: a key that is cold, remembered, aged, remembered and the store away, or not there at all."""

    def __init__(self, kind: str, finds: str, requests: int = 1) -> None:
        self.kind, self.finds, self.requests = kind, finds, requests
        self.is_stranger = finds in ("a stranger", "a known stranger")

    def __repr__(self) -> str:
        return f"{self.requests} {self.kind} {self.finds}"

    def scope(self, key: str) -> Scope:
        return http_scope(bearer(key)) if self.kind == "http" else websocket_scope(bearer(key))

    async def prepare(self, service: Service, key: str) -> None:
        if self.finds not in ("a cold key", "a stranger"):
            await service.request(self.scope(key))
        if self.finds in ("an aged key", "a key and no store", "a key and a store long gone"):
            service.clock.advance(seconds=61)
        service.store.is_away = self.finds in ("a key and no store", "a key and a store long gone")
        if self.finds == "a key and a store long gone":
            await service.request(self.scope(key))
            service.clock.advance(seconds=0.6)  # so it is time for a probe

    def judge(self, answer: Answer, trail: list[str]) -> None:
        """An answer that is whole is the right one, or says that nobody can say."""
        if trail == [*ALL_CHECKS]:
            assert answer.messages[-1] in ({"type": "http.response.body", "body": b"ok"}, {"type": "websocket.close"})
        elif self.kind == "websocket":
            assert answer.messages == [{"type": "websocket.close", "code": 1008, "reason": ""}]
        else:
            assert answer.body in ((INVALID, UNAVAILABLE) if self.is_stranger else (UNAVAILABLE,))


@cache
def the_key() -> str:
    return f"vc_{secrets.token_hex(16)}"


async def disturbed(way: Way, disturbance: Disturbance) -> None:
    """Requests that are disturbed, judged; and one after it that is not."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # nobody is there to hear of an interruption of a look-up
    with pytest.MonkeyPatch.context() as patch:
        service = Service(patch)
        await service.auth.registry.create_project("acme")
        key_id = (await service.auth.registry.import_key("acme", "ci", digest=digest(the_key()))).id
        key = STRANGER if way.is_stranger else the_key()
        loop.set_task_factory(disturbance.task)
        try:
            await asyncio.create_task(way.prepare(service, key))
            with disturbance:
                requests = [asyncio.create_task(service.request(way.scope(key))) for _ in range(way.requests)]
                await service.settle(*requests)
            for request in requests:
                judge(way, request, service, is_victim=request is disturbance.victim)
                if disturbance.victim in requests and disturbance.victim is not request:
                    assert service.trails[request] == [*ALL_CHECKS], "it was another request's trouble"
            service.nothing_is_left()
            again = asyncio.create_task(service.request(way.scope(key)))
            await service.settle(again)
            assert service.trails.get(again, []) == ([] if way.is_stranger else [*ALL_CHECKS])
            way.judge(again.result(), service.trails.get(again, []))
            service.nothing_is_left()
        finally:
            loop.set_task_factory(None)
        await service.sums_are_exact(key_id, FREE)


def judge(way: Way, request: asyncio.Task[Answer], service: Service, *, is_victim: bool) -> None:
    trail = service.trails.get(request, [])
    assert trail == [*ALL_CHECKS][: len(trail)], "it went past a check"
    if "policy" in trail:
        assert service.store.answers > 0, "nobody has ever said that there is such a key"
    if not (is_victim and (request.cancelled() or isinstance(request.exception(), FAULTS))):
        way.judge(request.result(), trail)


# Of a clean run: how often tasks go on, as one reads it in the code. Two in the store's find, one in _load; two in the
# limiter's hit; in the application one, and one for each message that it gets or sends.
WAYS: Final = {
    Way("http", "a cold key"): 9,
    Way("http", "a remembered key"): 6,
    Way("http", "an aged key"): 9,
    Way("http", "a key and no store"): 8,
    Way("http", "a key and a store long gone"): 7,
    Way("http", "a stranger"): 5,
    Way("http", "a known stranger"): 2,
    Way("http", "a cold key", requests=2): 16,
    Way("websocket", "a cold key"): 10,
    Way("websocket", "a remembered key"): 7,
    Way("websocket", "an aged key"): 10,
    Way("websocket", "a key and no store"): 9,
    Way("websocket", "a key and a store long gone"): 8,
    Way("websocket", "a stranger"): 5,
    Way("websocket", "a known stranger"): 2,
}


@pytest.mark.parametrize("way", WAYS, ids=repr)
async def test_whatever_is_raised_wherever_a_request_waits(way: Way) -> None:
    clean = Disturbance()
    await disturbed(way, clean)
    assert len(clean.places) == WAYS[way], clean.places
    for fault in FAULTS:
        for number in range(len(clean.places)):
            await disturbed(way, faulty := Disturbance(fault, number))
            assert len(faulty.places) > number
    for number in range(clean.waited):
        await disturbed(way, faulty := Disturbance("cancel", number))
        assert faulty.waited > number


# -- ten thousand ------------------------------------------------------------------------------------------------------

WAVE: Final = 50
REQUESTS: Final = max(400, round(10_000 * min(1, SCALE)))
KEYS: Final = 5
STRANGERS: Final = 20


async def test_ten_thousand_requests_that_are_cancelled_anywhere_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(10_000)

    async def pause() -> None:
        for _ in range(chance.randrange(8)):
            await asyncio.sleep(0)

    service = Service(monkeypatch)
    service.store.pause = service.limiter.pause = pause
    keys = [await new_key(service.auth, plan="enterprise") for _ in range(KEYS)]
    strangers = [f"vc_{number:032x}" for number in range(STRANGERS)]
    cancelled = 0
    for _ in range(REQUESTS // WAVE):
        cancelled += await a_wave(service, chance, keys, strangers)
        service.nothing_is_left()
        service.clock.advance(seconds=chance.choice([1, 6, 61]))  # so some are remembered, some are not
    assert REQUESTS / 4 < cancelled < REQUESTS * 3 / 4
    assert service.times("application") < service.times("bucket"), "some were cancelled between the two"
    hits = 0
    for key_id in service.store._keys:
        next_one = await service.limiter.peek(key_id, ENTERPRISE.rate)
        hits += ENTERPRISE.rate.burst - 1 - next_one.remaining
    assert hits == service.times("bucket")
    await service.auth.aclose()
    totals = await service.auth.registry.key_totals("acme")
    assert sum(total.requests for total in totals.values()) == service.times("application")


async def a_wave(service: Service, chance: random.Random, keys: list[str], strangers: list[str]) -> int:
    """Some requests, each cancelled by and by or answered as it should be. Returns how many ended cancelled."""
    asked = [chance.choice(keys if chance.random() < 0.7 else strangers) for _ in range(WAVE)]
    requests = [asyncio.create_task(service.request(http_scope(bearer(key)))) for key in asked]
    victims = chance.sample(requests, WAVE * 3 // 4)
    while victims:
        for _ in range(chance.randrange(WAVE // 10)):
            if victims:
                victims.pop().cancel()
        await asyncio.sleep(0)
    await service.settle(*requests)
    for key, request in zip(asked, requests, strict=True):
        trail = service.trails.get(request, [])
        assert trail == [*ALL_CHECKS][: len(trail)]
        if not request.cancelled():
            assert request.result().body == (b"ok" if key in keys else INVALID)
            assert trail == ([*ALL_CHECKS] if key in keys else [])
    return sum(request.cancelled() for request in requests)


# -- workers that fork off ---------------------------------------------------------------------------------------------

# As gunicorn --preload does. The parent makes the application, and perhaps uses it; then it forks, and all serve.
FORKING: Final = """
import asyncio, json, os, sqlite3, sys, threading
from support import App, get, new_key
from vc_auth import APIKeyMiddleware, Settings, VCAuth
from vc_auth.errors import StoreError

store, parent_has = sys.argv[1:]
auth = VCAuth(Settings(store="sqlite:///" + store))
app = APIKeyMiddleware(App(), auth)

def opened():
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return sum(os.readlink(link).startswith(store) for link in links if os.path.islink(link))

async def make_keys(auth):
    keys = [await new_key(auth) for _ in range(2)]
    await auth.registry.revoke_key((await auth.registry.list_keys("acme"))[1].id)
    return keys

async def begin():
    if parent_has == "made it":
        async with VCAuth(auth.settings) as other:
            return await make_keys(other)
    key, dead = await make_keys(auth)
    for _ in range(3):
        await get(app, key)
    if parent_has == "used and closed it":
        await auth.aclose()
    return key, dead

def tell(who, **more):
    os.write(1, json.dumps({"who": who, "pid": os.getpid(), **more}).encode() + b"\\n")  # in one piece

async def serve(who, requests):
    async with auth:
        answers = [(await get(app, key)).status for _ in range(requests)] + [(await get(app, dead)).status]
        threads = {thread.native_id for thread in threading.enumerate()[1:]}
        made_here = threads <= set(map(int, os.listdir("/proc/self/task")))
        await auth.usage.flush()
        tell(who, answers=answers, threads=len(threads), made_here=made_here)

async def serve_or_tell_why_not(who, requests):
    try:
        await serve(who, requests)
    except StoreError as error:
        await auth.aclose()
        tell(who, refused=str(error))

key, dead = asyncio.run(begin())
tell("before", opened=opened())
children = []
for who, requests in (("one", 10), ("other", 20)):
    if (child := os.fork()) == 0:
        asyncio.run(serve_or_tell_why_not(who, requests))
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
asyncio.run(serve("parent", 5))
async def count():
    async with VCAuth(auth.settings) as other:
        return sum(total.requests for total in (await other.registry.key_totals("acme")).values())
tell("after", counted=asyncio.run(count()))
"""


@cache
def told_by(script: str, parent_has: str) -> dict[str, dict[str, Any]]:
    """What a script tells, in a process of its own: a fork of pytest would be pytest."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with TemporaryDirectory() as folder:
        words = [sys.executable, "-P", "-c", script, f"{folder}/keys.db", parent_has]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told = map(json.loads, done.stdout.splitlines())
    return {line["who"]: line for line in told}


@pytest.mark.parametrize("parent_has", ["made it", "used and closed it"])
def test_workers_that_fork_off_answer_over_connections_of_their_own(parent_has: str) -> None:
    told = told_by(FORKING, parent_has)
    assert told["before"]["opened"] == 0
    for who, requests in (("one", 10), ("other", 20), ("parent", 5)):
        assert told[who]["answers"] == [200] * requests + [401]
        assert told[who]["threads"] > 0
        assert told[who]["made_here"], "it waits for a thread that stayed behind"
    assert len({told[who]["pid"] for who in ("one", "other", "parent")}) == 3


def test_workers_that_fork_off_an_open_store_are_told_to_close_it_before() -> None:
    told = told_by(FORKING, "used it and left it open")
    assert told["before"]["opened"] > 0
    for who in ("one", "other"):
        assert told[who]["refused"].endswith("was open when this process forked off; close it before (VCAuth.aclose)")
    assert told["parent"]["answers"] == [200] * 5 + [401]
    assert told["after"]["counted"] == 3 + 5


@pytest.mark.parametrize(("parent_has", "before"), [("made it", 0), ("used and closed it", 3)])
def test_what_workers_that_fork_off_count_is_summed_exactly(parent_has: str, before: int) -> None:
    told = told_by(FORKING, parent_has)
    assert told["after"]["counted"] == before + 10 + 20 + 5


# -- two event loops, one after the other ------------------------------------------------------------------------------


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "left open"])
@pytest.mark.parametrize("store", ["memory://", "sqlite:///{}/keys.db"], ids=["memory", "sqlite"])
def test_a_second_event_loop_takes_over_all_of_it(tmp_path: Path, store: str, closes: bool) -> None:
    before = set(threading.enumerate())
    auth = VCAuth(Settings(store=store.format(tmp_path)))
    app = APIKeyMiddleware(App(), auth)

    async def first() -> str:
        key = await new_key(auth)
        assert [(await get(app, key)).status for _ in range(3)] == [200, 200, 200]
        if closes:
            await auth.aclose()
        return key

    async def second(key: str) -> dict[str, int]:
        async with auth:
            answers = [await get(app, key) for _ in range(2)]
            assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["96", "95"]
            assert (await get(app, STRANGER)).status == 401
            assert (await get(app, await new_key(auth))).status == 200
            assert auth.usage is not None
            await auth.usage.flush()
            return {name: total.requests for name, total in (await auth.registry.key_totals("acme")).items()}

    assert sorted(asyncio.run(second(asyncio.run(first()))).values()) == [1, 5]
    assert set(threading.enumerate()) == before
    gc.collect()  # what was left would warn here


# -- the wall clock steps ----------------------------------------------------------------------------------------------

HOUR: Final = 3_600.0


@pytest.fixture
def stepping(monkeypatch: pytest.MonkeyPatch) -> Service:
    return Service(monkeypatch, clocks_are_one=True)


async def status(service: Service, key: str) -> int:
    return (await service.request(http_scope(bearer(key)))).status


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_step_of_the_wall_clock_changes_no_limit(stepping: Service, step: float) -> None:
    key = await new_key(stepping.auth)
    for _ in range(100):
        assert await status(stepping, key) == 200
    stepping.clock.step(seconds=step)
    refused = await stepping.request(http_scope(bearer(key)))
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    stepping.clock.advance(seconds=1)
    assert [await status(stepping, key) for _ in range(2)] == [200, 429]
    await stepping.auth.aclose()


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_step_of_the_wall_clock_changes_when_a_bucket_is_full_by_as_much(
    stepping: Service, step: float
) -> None:
    key = await new_key(stepping.auth)
    resets = []
    for _ in range(2):
        answer = await stepping.request(http_scope(bearer(key)))
        resets.append(int(answer.headers["x-ratelimit-reset"]) - stepping.clock.time_ns() // 10**9)
        assert answer.headers["ratelimit"].endswith(";t=1")
        stepping.clock.step(seconds=step)
    assert resets == [1, 2]
    await stepping.auth.aclose()


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_step_of_the_wall_clock_changes_nothing_that_is_remembered(stepping: Service, step: float) -> None:
    key = await new_key(stepping.auth)
    assert [await status(stepping, key), await status(stepping, STRANGER)] == [200, 401]
    assert stepping.store.answers == 2
    stepping.clock.step(seconds=step)
    stepping.clock.advance(seconds=4.9)
    assert [await status(stepping, key), await status(stepping, STRANGER)] == [200, 401]
    assert stepping.store.answers == 2
    stepping.clock.advance(seconds=0.1)
    await status(stepping, STRANGER)
    assert stepping.store.answers == 3, "negative_ttl"
    stepping.clock.advance(seconds=54.9)
    await status(stepping, key)
    assert stepping.store.answers == 3
    stepping.clock.advance(seconds=0.1)
    await status(stepping, key)
    assert stepping.store.answers == 4, "cache_ttl"
    await stepping.auth.aclose()


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_step_of_the_wall_clock_does_not_prolong_what_goes_on_while_the_store_is_away(
    stepping: Service, step: float
) -> None:
    key = await new_key(stepping.auth)
    assert await status(stepping, key) == 200
    stepping.clock.advance(seconds=60)
    stepping.store.is_away = True
    assert await status(stepping, key) == 200
    stepping.clock.step(seconds=step)
    stepping.clock.advance(seconds=29.9)
    assert await status(stepping, key) == 200
    stepping.clock.advance(seconds=0.1)
    assert await status(stepping, key) == 503
    await stepping.auth.aclose()


async def test_a_key_expires_by_the_wall_clock_whatever_is_remembered(stepping: Service) -> None:
    key = await new_key(stepping.auth, expires_in=timedelta(minutes=30))
    answers = []
    for step in (0.0, HOUR, -HOUR, -HOUR):
        stepping.clock.step(seconds=step)
        answers.append(await status(stepping, key))
    assert answers == [200, 401, 200, 200]
    assert stepping.store.answers == 1, "all from the cache"
    await stepping.auth.aclose()
