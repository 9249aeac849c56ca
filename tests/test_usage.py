"""Counting now and writing later: nothing lost, nothing twice, nobody waits."""

import asyncio
import logging
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import SCALE

from vc_auth import forks, usage
from vc_auth.records import UsageBatch
from vc_auth.stores import MemoryKeyStore
from vc_auth.testing import TurnableClock, some_key, some_project
from vc_auth.usage import ADMITTED, FORBIDDEN, LIMITED, UsageCounter

PROJECT = some_project()
KEY, OTHER = some_key(PROJECT), some_key(PROJECT)
EVER = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class Store(MemoryKeyStore):
    """Remembers what it was told, and can be made to fail before or after it has added a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[UsageBatch] = []
        self.fails_before: BaseException | None = None
        self.fails_after: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def add_usage(self, batch: UsageBatch) -> None:
        self.told.append(batch)
        await self.gate.wait()
        if self.fails_before is not None:
            raise self.fails_before
        await super().add_usage(batch)
        if self.fails_after is not None:
            raise self.fails_after

    async def sums(self, key_id: str | None = None) -> tuple[int, int, int]:
        hours = await self.usage_by_hour(PROJECT.id, key_id, *EVER)
        return sum(h.admitted for h in hours), sum(h.limited for h in hours), sum(h.forbidden for h in hours)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def counter(store: Store, clock: TurnableClock) -> AsyncIterator[UsageCounter]:
    counter = UsageCounter(store.add_usage, interval=3_600, clock=clock)
    yield counter
    store.fails_before = store.fails_after = None
    store.gate.set()
    await counter.aclose()


async def test_every_outcome_is_counted_for_its_key(store: Store, counter: UsageCounter) -> None:
    for outcome, times in ((ADMITTED, 3), (LIMITED, 2), (FORBIDDEN, 1)):
        for _ in range(times):
            counter.count(KEY, outcome)
    counter.count(OTHER, ADMITTED)
    await counter.flush()
    assert await store.sums(KEY.id) == (3, 2, 1)
    assert await store.sums(OTHER.id) == (1, 0, 0)
    assert await store.sums() == (4, 2, 1)


async def test_nothing_is_written_when_nothing_was_counted(store: Store, counter: UsageCounter) -> None:
    await counter.flush()
    counter.count(KEY, ADMITTED)
    await counter.flush()
    await counter.flush()
    assert len(store.told) == 1


async def test_a_request_counts_for_the_hour_that_it_came_in(
    store: Store, counter: UsageCounter, clock: TurnableClock
) -> None:
    clock.advance(us=3_600_000_000 - clock.time_ns() // 1_000 % 3_600_000_000 - 1)  # to an hour's last microsecond
    counter.count(KEY, ADMITTED)
    clock.advance(us=1)
    counter.count(KEY, ADMITTED)
    counter.count(KEY, LIMITED)
    clock.step(seconds=-0.000_001)
    counter.count(KEY, FORBIDDEN)
    await counter.flush()
    first, second = await store.usage_by_hour(PROJECT.id, KEY.id, *EVER)
    assert (first.admitted, first.limited, first.forbidden) == (1, 0, 1)
    assert (second.admitted, second.limited, second.forbidden) == (1, 1, 0)
    assert second.start - first.start == timedelta(hours=1)


async def test_the_last_use_is_the_latest_also_when_the_clock_steps_back(
    store: Store, counter: UsageCounter, clock: TurnableClock
) -> None:
    clock.advance(seconds=7_200)
    counter.count(KEY, FORBIDDEN)
    latest = datetime.fromtimestamp(clock.time_ns() // 10**9, UTC)
    clock.step(seconds=-0.5)
    counter.count(KEY, ADMITTED)
    await counter.flush()
    clock.step(seconds=-3_600)
    counter.count(KEY, LIMITED)
    await counter.flush()
    totals = (await store.key_totals(PROJECT.id))[KEY.id]
    assert totals.requests == 3
    assert totals.last_used_at is not None
    assert totals.last_used_at.replace(microsecond=0) == latest.replace(microsecond=0)


# -- what cannot be written --------------------------------------------------------------------------------------------


async def test_a_batch_that_failed_is_sent_again_unchanged_and_first(store: Store, counter: UsageCounter) -> None:
    store.fails_before = OSError("away")
    counter.count(KEY, ADMITTED)
    for _ in range(3):
        with pytest.raises(OSError, match="away"):
            await counter.flush()
        counter.count(KEY, ADMITTED)
    store.fails_before = None
    await counter.flush()
    first, *again, last = store.told
    assert again == [first] * 3
    assert (first.seq, last.seq) == (1, 2)
    assert first.worker == last.worker
    assert await store.sums() == (4, 0, 0)


async def test_an_acknowledgement_that_is_lost_after_the_commit_counts_nothing_twice(
    store: Store, counter: UsageCounter
) -> None:
    store.fails_after = ConnectionResetError()
    counter.count(KEY, ADMITTED)
    with pytest.raises(ConnectionResetError):
        await counter.flush()
    store.fails_after = None
    counter.count(KEY, ADMITTED)
    await counter.flush()
    await counter.flush()
    assert await store.sums() == (2, 0, 0)


async def test_a_flush_that_is_cancelled_is_in_doubt_and_counts_once(store: Store, counter: UsageCounter) -> None:
    store.gate.clear()
    counter.count(KEY, ADMITTED)
    flush = asyncio.create_task(counter.flush())
    await until(store, 1)
    flush.cancel()
    with suppress(asyncio.CancelledError):
        await flush
    store.gate.set()
    counter.count(KEY, ADMITTED)
    await counter.flush()
    assert await store.sums() == (2, 0, 0)
    assert store.told[0] == store.told[1]


async def test_two_flushes_at_once_write_each_batch_once(store: Store, counter: UsageCounter) -> None:
    store.gate.clear()
    counter.count(KEY, ADMITTED)
    flushes = [asyncio.create_task(counter.flush()) for _ in range(3)]
    await asyncio.sleep(0)
    counter.count(KEY, LIMITED)
    store.gate.set()
    await asyncio.gather(*flushes)
    assert [batch.seq for batch in store.told] == [1, 2]
    assert await store.sums() == (1, 1, 0)


async def test_many_keys_are_written_in_several_batches(store: Store, counter: UsageCounter) -> None:
    number = usage.BATCH + 1
    for key in range(number):
        counter.count(some_key(PROJECT, id=f"key_{key}"), ADMITTED)
    await counter.flush()
    assert [(batch.seq, len(batch.counts)) for batch in store.told] == [(1, usage.BATCH), (2, 1)]
    assert await store.sums() == (number, 0, 0)


async def test_what_is_kept_is_bounded_and_the_log_says_so_once(
    store: Store, clock: TurnableClock, caplog: pytest.LogCaptureFixture
) -> None:
    counter = UsageCounter(store.add_usage, interval=3_600, clock=clock, capacity=2)
    for _ in range(2):
        for key in range(5):
            counter.count(some_key(PROJECT, id=f"key_{key}"), ADMITTED)
    store.fails_before = OSError("away")
    with pytest.raises(OSError, match="away"):
        await counter.flush()
    counter.count(KEY, ADMITTED)  # what waits in a batch takes room as well
    assert caplog.messages == ["usage of 2 keys and hours waits to be written; no others are counted"]
    store.fails_before = None
    await counter.flush()
    assert set(await store.key_totals(PROJECT.id)) == {"key_0", "key_1"}
    assert await store.sums() == (4, 0, 0)
    counter.count(KEY, ADMITTED)
    await counter.aclose()
    assert await store.sums() == (5, 0, 0)


# -- the task that writes ----------------------------------------------------------------------------------------------


async def until(store: Store, batches: int) -> None:
    while len(store.told) < batches:  # noqa: ASYNC110  # the store knows nobody to tell
        await asyncio.sleep(0.001)


async def test_it_writes_by_itself_again_and_again_whatever_the_store_raises(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    counter = UsageCounter(store.add_usage, interval=0.001)
    counter.count(KEY, ADMITTED)
    await until(store, 1)
    store.fails_before = RuntimeError("a bug of the store")
    counter.count(KEY, ADMITTED)
    await until(store, 4)
    store.fails_before = None
    await until(store, 5)
    counter.count(KEY, ADMITTED)
    await until(store, 6)
    await counter.aclose()
    assert await store.sums() == (3, 0, 0)
    assert caplog.messages == [
        "usage cannot be written (RuntimeError('a bug of the store')); it is kept and tried again",
        "usage is written again",
    ]


async def test_a_task_that_somebody_cancelled_is_replaced(store: Store, clock: TurnableClock) -> None:
    counter = UsageCounter(store.add_usage, interval=0.001, clock=clock)
    counter.count(KEY, ADMITTED)
    (flusher,) = asyncio.all_tasks() - {asyncio.current_task()}
    flusher.cancel()
    await asyncio.wait((flusher,))
    clock.advance(seconds=1)
    counter.count(KEY, ADMITTED)
    await until(store, 1)
    await counter.aclose()
    assert await store.sums() == (2, 0, 0)


def test_on_a_new_event_loop_what_the_old_one_counted_is_written(store: Store, clock: TurnableClock) -> None:
    counter = UsageCounter(store.add_usage, interval=0.001, clock=clock)

    async def count() -> None:
        counter.count(KEY, ADMITTED)

    async def count_and_wait() -> None:
        clock.advance(seconds=1)
        counter.count(KEY, ADMITTED)
        await until(store, 1)
        await counter.aclose()

    asyncio.run(count())
    assert store.told == []
    asyncio.run(count_and_wait())
    assert asyncio.run(store.sums()) == (2, 0, 0)


async def test_closing_writes_what_is_left_and_ends_the_task(store: Store, counter: UsageCounter) -> None:
    counter.count(KEY, ADMITTED)
    await counter.aclose()
    assert await store.sums() == (1, 0, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_while_a_write_is_under_way_counts_once(store: Store) -> None:
    counter = UsageCounter(store.add_usage, interval=0.001)
    store.gate.clear()
    counter.count(KEY, ADMITTED)
    await until(store, 1)
    closing = asyncio.create_task(counter.aclose())
    await until(store, 2)
    store.gate.set()
    await closing
    assert await store.sums() == (1, 0, 0)


async def test_closing_tries_again_until_the_store_is_back(
    store: Store, counter: UsageCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "RETRY_AFTER", 0.001)
    store.fails_before = OSError("away")
    counter.count(KEY, ADMITTED)
    closing = asyncio.create_task(counter.aclose())
    await until(store, 3)
    store.fails_before = None
    await closing
    assert await store.sums() == (1, 0, 0)


@pytest.mark.parametrize("hangs", [True, False])
async def test_closing_gives_up_on_a_store_that_stays_away_and_says_what_is_missing(
    store: Store, counter: UsageCounter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hangs: bool
) -> None:
    monkeypatch.setattr(usage, "FAREWELL", 0.02)
    monkeypatch.setattr(usage, "RETRY_AFTER", 0.001)
    if hangs:
        store.gate.clear()
    store.fails_before = OSError("away")
    counter.count(KEY, ADMITTED)
    await counter.aclose()
    assert caplog.messages[-1] == "usage of 1 keys and hours was not written before the end"
    assert caplog.records[-1].levelno == logging.ERROR
    store.fails_before = None
    store.gate.set()
    await counter.aclose()  # it is still there, if the process is
    assert await store.sums() == (1, 0, 0)


def test_processes_that_fork_off_have_names_of_their_own() -> None:
    """gunicorn --preload makes the counter before it forks; two of one name would pass for each other's repetition."""
    script = """
import asyncio, os
from vc_auth.testing import some_key, some_project
from vc_auth.usage import UsageCounter

async def write(batch):
    os.write(1, batch.worker.encode() + b"\\n")  # in one piece

counter, key = UsageCounter(write), some_key(some_project())
child = os.fork()

async def main():
    counter.count(key, 0)
    await counter.aclose()

asyncio.run(main())
if child:
    os.waitpid(child, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ}
    )
    one, other = done.stdout.split()
    assert one != other


async def test_a_process_that_forked_off_counts_anew_and_under_another_name(
    store: Store, counter: UsageCounter
) -> None:
    counter.count(KEY, ADMITTED)
    await counter.flush()
    counter.count(KEY, LIMITED)
    forks._forked()  # as in the child of a real fork, see test_faults_in_a_request
    counter.count(KEY, FORBIDDEN)
    await counter.flush()
    assert await store.sums() == (1, 0, 1)
    assert len({batch.worker for batch in store.told}) == 2


# -- all of it at random -----------------------------------------------------------------------------------------------


@given(st.integers())
def test_whatever_fails_and_whenever_the_sums_are_exact(seed: int) -> None:
    asyncio.run(_a_stormy_life(random.Random(seed)))


def _trouble(store: Store, chance: random.Random) -> None:
    store.fails_before = chance.choice([None, OSError()])
    store.fails_after = chance.choice([None, OSError()])
    if chance.random() < 0.3:
        store.gate.clear()


async def _a_stormy_life(chance: random.Random) -> None:
    store, clock, keys = Store(), TurnableClock(), (KEY, OTHER)
    counter = UsageCounter(store.add_usage, interval=3_600, clock=clock)
    expected: dict[tuple[str, int], int] = {}
    flushes: list[asyncio.Task[None]] = []
    for _ in range(round(20 + 80 * min(1, SCALE))):
        deed = chance.randrange(8)
        if deed < 4:
            key, outcome = chance.choice(keys), chance.randrange(3)
            counter.count(key, outcome)
            expected[key.id, outcome] = expected.get((key.id, outcome), 0) + 1
        elif deed == 4:
            flushes.append(asyncio.create_task(counter.flush()))
        elif deed == 5:
            _trouble(store, chance)
        elif deed == 6:
            clock.step(seconds=chance.choice([-4_000, 0.7, 3_000]))
        elif flushes:
            flushes.pop(chance.randrange(len(flushes))).cancel()
        if chance.random() < 0.5:
            store.gate.set()
        await asyncio.sleep(0)
    store.fails_before = store.fails_after = None
    store.gate.set()
    await counter.aclose()
    for flush in flushes:
        flush.cancel()
    await asyncio.gather(*flushes, return_exceptions=True)
    for key in keys:
        assert await store.sums(key.id) == tuple(expected.get((key.id, outcome), 0) for outcome in range(3))
