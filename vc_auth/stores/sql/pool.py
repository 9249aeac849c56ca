"""Connections to one SQLite file for one event loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiosqlite
from aiosqlite import Connection as Driver
from sqlalchemy import URL, ColumnElement, Select, bindparam, event
from sqlalchemy import Connection as SyncConnection
from sqlalchemy.dialects.sqlite.aiosqlite import dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

T = TypeVar("T")
Work = Callable[[], Awaitable[Any]]
Found = dict[str, Sequence[Any]]
Row = dict[str, Any]

SEATS: Final = 32  # look-ups that share a trip; an empty seat costs 0.4 us
READERS: Final = 4
FAREWELL: Final = 10.0  # seconds for what a connection is still doing, such as waiting for a lock


class LookUp:
    """A select by a column of unique values, compiled once: what is said to SQLite, and how its answer is read.

    SQLAlchemy makes four trips to a connection's thread for a statement; this is for what has to take one.
    """

    def __init__(self, rows: Select[*tuple[Any, ...]], by: ColumnElement[str]) -> None:
        sqlite = dialect()
        seats = [bindparam(None, type_=by.type) for _ in range(SEATS)]
        self.sql = str(rows.where(by.in_(seats)).compile(dialect=sqlite))
        self.by = list(rows.selected_columns).index(by)
        self._columns = [
            (name, column.type.dialect_impl(sqlite).result_processor(sqlite, None))
            for name, column in rows.selected_columns.items()
        ]

    def row(self, values: Sequence[Any]) -> Row:
        """A row of SQLite's answer, by the names of its columns."""
        pairs = zip(self._columns, values, strict=True)
        return {name: value if read is None else read(value) for (name, read), value in pairs}


class Finder:
    """Executes a look-up over a connection that is there for nothing else, one trip to its thread at a time.

    What is asked for while a trip is under way goes together on the next one. Who is cancelled by then stays behind, so
    a disk that hangs gathers no backlog.
    """

    def __init__(self, driver: Driver, look_up: LookUp, start: Callable[[Work], object]) -> None:
        self._driver = driver
        self._look_up = look_up
        self._start = start
        self._waiting: dict[asyncio.Future[Found | Exception], str] = {}
        self._is_away = False

    async def find(self, value: str) -> Row | None:
        """The row of this value. Raises what the driver raises."""
        answer: asyncio.Future[Found | Exception] = asyncio.get_running_loop().create_future()
        self._waiting[answer] = value
        if not self._is_away:
            self._is_away = True
            self._start(self._travel)
        try:
            found = await answer
        finally:
            self._waiting.pop(answer, None)
        if isinstance(found, Exception):
            raise found
        return self._look_up.row(found[value]) if value in found else None

    async def _travel(self) -> None:
        while self._waiting:
            answers = list(islice(self._waiting, SEATS))
            found = await self._ask([self._waiting.pop(answer) for answer in answers])
            for answer in answers:
                if not answer.done():
                    answer.set_result(found)
        self._is_away = False

    async def _ask(self, values: Sequence[str]) -> Found | Exception:
        seats = [*values, *[None] * (SEATS - len(values))]
        try:
            rows = await self._driver.execute_fetchall(self._look_up.sql, seats)
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait have to hear of it
            return error
        return {row[self._look_up.by]: row for row in rows}


class Pool:
    """Two engines: readers never wait for a lock (the file is in WAL mode), so writers wait apart from them.

    SQLite lets one write at a time. Of this process it is the one connection of ``writer``; the others wait for it in
    the pool, where waiting costs no thread.
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.opening: asyncio.Task[None] | None = None
        self.is_open = False
        self._connect = partial(_connect, path, busy_timeout)
        self._keeping = asyncio.Lock()
        self._drivers: set[Driver] = set()
        self._finding: Driver
        self._finders: dict[LookUp, Finder] = {}
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
        task = self.start(work)
        await asyncio.wait((task,))  # leaves the task alone when the waiter is cancelled
        return task.result()

    def start(self, work: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        """Begin ``work``; `close` waits for its end."""
        task = self.loop.create_task(_awaited(work))
        self._tasks.add(task)
        task.add_done_callback(self._landed)
        return task

    async def open_finders(self) -> None:
        """Connect for look-ups. Nobody borrows this connection, so it stays until the pool is closed."""
        self._finding = await self._connect()
        self._drivers.add(self._finding)

    def finder(self, look_up: LookUp) -> Finder:
        """Who executes this look-up."""
        if look_up not in self._finders:
            self._finders[look_up] = Finder(self._finding, look_up, self.start)
        return self._finders[look_up]

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
