"""In no interleaving of `cache_model` is a request wrongly admitted; and the cache does what the model does."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final

import pytest
from cache_model import DISTRUSTED_TTL, PROBE, STALE, TICK, TRUST, Rules, Step, explore, is_fresh, start, steps
from support import SCALE

from vc_auth import cache as real
from vc_auth.cache import CacheOptions
from vc_auth.errors import BackendError
from vc_auth.records import KeyRecord
from vc_auth.stores import CachedKeyStore, MemoryKeyStore
from vc_auth.stores.changes import Change, KeyChanged
from vc_auth.testing import TurnableClock, some_key, some_project

UNHURRIED: Final = 10_000.0  # seconds
NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)

EVERYTHING: Final = Rules()
RELIABLE: Final = Rules(may_fail=False)  # a store that always answers
ALONE: Final = Rules(has_feed=False, ttl=2)  # a store of one's own that tells nothing: the bound is cache_ttl


def story(path: Iterable[Step]) -> list[str]:
    """A way, to be read."""
    return [" ".join(map(str, (*step.action, *step.verdicts))) for step in path]


# -- the model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "enough"),
    [(EVERYTHING, 100_000), (RELIABLE, 6_000), (ALONE, 3_000)],
    ids=["everything", "reliable", "alone"],
)
def test_whatever_overtakes_whatever_nobody_is_admitted_after_the_bound(rules: Rules, enough: int) -> None:
    found = explore(rules)
    assert story(found.wrong) == []
    assert len(found.ways) > enough
    verdicts = {("admitted", False), ("admitted", True), ("refused", True)}
    assert found.verdicts == verdicts | ({("unavailable", False), ("unavailable", True)} if rules.may_fail else set())


@pytest.mark.parametrize("rules", [RELIABLE, ALONE], ids=["reliable", "alone"])
def test_the_bound_is_no_longer_than_it_has_to_be(rules: Rules) -> None:
    assert explore(replace(rules, bound=rules.bound - 1)).wrong


def test_the_models_ticks_are_those_of_the_code() -> None:
    assert real.TRUST_NS == TRUST * TICK * 1e9
    assert real.DISTRUSTED_TTL_NS == DISTRUSTED_TTL * TICK * 1e9
    assert real.PROBE_INTERVAL_NS == PROBE * TICK * 1e9
    assert CacheOptions().timeout == TICK


@pytest.mark.parametrize(
    ("rules", "shortest"),
    [
        # The famous one: revoked while it was loaded, and cached as alive.
        (
            replace(RELIABLE, forgotten_may_not_fill=False),
            ["asks 0", "reads 0", "commits here 0", "forgets here 0", "lands 0", "asks 1 (1, 'admitted')"],
        ),
        (
            replace(RELIABLE, forget_reaches_flights=False),
            ["asks 0", "reads 0", "commits here 0", "forgets here 0", "lands 0 (0, 'admitted')"],
        ),
        (
            replace(RELIABLE, waiters_look_again=False),
            ["asks 0", "reads 0", "commits here 0", "forgets here 0", "lands 0 (0, 'admitted')"],
        ),
    ],
    ids=["it may fill", "it is not reached", "its answer counts"],
)
def test_without_generations_a_look_up_under_way_undoes_a_revocation(rules: Rules, shortest: list[str]) -> None:
    assert story(explore(rules).wrong) == shortest


@pytest.mark.parametrize(
    ("rules", "last"),
    [
        (replace(RELIABLE, following_anew_forgets=False), "lands"),
        (replace(RELIABLE, trust_ends=False), "asks"),
        (replace(RELIABLE, age_counts_from_asking=False), "asks"),
        (replace(RELIABLE, commit_then_forget=False), "lands"),
        (replace(RELIABLE, commit_then_tell=False), "asks"),
        (replace(EVERYTHING, readers=1, forgotten_is_not_stale=False), "goes on"),
        (replace(EVERYTHING, readers=1, stale_ends=False), "goes on"),
        (replace(ALONE, stale_ends=False), "goes on"),
        (replace(ALONE, age_counts_from_asking=False), "asks"),
        # What is assumed is needed, too: whatever hangs for longer than it may brings what was true long ago.
        (replace(RELIABLE, look_ups_end=False), "lands"),
        (replace(RELIABLE, tells_what_is_new=False), "asks"),
    ],
    ids=lambda value: None,
)
def test_without_any_one_of_its_guards_a_request_is_wrongly_admitted(rules: Rules, last: str) -> None:
    wrong = explore(rules).wrong
    assert wrong, "nobody needs this guard"
    assert wrong[-1].action[0] == last, story(wrong)
    assert {verdict for _, verdict in wrong[-1].verdicts} == {"admitted"}


# -- the code ----------------------------------------------------------------------------------------------------------


class Store(MemoryKeyStore):
    """Reads, brings and loses, commits, returns and tells when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[asyncio.Future[KeyRecord | None]] = []
        self.committed = asyncio.Event()
        self.followed = asyncio.Event()
        self.feed: asyncio.Queue[list[Change] | BackendError] = asyncio.Queue()

    async def find(self, digest: str) -> KeyRecord | None:
        self.asked.append(answer := asyncio.get_running_loop().create_future())
        record: KeyRecord | None = await answer
        return record

    async def revoke_key(self, key_id: str, at: datetime) -> KeyRecord:
        record = await super().revoke_key(key_id, at)
        await self.committed.wait()
        return record


