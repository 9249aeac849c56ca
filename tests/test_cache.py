"""The read-through cache: slow, failing and hanging sources, changes under way, cancelled waiters."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from vc_auth.cache import CacheOptions, ReadThroughCache
from vc_auth.errors import BackendError
from vc_auth.testing import TurnableClock


class Source:
    """A source of values whose look-ups end when the test says so."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.asked: list[str] = []
        self.failure: BaseException | None = None
        self.gate: asyncio.Event | None = None

    async def fetch(self, key: str) -> str | None:
        self.asked.append(key)
        value = self.values.get(key)  # it is read now, and brought back later
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return value

    def hold(self) -> Callable[[], None]:
        """Let look-ups hang until what is returned is called."""
        gate = self.gate = asyncio.Event()

        def release() -> None:
            self.gate = None
            gate.set()

        return release


@pytest.fixture
def source() -> Source:
    source = Source()
    source.values["key"] = "value"
    return source


@pytest.fixture
def options(clock: TurnableClock) -> CacheOptions:
    return CacheOptions(clock=clock, timeout=30)


def cache_of(source: Source, options: CacheOptions) -> ReadThroughCache[str]:
    return ReadThroughCache(source.fetch, options)


async def started(*coroutines: Coroutine[Any, Any, str | None]) -> list[asyncio.Task[str | None]]:
    """Tasks that have run until they wait for something."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_a_value_is_asked_for_once_in_its_time(
    source: Source, options: CacheOptions, clock: TurnableClock
) -> None:
    cache = cache_of(source, options)
    for _ in range(3):
        assert await cache.find("key") == "value"
        clock.advance(seconds=19.9)
    assert source.asked == ["key"]
    clock.advance(seconds=0.3)
    source.values["key"] = "newer"
    assert await cache.find("key") == "newer"
    assert source.asked == ["key", "key"]


async def test_an_unknown_key_is_asked_for_once_in_its_own_time(
    source: Source, options: CacheOptions, clock: TurnableClock
) -> None:
    cache = cache_of(source, options)
    for _ in range(3):
        assert await cache.find("stranger") is None
        clock.advance(seconds=1.6)
    assert source.asked == ["stranger"]
    clock.advance(seconds=0.3)
    assert await cache.find("stranger") is None
    assert source.asked == ["stranger", "stranger"]


async def test_guesses_evict_no_customer(source: Source, options: CacheOptions) -> None:
    cache = cache_of(source, replace(options, size=2, negative_size=2))
    await cache.find("key")
    for number in range(100):
        await cache.find(f"guess {number}")
    source.asked.clear()
    assert await cache.find("key") == "value"
    assert source.asked == []


async def test_the_least_recently_used_value_is_evicted(source: Source, options: CacheOptions) -> None:
    source.values.update({"a": "1", "b": "2", "c": "3"})
    cache = cache_of(source, replace(options, size=2))
    for key in ("a", "b", "a", "c", "a", "b"):
        await cache.find(key)
    assert source.asked == ["a", "b", "c", "b"]


async def test_requests_for_one_key_share_one_look_up(source: Source, options: CacheOptions) -> None:
    cache = cache_of(source, options)
    release = source.hold()
    waiters = await started(*(cache.find("key") for _ in range(100)))
    release()
    assert await asyncio.gather(*waiters) == ["value"] * 100
    assert source.asked == ["key"]


async def test_a_cancelled_waiter_harms_nobody(source: Source, options: CacheOptions) -> None:
    cache = cache_of(source, options)
    release = source.hold()
    first, second = await started(cache.find("key"), cache.find("key"))
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    release()
    assert await second == "value"
    assert source.asked == ["key"]


async def test_a_look_up_that_nobody_waits_for_any_more_still_ends_and_fills_the_cache(
    source: Source, options: CacheOptions
) -> None:
    cache = cache_of(source, options)
    release = source.hold()
    (only,) = await started(cache.find("key"))
    only.cancel()
    release()
    await asyncio.wait([only])
    assert await cache.find("key") == "value"
    assert source.asked == ["key"]


@pytest.mark.parametrize("after", ["forgotten", "forgotten by a predicate"])
async def test_what_is_forgotten_while_it_is_loaded_is_neither_answered_nor_kept(
    source: Source, options: CacheOptions, after: str
) -> None:
    cache = cache_of(source, options)
    release = source.hold()
    (early,) = await started(cache.find("key"))
    source.values["key"] = "changed"
    if after == "forgotten":
        cache.forget("key")
    else:
        cache.forget_where(lambda value: value == "some other")
    release()
    assert await cache.find("key") == "changed"
    assert await early == "changed"
    assert await cache.find("key") == "changed"


async def test_forgetting_by_a_predicate_spares_the_others(source: Source, options: CacheOptions) -> None:
    source.values.update({"a": "apple", "b": "berry"})
    cache = cache_of(source, options)
    for key in ("a", "b"):
        await cache.find(key)
    cache.forget_where(lambda value: value == "apple")
    for key in ("a", "b"):
        await cache.find(key)
    assert source.asked == ["a", "b", "a"]


async def test_an_unknown_key_that_is_forgotten_is_asked_for_again(source: Source, options: CacheOptions) -> None:
    cache = cache_of(source, options)
    for key in ("new", "stranger"):
        await cache.find(key)
    source.values["new"] = "value"
    cache.forget("new")
    for key in ("new", "stranger"):
        await cache.find(key)
    assert source.asked == ["new", "stranger", "new"]


async def test_forgetting_everything_spares_neither_known_nor_unknown_nor_what_is_under_way(
    source: Source, options: CacheOptions
) -> None:
    cache = cache_of(source, options)
    for key in ("key", "stranger"):
        await cache.find(key)
    release = source.hold()
    (early,) = await started(cache.find("new"))
    source.values = {"key": "newer", "stranger": "met", "new": "newer"}
    cache.forget_all()
    release()
    assert [await cache.find(key) for key in ("key", "stranger", "new")] == ["newer", "met", "newer"]
    assert await early == "newer"


async def test_a_key_that_vanishes_becomes_unknown(source: Source, options: CacheOptions, clock: TurnableClock) -> None:
    cache = cache_of(source, options)
    await cache.find("key")
    del source.values["key"]
    clock.advance(seconds=60)
    assert await cache.find("key") is None
    assert await cache.find("key") is None
    assert source.asked == ["key", "key"], "it is as unknown as one that never was"
    source.values["key"] = "back"
    clock.advance(seconds=5)
    assert await cache.find("key") == "back"


async def test_a_key_that_comes_to_be_leaves_its_place_among_the_unknown(
    source: Source, options: CacheOptions, clock: TurnableClock
) -> None:
    cache = cache_of(source, replace(options, negative_size=2))
    await cache.find("new")
    clock.advance(seconds=5)
    await cache.find("stranger")
    source.values["new"] = "value"
    assert await cache.find("new") == "value"
    await cache.find("another")
    source.asked.clear()
    assert await cache.find("stranger") is None
    assert source.asked == []


async def test_strangers_beyond_64_look_ups_are_turned_away_and_known_keys_wait_for_their_turn(
    source: Source, options: CacheOptions, clock: TurnableClock
) -> None:
    cache = cache_of(source, options)
    await cache.find("key")
    clock.advance(seconds=60)
    source.asked.clear()
    release = source.hold()
    strangers = await started(*(cache.find(f"stranger {number}") for number in range(80)))
    (known,) = await started(cache.find("key"))
    assert len(source.asked) == 64
    turned_away = [task for task in strangers if task.done()]
    assert len(turned_away) == 16
    for task in turned_away:
        with pytest.raises(BackendError, match="64 look-ups are under way already"):
            await task
    release()
    assert await known == "value"
    assert await asyncio.gather(*(task for task in strangers if task not in turned_away)) == [None] * 64


async def test_a_failing_source_is_an_error_for_strangers_and_stale_values_go_on_for_a_while(
    source: Source, options: CacheOptions, clock: TurnableClock, caplog: pytest.LogCaptureFixture
) -> None:
    cache = cache_of(source, options)
    await cache.find("key")
    clock.advance(seconds=60)
    source.failure = OSError("no route to host")
    with caplog.at_level(logging.WARNING):
        assert await cache.find("key") == "value"
        with pytest.raises(BackendError, match="no route to host"):
            await cache.find("stranger")
        clock.advance(seconds=29.999)
        assert await cache.find("key") == "value"
        clock.advance(seconds=0.001)
        with pytest.raises(BackendError, match="no route to host"):
            await cache.find("key")
        source.failure = None
        assert await cache.find("key") == "value"
    assert [record.getMessage().split(";")[0] for record in caplog.records if record.name == "vc_auth"] == [
        "key store unreachable (OSError('no route to host'))",
        "key store reachable again",
    ]


@pytest.fixture
async def stale_cache(source: Source, options: CacheOptions, clock: TurnableClock) -> ReadThroughCache[str]:
    """A cache that has just found its source away; what it knows is stale."""
    cache = cache_of(source, options)
    await cache.find("key")
    clock.advance(seconds=60)
    source.failure = OSError()
    await cache.find("key")
    source.asked.clear()
    return cache


async def test_while_the_source_is_away_known_values_wait_for_nothing_and_one_probe_goes_out_each_500_ms(
    source: Source, stale_cache: ReadThroughCache[str], clock: TurnableClock
) -> None:
    release = source.hold()
    for _ in range(10):
        assert await asyncio.wait_for(stale_cache.find("key"), 10) == "value"
    assert source.asked == []
    clock.advance(seconds=0.5)
    for _ in range(10):
        assert await asyncio.wait_for(stale_cache.find("key"), 10) == "value"
        await asyncio.sleep(0)
    assert source.asked == ["key"]
    source.failure = None
    release()
    await started()
    clock.advance(seconds=30)
    assert await stale_cache.find("key") == "value", "the probe has verified it"
    assert source.asked == ["key"]


async def test_a_probe_that_fails_is_followed_by_none_for_500_ms(
    source: Source, stale_cache: ReadThroughCache[str], clock: TurnableClock
) -> None:
    for _ in range(4):
        clock.advance(seconds=0.25)
        for _ in range(3):
            assert await stale_cache.find("key") == "value"
            await started()
    assert source.asked == ["key", "key"]


async def test_every_outage_is_told_anew_in_200_characters_and_stale_values_go_on_in_each(
    source: Source, options: CacheOptions, clock: TurnableClock, caplog: pytest.LogCaptureFixture
) -> None:
    cache = cache_of(source, options)
    await cache.find("key")
    for letter in "ab":
        clock.advance(seconds=60)
        source.failure = OSError(letter * 1_000)
        assert await cache.find("key") == "value"
        with pytest.raises(BackendError, match=rf"^OSError\('{letter}{{191}}$"):
            await cache.find("stranger")
        source.failure = None
        assert await cache.find("stranger") is None
    assert [record.getMessage()[:30] for record in caplog.records if record.levelno == logging.WARNING] == [
        "key store unreachable (OSError",
        "key store reachable again",
    ] * 2


async def test_stale_if_error_of_zero_is_not_at_all(
    source: Source, options: CacheOptions, clock: TurnableClock
) -> None:
    cache = cache_of(source, replace(options, stale_if_error=0))
    await cache.find("key")
    clock.advance(seconds=60)
    source.failure = OSError()
    with pytest.raises(BackendError):
        await cache.find("key")


async def test_a_value_that_was_forgotten_while_it_was_asked_for_again_does_not_go_on(
    source: Source, options: CacheOptions, clock: TurnableClock
) -> None:
    cache = cache_of(source, options)
    await cache.find("key")
    clock.advance(seconds=60)
    release = source.hold()
    (early,) = await started(cache.find("key"))
    source.failure = OSError()
    cache.forget("key")
    release()
    with pytest.raises(BackendError):
        await early
    with pytest.raises(BackendError):
        await cache.find("key")


async def test_a_hanging_source_is_given_up_after_the_timeout(source: Source, options: CacheOptions) -> None:
    cache = cache_of(source, replace(options, timeout=0.01))
    source.hold()
    with pytest.raises(BackendError, match=r"no answer within 0\.01 s"):
        await cache.find("key")


async def test_a_look_up_that_is_cancelled_by_its_source_is_an_error_and_no_answer(
    source: Source, options: CacheOptions
) -> None:
    source.failure = asyncio.CancelledError()
    with pytest.raises(BackendError, match=r"^the look-up was cancelled$"):
        await cache_of(source, options).find("key")


async def test_without_a_heartbeat_nothing_is_used_that_was_asked_for_more_than_a_second_ago(
    source: Source, options: CacheOptions, clock: TurnableClock
) -> None:
    cache = cache_of(source, options)
    cache.distrust()
    assert await cache.find("key") == "value"
    cache.trust()
    for _ in range(8):  # a heartbeat each 250 ms keeps it for as long as it likes
        clock.advance(seconds=0.25)
        assert await cache.find("key") == "value"
        cache.trust()
    assert source.asked == ["key"]
    clock.advance(seconds=0.499999)
    assert await cache.find("key") == "value"
    assert source.asked == ["key"]
    clock.advance(us=1)
    assert await cache.find("key") == "value"
    assert source.asked == ["key", "key"], "the feed is dead, and the value is two seconds old"
    clock.advance(seconds=0.999999)
    await cache.find("key")
    assert source.asked == ["key", "key"]
    clock.advance(us=1)
    await cache.find("key")
    assert source.asked == ["key", "key", "key"]


async def test_closing_ends_what_is_under_way_and_whoever_waits_asks_again(
    source: Source, options: CacheOptions
) -> None:
    cache = cache_of(source, options)
    release = source.hold()
    (waiter,) = await started(cache.find("key"))
    await cache.aclose()
    release()
    assert await waiter == "value"
    assert source.asked == ["key", "key"]
    await cache.aclose()


async def test_closing_waits_until_what_is_under_way_has_left(options: CacheOptions) -> None:
    left = []

    async def fetch(key: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await started()
            left.append(key)

    cache: ReadThroughCache[str] = ReadThroughCache(fetch, options)
    await started(cache.find("a"), cache.find("b"))
    await cache.aclose()
    assert sorted(left) == ["a", "b"]


def test_closing_in_another_event_loop_leaves_the_look_ups_of_the_old_one_alone(
    source: Source, options: CacheOptions
) -> None:
    cache = cache_of(source, options)
    release = source.hold()
    with asyncio.Runner() as runner:
        (waiter,) = runner.run(started(cache.find("key")))
        asyncio.run(cache.aclose())
        release()
        assert runner.run(asyncio.wait_for(waiter, 10)) == "value"


def test_a_new_event_loop_does_not_wait_for_look_ups_of_an_old_one(source: Source, options: CacheOptions) -> None:
    cache = cache_of(source, options)

    async def ask_again() -> str | None:
        source.gate = None
        return await asyncio.wait_for(cache.find("key"), 10)

    with asyncio.Runner() as old:
        source.hold()
        old.run(started(cache.find("key")))
        assert asyncio.run(ask_again()) == "value"


async def test_a_peek_asks_nobody(source: Source, options: CacheOptions, clock: TurnableClock) -> None:
    cache = cache_of(source, options)
    assert cache.peek("key") is None
    assert source.asked == []
    assert await cache.find("key") == "value"
    assert cache.peek("key") == "value"
    clock.advance(seconds=60)
    assert cache.peek("key") is None
