"""Connections to one SQLite file for one event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiosqlite
from aiosqlite import Connection as Driver
from sqlalchemy import URL, event
from sqlalchemy import Connection as SyncConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

T = TypeVar("T")

READERS: Final = 4
FAREWELL: Final = 10.0  # seconds for what a connection is still doing, such as waiting for a lock


class Pool:
    """Two engines: readers never wait for a lock (the file is in WAL mode), so writers wait apart from them.

    SQLite lets one write at a time. Of this process it is the one connection of ``writer``; the others wait for it in
    the pool, where waiting costs no thread.
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.opening = asyncio.Lock()
        self.is_open = False
        self._keeping = asyncio.Lock()
        self._drivers: set[Driver] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

        def engine(size: int, **options: bool) -> AsyncEngine:
            made = create_async_engine(
                URL.create("sqlite+aiosqlite", database=str(path)),
                async_creator=partial(_connect, path, busy_timeout),
                hide_parameters=True,
                pool_size=size,
                max_overflow=0,
                pool_timeout=busy_timeout,
                **options,
            )
            event.listen(made.sync_engine, "connect", self._connected)
            event.listen(made.sync_engine, "close", self._closed)
            return made

        # One for the feed, for good. Without BEGIN there is nothing to roll back, so no trip to the thread for that.
        self.reader = engine(READERS + 1, skip_autocommit_rollback=True)
        self.writer = engine(1)
        event.listen(self.writer.sync_engine, "begin", _begin_immediate)

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work`` to its end, whatever becomes of who waits for it.

        A statement that is under way in a thread cannot be called back, and a transaction must not be left half done;
        so a waiter that is cancelled leaves at once, and the work ends by itself.
        """
        task = self.loop.create_task(_awaited(work))
        self._tasks.add(task)
        task.add_done_callback(self._landed)
        await asyncio.wait((task,))  # leaves the task alone when the waiter is cancelled
        return task.result()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading that goes back to nobody, and that `close` may close under its keeper's hands.

        Under a lock, since aiosqlite waits for ever for the second of two that close a connection at once.
        """
        async with self._keeping:
            connection = await self.reader.connect()
        try:
            yield connection
        finally:
            await self.run(partial(self._let_go, connection))  # to its end, also if the keeper is cancelled meanwhile

    async def close(self) -> None:
        """Let what is under way end, and close all connections."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.dispose()
        async with self._keeping:
            await self._stop()

    async def dispose(self) -> None:
        """Close the connections that nobody uses."""
        await self.reader.dispose()
        await self.writer.dispose()

    async def abandon(self) -> None:
        """Close all connections, when the loop that they belong to is not the running one."""
        self.reader.sync_engine.dispose(close=False)
        self.writer.sync_engine.dispose(close=False)
        await self._stop()

    async def _let_go(self, connection: AsyncConnection) -> None:
        async with self._keeping:
            await connection.invalidate()
            await connection.close()

    async def _stop(self) -> None:
        drivers = list(self._drivers)
        self._drivers.clear()
        for driver in drivers:
            driver.stop()
        await _ended(*drivers)

    def _landed(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # perhaps nobody waits any more, and then nobody is to be warned

    def _connected(self, connection: Any, _: object) -> None:
        self._drivers.add(connection.driver_connection)
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        # FULL syncs each commit: with NORMAL a power cut could bring a revoked key back to life.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    def _closed(self, connection: Any, _: object) -> None:
        self._drivers.discard(connection.driver_connection)


async def _connect(path: Path, busy_timeout: float) -> Driver:
    # mode=rw: it is created elsewhere, with the mode that it should have. isolation_level=None: no BEGIN but ours.
    driver = aiosqlite.connect(f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, timeout=busy_timeout)
    driver._thread.daemon = True  # who never closes the store can end all the same
    try:
        return await driver
    except BaseException:
        await _ended(driver)  # it has told its thread to end
        raise


async def _ended(*drivers: Driver) -> None:
    """Let the threads end before the loop does, to which they still have something to say.

    In the executor, because `asyncio.run` waits for that also when all tasks are cancelled.
    """

    def join() -> None:
        for driver in drivers:
            driver._thread.join(FAREWELL)

    await asyncio.to_thread(join)


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _begin_immediate(connection: SyncConnection) -> None:
    """Take the write lock first: what a verb then reads stays true until it commits."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