class TellingStore(Store):
    async def changes(self) -> AsyncGenerator[list[Change], None]:
        await self.followed.wait()
        while True:
            batch = await self.feed.get()
            if isinstance(batch, BackendError):
                raise batch
            yield batch


class Replay:
    """The cache before a store, made to do what the model does, step by step.

    Who waits for a look-up runs on in `wait` when it is over, and there it is held until the model lets it go on.
    """

    def __init__(self, rules: Rules, patch: pytest.MonkeyPatch) -> None:
        self.rules = rules
        self.clock = TurnableClock()
        self.store = TellingStore() if rules.has_feed else Store()
        ttl = UNHURRIED if rules.ttl is None else rules.ttl * TICK
        options = CacheOptions(clock=self.clock, ttl=ttl, timeout=UNHURRIED, stale_if_error=STALE * TICK)
        self.cache = CachedKeyStore(self.store, options)
        self.key = some_key(some_project())
        self.state = start(rules)
        self.readers: dict[int, asyncio.Task[KeyRecord | None]] = {}
        self.may_go_on: dict[asyncio.Task[Any] | None, asyncio.Event] = {}
        self.look_ups: dict[int, asyncio.Future[KeyRecord | None]] = {}
        self.read: dict[int, KeyRecord | None] = {}
        self.writer: asyncio.Task[KeyRecord] | None = None
        self.does: dict[str, Callable[[int], None]] = {
            "asks": self.asks,
            "goes on": self.goes_on,
            "leaves": self.leaves,
            "lands": lambda flight: self.look_ups.pop(flight).set_result(self.read[flight]),
            "is lost": lambda flight: self.look_ups.pop(flight).set_exception(OSError()),
            "half a second passes": lambda _: self.clock.advance(seconds=TICK),
            "forgets here": lambda _: self.store.committed.set(),
            "the feed is followed": lambda _: self.store.followed.set(),
            "the feed is cut": self.cut,
            "the feed tells": self.tells,
            "the feed looks": lambda _: None,
        }
        patch.setattr("vc_auth.stores.following.RETRY_AFTER", 0)
        patch.setattr("vc_auth.cache.asyncio", SimpleNamespace(**{**vars(asyncio), "wait": self.wait}))

    async def wait(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        await asyncio.wait(tasks)
        await self.may_go_on[asyncio.current_task()].wait()

    async def follow(self, path: Iterable[Step]) -> None:
        """Do it all, and compare after each step."""
        await self.store.add_project(self.key.project)
        await self.store.add_key(self.key)
        self.cache.start()
        done: list[Step] = []
        try:
            for step in path:
                done.append(step)
                await self.do(step)
                await self.compare(step)
                self.state = step.state
        except AssertionError as error:
            raise AssertionError("\n".join(story(done))) from error
        finally:
            await self.end()

    async def do(self, step: Step) -> None:
        what, number = step.action
        if what == "reads":
            self.read[number] = await MemoryKeyStore.find(self.store, self.key.digest)
        elif what == "commits elsewhere":
            await MemoryKeyStore.revoke_key(self.store, self.key.id, NOW)
        elif what == "commits here":
            self.writer = asyncio.create_task(self.cache.revoke_key(self.key.id, NOW))
        else:
            self.does[what](number)
        for reader, _ in step.verdicts:
            self.goes_on(reader)
        for _ in range(9):
            await asyncio.sleep(0)

    def asks(self, reader: int) -> None:
        task = self.readers[reader] = asyncio.create_task(self.cache.find(self.key.digest))
        self.may_go_on[task] = asyncio.Event()

    def leaves(self, reader: int) -> None:
        self.readers.pop(reader).cancel()

    def goes_on(self, reader: int) -> None:
        self.may_go_on[self.readers[reader]].set()

    def tells(self, _: int) -> None:
        is_news = self.state.feed.batch == "a change"
        self.store.feed.put_nowait([KeyChanged(self.key.digest)] if is_news else [])

    def cut(self, _: int) -> None:
        self.store.followed.clear()
        self.store.feed.put_nowait(BackendError("cut"))

    async def compare(self, step: Step) -> None:
        before, now = self.state.flights, step.state.flights
        new = [at for at, flight in enumerate(now) if flight is not None and before[at] is None]
        assert len(self.store.asked) == len(new), "look-ups that began"
        for at in new:
            self.look_ups[at] = self.store.asked.pop()
        for reader, verdict in step.verdicts:
            assert self.verdict_of(self.readers.pop(reader)) == verdict
        for reader, task in self.readers.items():
            assert not task.done(), f"reader {reader} has an answer"
            if step.state.readers[reader].flight >= 0:
                self.may_go_on[task].clear()
        remembered = self.cache.peek(self.key.digest)
        expected = step.state.entry if is_fresh(step.state, self.rules) else None
        assert (remembered and _value_of(remembered)) == (expected and expected.value)
        assert (self.writer is not None and self.writer.done()) == (step.state.here == "done")

    def verdict_of(self, task: asyncio.Task[KeyRecord | None]) -> str:
        assert task.done(), "it has no answer"
        if isinstance(task.exception(), BackendError):
            return "unavailable"
        record = task.result()
        assert record is not None
        return "admitted" if _value_of(record) == "alive" else "refused"

    async def end(self) -> None:
        tasks = [*self.readers.values(), *([self.writer] if self.writer is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.cache.aclose()


def _value_of(record: KeyRecord) -> str:
    return "alive" if record.revoked_at is None else "revoked"


async def replay(rules: Rules, path: Iterable[Step]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        await Replay(rules, patch).follow(path)


def leaves_of(rules: Rules, depth: int) -> list[list[Step]]:
    """A way to every state that is at most so many steps away; on the ways to the farthest ones lie the others."""
    found = explore(rules, depth)
    inner = {id(state) for state, _ in found.ways.values()}
    return [found.way(state) for state in found.ways if id(state) not in inner]


def a_walk(rules: Rules, chance: random.Random, length: int) -> list[Step]:
    """What happens if anything may. Nobody is revoked in the first half, or most of it would be refusals."""
    state, path = start(rules), list[Step]()
    for number in range(length):
        possible = [step for step in steps(state, rules) if number > length / 2 or "commit" not in step.action[0]]
        path.append(chance.choice(possible))
        state = path[-1].state
    return path


async def test_the_cache_does_what_the_model_does_on_the_way_to_every_state_nearby() -> None:
    for path in leaves_of(Rules(readers=2), 6):
        await replay(Rules(readers=2), path)


@pytest.mark.parametrize("rules", [Rules(), ALONE], ids=["followed", "alone"])
async def test_the_cache_does_what_the_model_does_wherever_one_goes(rules: Rules) -> None:
    for seed in range(max(20, round(150 * SCALE))):
        path = a_walk(rules, random.Random(seed), 60)
        await replay(rules, path)
