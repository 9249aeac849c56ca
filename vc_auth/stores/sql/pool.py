"""Connections to one SQLite file for one event loop."""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from aiosqlite import Connection as Driver
from sqlalchemy import URL, event
from sqlalchemy import Connection as SyncConnection
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from vc_auth.stores.sql.faults import LASTING, code_of
from vc_auth.stores.sql.look_ups import Finder

T = TypeVar("T")

READERS: Final = 4
FAREWELL: Final = 10.0  # seconds for what a connection is still doing, such as waiting for a lock


class Pool:
    """Two engines: readers never wait for a lock (the file is in WAL mode), so writers wait apart from them.

    SQLite lets one write at a time. Of this process it is the one connection of ``writer``; the others wait for it in
    the pool, where waiting costs no thread.
    """

    def __init__(self, path: Path, busy_timeout: float, connect: Callable[[], sqlite3.Connection]) -> None:
        self.loop = asyncio.get_running_loop()
        self.pid = os.getpid()
        self.opening: asyncio.Task[None] | None = None
        self.is_open = False
        self._connect = partial(_connect, connect)
        self._closing = asyncio.Lock()
        self._drivers: set[Driver] = set()
        self.finder = Finder(self)
        self._tasks: set[asyncio.Task[Any]] = set()

        def engine(size: int, **options: bool) -> AsyncEngine:
            made = create_async_engine(
                URL.create("sqlite+aiosqlite", database=str(path)),
                async_creator=self._connect,
                hide_parameters=True,
                pool_size=size,
                max_overflow=0,
                pool_timeout=busy_timeout,
                **options,
            )
            event.listen(made.sync_engine, "connect", self._connected)
            event.listen(made.sync_engine, "close", self._closed)
            event.listen(made.sync_engine, "handle_error", _give_up)
            return made

        # Without BEGIN there is nothing to roll back, so no trip to the thread for that.
        self.reader = engine(READERS, skip_autocommit_rollback=True)
        self.writer = engine(1)
        event.listen(self.writer.sync_engine, "begin", _begin_immediate)

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work`` to its end, whatever becomes of who waits for it.

        A statement that is under way in a thread cannot be called back, and a transaction must not be left half done;
        so a waiter that is cancelled leaves at once, and the work ends by itself.
        """
        task = self.start(work)
        await asyncio.wait((task,))  # leaves the task alone when the waiter is cancelled
        return task.result()

    def start(self, work: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        """Begin ``work``; `close` waits for its end."""
        task = self.loop.create_task(_awaited(work))
        self._tasks.add(task)
        task.add_done_callback(self._landed)
        return task

    async def connect(self) -> Driver:
        """A connection for reading that goes back to nobody, until it is closed by `disconnect` or `close`."""
        driver = await self._connect()
        self._drivers.add(driver)
        return driver

    async def disconnect(self, driver: Driver) -> None:
        """Close what `connect` made.

        Under a lock, since aiosqlite waits for ever for the second of two that close a connection at once.
        """
        async with self._closing:
            self._drivers.discard(driver)
            await driver.close()

    async def close(self) -> None:
        """Let what is under way end, and close all connections."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.dispose()
        async with self._closing:
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

    def _closed(self, connection: Any, _: object) -> None:
        self._drivers.discard(connection.driver_connection)


async def _connect(connect: Callable[[], sqlite3.Connection]) -> Driver:
    driver = Driver(connect, iter_chunk_size=64)
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


def _give_up(context: ExceptionContext) -> None:
    """Connect anew after a fault that is the connection's: one that was made to a read-only file stays read-only."""
    context.is_disconnect |= code_of(context.original_exception) in LASTING


def _begin_immediate(connection: SyncConnection) -> None:
    """Take the write lock first: what a verb then reads stays true until it commits."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
