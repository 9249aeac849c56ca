"""A cache before a store that tells its changes: what others change is forgotten, and silence is distrusted."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from vc_auth.cache import CacheOptions
from vc_auth.errors import BackendError
from vc_auth.records import KeyRecord
from vc_auth.stores import CachedKeyStore, MemoryKeyStore
from vc_auth.stores.changes import Change, Everything, KeyChanged, ProjectChanged
from vc_auth.testing import TurnableClock, some_key, some_project

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Telling(MemoryKeyStore):
    """A memory store whose feed says what the test says; a BackendError is raised there."""

    def __init__(self) -> None:
        super().__init__()
        self.feed: asyncio.Queue[list[Change] | BackendError | None] = asyncio.Queue()
        self.subscribed = 0
        self.third_begin = asyncio.Event()
        self.closed = 0

    async def changes(self) -> AsyncGenerator[list[Change], None]:
        self.subscribed += 1
        try:
            while True:
                batch = await self.feed.get()
                if batch is None:
                    return
                if isinstance(batch, BackendError):
                    raise batch
                yield batch
                if self.subscribed >= 3:
                    self.third_begin.set()
        finally:
            self.closed += 1

    async def tell(self, *batch: Change) -> None:
        self.feed.put_nowait(list(batch))
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
def store() -> Telling:
    return Telling()


@asynccontextmanager
async def followed(store: Telling, clock: TurnableClock) -> AsyncIterator[tuple[CachedKeyStore, KeyRecord, KeyRecord]]:
    """A cache that follows, and two keys of two projects that it remembers as alive, while both are revoked already."""
    cached = CachedKeyStore(store, CacheOptions(clock=clock))
    keys = []
    for name in ("acme", "other"):
        await store.add_project(project := some_project(name))
        await store.add_key(key := some_key(project))
        keys.append(key)
    cached.start()
    await store.tell()
    for key in keys:
        assert await cached.find(key.digest) == key
        await store.revoke_key(key.id, NOW)  # elsewhere: the cache is not asked
        assert await cached.find(key.digest) == key
    yield cached, keys[0], keys[1]
    await cached.aclose()
    assert store.closed == store.subscribed


async def test_a_change_of_a_key_is_forgotten_and_no_other(store: Telling, clock: TurnableClock) -> None:
    async with followed(store, clock) as (cached, key, other):
        await store.tell(KeyChanged(key.digest))
        assert await cached.find(key.digest) == replace(key, revoked_at=NOW)
        assert await cached.find(other.digest) == other


async def test_a_change_of_a_project_is_forgotten_for_all_of_its_keys(store: Telling, clock: TurnableClock) -> None:
    async with followed(store, clock) as (cached, key, other):
        await store.tell(ProjectChanged(key.project.id))
        assert await cached.find(key.digest) == replace(key, revoked_at=NOW)
        assert await cached.find(other.digest) == other


async def test_after_a_gap_everything_is_forgotten(store: Telling, clock: TurnableClock) -> None:
    async with followed(store, clock) as (cached, key, other):
        await store.tell(Everything())
        for changed in (key, other):
            assert await cached.find(changed.digest) == replace(changed, revoked_at=NOW)


async def test_heartbeats_keep_what_is_remembered_and_silence_has_it_read_again(
    store: Telling, clock: TurnableClock
) -> None:
    async with followed(store, clock) as (cached, key, _):
        for _ in range(20):
            clock.advance(seconds=0.25)
            await store.tell()
        assert await cached.find(key.digest) == key
        clock.advance(seconds=1)
        assert await cached.find(key.digest) == replace(key, revoked_at=NOW)


@pytest.mark.parametrize("end", [BackendError("cut"), None])
async def test_a_feed_that_was_cut_is_taken_up_again_and_what_was_remembered_before_is_forgotten(
    store: Telling,
    clock: TurnableClock,
    end: BackendError | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("vc_auth.stores.following.RETRY_AFTER", 0)
    async with followed(store, clock) as (cached, key, _):
        batches: list[list[Change] | BackendError | None] = [end, end, [], []]
        for batch in batches:
            store.feed.put_nowait(batch)
        await asyncio.wait_for(store.third_begin.wait(), 10)
        assert await cached.find(key.digest) == replace(key, revoked_at=NOW)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 2, "one line for the cut, and one for its end"
    assert said[0].startswith("changes of the key store cannot be followed")
    assert said[1] == "changes of the key store are followed again"


async def test_it_follows_again_after_it_was_closed(store: Telling, clock: TurnableClock) -> None:
    async with followed(store, clock) as (cached, key, _):
        await cached.aclose()
        assert store.closed == 1
        assert await cached.find(key.digest) == replace(key, revoked_at=NOW)
        await store.tell()
        assert store.subscribed == 2


def test_a_new_event_loop_follows_anew(clock: TurnableClock) -> None:
    store = Telling()
    cached = CachedKeyStore(store, CacheOptions(clock=clock))

    async def look_up() -> None:
        store.feed = asyncio.Queue()
        await cached.find("digest")
        await store.tell()

    for loops in (1, 2, 3):
        asyncio.run(look_up())
        assert store.subscribed == store.closed == loops
    asyncio.run(cached.aclose())
