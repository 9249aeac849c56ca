"""Four workers count on one SQLite file: the sums are exact, whatever happens to the file and to them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from serving import Client, Uvicorn, keep_busy, locked, meet
from support import SCALE

from vc_auth import Settings, VCAuth

WORKERS = 4
REQUESTS = WORKERS * max(250, round(1_000 * SCALE))  # 4 x 10,000 in the soak
INTERVAL = 0.2  # seconds between two writes


@pytest.fixture
async def auth(tmp_path: Path) -> AsyncIterator[VCAuth]:
    async with VCAuth(Settings(store=f"sqlite:///{tmp_path / 'keys.db'}", limiter="none")) as auth:
        await auth.registry.create_project("acme")
        yield auth


@pytest.fixture
async def keys(auth: VCAuth) -> list[str]:
    return [(await auth.registry.create_key("acme", f"key {number}")).secret.reveal() for number in range(3)]


@pytest.fixture
def server(auth: VCAuth, tmp_path: Path) -> Iterator[Uvicorn]:
    settings = {"store": auth.settings.store, "limiter": "none", "usage_flush_interval": str(INTERVAL)}
    with Uvicorn(tmp_path, WORKERS, **settings) as server:
        yield server


async def counted(auth: VCAuth) -> int:
    """What the file says, of the project and of its keys together."""
    of_project = sum(hour.admitted for hour in await auth.registry.usage("acme", by="hour"))
    of_keys = sum(total.requests for total in (await auth.registry.key_totals("acme")).values())
    assert of_project == of_keys
    return of_project


def all_served(server: Uvicorn) -> int:
    return sum(map(len, server.served().values()))


async def until(happened: Callable[[], bool]) -> None:
    while not happened():  # noqa: ASYNC110  # the workers have nobody to tell
        await asyncio.sleep(0.01)


async def stop_under_load(server: Uvicorn, end_of_load: asyncio.Event) -> None:
    """Stop it; the load goes on until every worker has begun to.

    And no longer: uvicorn overlooks a connection that it accepts while it begins, and serves it as long as it is used.
    """
    stopping = asyncio.create_task(asyncio.to_thread(server.stop))
    await until(lambda: stopping.done() or server.log.count("Shutting down") >= WORKERS)
    end_of_load.set()
    await stopping


async def test_the_sums_of_all_workers_are_exact_after_a_stop(server: Uvicorn, auth: VCAuth, keys: list[str]) -> None:
    async def send(client: Client) -> None:
        for number in range(REQUESTS // WORKERS):
            assert (await client.get(keys[number % len(keys)]))[0] == 200
        await client.close()

    await asyncio.gather(*map(send, await meet(server.port, WORKERS, keys[0])))
    await asyncio.to_thread(server.stop)
    assert min(map(len, server.served().values())) >= REQUESTS // WORKERS
    assert await counted(auth) == all_served(server)


async def test_a_stop_under_load_loses_nothing(server: Uvicorn, auth: VCAuth, keys: list[str]) -> None:
    load = asyncio.create_task(keep_busy(server.port, keys, 100 * REQUESTS, end=(end := asyncio.Event())))
    await until(lambda: all_served(server) >= REQUESTS // 2)
    await stop_under_load(server, end)
    admitted = await load
    assert REQUESTS // 2 <= admitted <= all_served(server)
    assert await counted(auth) == all_served(server)


async def test_a_file_that_is_locked_for_a_while_under_load_loses_nothing(
    server: Uvicorn, auth: VCAuth, keys: list[str], tmp_path: Path
) -> None:
    before = await keep_busy(server.port, keys, REQUESTS // 4)
    with locked(tmp_path / "keys.db"):
        during = await keep_busy(server.port, keys, REQUESTS // 2)
        if SCALE >= 1:  # as long as the contract speaks of, and longer than SQLite itself waits
            server.wait_for("usage cannot be written")
    after = await keep_busy(server.port, keys, REQUESTS // 4)
    assert (before, during, after) == (REQUESTS // 4, REQUESTS // 2, REQUESTS // 4), "usage is nobody's to wait for"
    await asyncio.to_thread(server.stop)
    assert await counted(auth) == REQUESTS


async def test_a_worker_that_is_killed_loses_what_it_counted_since_its_last_flush_at_most(
    server: Uvicorn, auth: VCAuth, keys: list[str]
) -> None:
    load = asyncio.create_task(keep_busy(server.port, keys, 100 * REQUESTS, end=(end := asyncio.Event())))
    await until(lambda: all_served(server) >= REQUESTS // 2)
    times = server.served()
    victim = max(times, key=lambda pid: len(times[pid]))
    await until(lambda: len(server.flushed()[victim]) >= 2)  # so that there is something that must not be lost
    os.kill(victim, signal.SIGKILL)
    server.wait_for("Application startup complete.", WORKERS + 1)
    await stop_under_load(server, end)
    await load
    assert len(server.pids) == WORKERS + 1, "nobody else was replaced"
    since_last_flush = [time for time in server.served()[victim] if time > server.flushed()[victim][-1]]
    lost = all_served(server) - await counted(auth)
    assert 0 <= lost <= len(since_last_flush), server.log
