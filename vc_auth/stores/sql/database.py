"""One SQLite file: made once, opened when it is needed, and told apart from what is not ours."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from aiosqlite import Connection as Driver
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from vc_auth.errors import StoreError
from vc_auth.stores.sql import schema
from vc_auth.stores.sql.faults import LOCKED, code_of, faults_of
from vc_auth.stores.sql.file import File
from vc_auth.stores.sql.look_ups import LookUp, Row
from vc_auth.stores.sql.pool import Pool

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]


class Database:
    """Opens itself on first use, and again on a new event loop. See `vc_auth.stores.sql.SQLKeyStore` for errors."""

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.file = File(path, busy_timeout)
        self.where = self.file.where
        self._busy_timeout = busy_timeout
        self._pool: Pool | None = None
        self._left: list[Pool] = []  # of event loops that are gone

    async def open(self) -> None:
        """Create the file if there is none. Raises StoreError if it cannot be used, BackendError if not now."""
        await self._opened(self._of_this_loop())

    async def aclose(self) -> None:
        """Close all connections. The next use opens anew."""
        pool, self._pool = self._pool, None
        if pool is not None and pool.loop is asyncio.get_running_loop():
            await pool.close()
        elif pool is not None:
            self._left.append(pool)
        await self._abandon_left()

    async def read(self, work: Work[T]) -> T:
        """What ``work`` reads."""
        pool = self._of_this_loop()
        return await self._run(pool, pool.reader.connect, work)

    async def find(self, look_up: LookUp, value: str) -> Row | None:
        """The row of this value, or None: one read of an index, in one trip to a thread."""
        pool = self._of_this_loop()
        await self._opened(pool)
        with faults_of(self.where):
            return await pool.finder.find(look_up, value)

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction that has the write lock from its beginning; commit, or roll back if it raises.

        Who is cancelled does not learn which of both; see `Pool.run`.
        """
        pool = self._of_this_loop()
        return await self._run(pool, pool.writer.begin, work)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Driver]:
        """A connection to keep, for reading. `aclose` closes it under its keeper's hands."""
        pool = self._of_this_loop()
        await self._opened(pool)
        with faults_of(self.where):
            driver = await pool.connect()
            try:
                yield driver
            finally:
                await pool.run(partial(pool.disconnect, driver))  # to its end, also if its keeper is cancelled

    async def leave(self) -> None:
        """Close the file if it is not in its place any more, and leave nothing of it there.

        SQLite would take its log for that of the file that comes in its place, and write old pages over that one
        (https://sqlite.org/howtocorrupt.html, 1.4). So what the log holds goes where it belongs, and then the log goes.
        """
        pool = self._pool
        if pool is not None and pool.is_open and not await asyncio.to_thread(self.file.is_in_place):
            await pool.finder.empty_log()
            await asyncio.to_thread(self.file.remove_log)
            if self._pool is pool:  # else another has left meanwhile
                await self.aclose()

    async def _run(
        self, pool: Pool, connected: Callable[[], AbstractAsyncContextManager[AsyncConnection]], work: Work[T]
    ) -> T:
        async def working() -> T:
            await self._opened(pool)
            with faults_of(self.where):
                async with connected() as connection:
                    return await work(connection)

        return await pool.run(working)

    # -- opening -------------------------------------------------------------------------------------------------------

    def _of_this_loop(self) -> Pool:
        if self._pool is not None and self._pool.loop is not asyncio.get_running_loop():
            self._left.append(self._pool)
            self._pool = None
        if self._pool is None:
            if self._was_open_before_a_fork():
                raise StoreError(f"{self.where} was open when this process forked off; close it before (VCAuth.aclose)")
            self._pool = Pool(self.file.path, self._busy_timeout, self.file.connect)
        return self._pool

    def _was_open_before_a_fork(self) -> bool:
        """Then SQLite believes that this process holds the locks of the one it forked off from, which it does not.

        Nothing done here would change its mind, and what was opened there must not even be closed here
        (https://sqlite.org/howtocorrupt.html, 2.6).
        """
        return any(pool.pid != os.getpid() for pool in self._left)

    async def _abandon_left(self) -> None:
        while self._left and not self._was_open_before_a_fork():
            await self._left.pop().abandon()

    async def _opened(self, pool: Pool) -> None:
        """Open, or wait for who is at it: all share what comes of it, so nobody stands in line before a locked file."""
        if pool.is_open:
            return
        if pool.opening is None or pool.opening.done():
            pool.opening = pool.start(partial(self._open, pool))
        opening = pool.opening
        await asyncio.wait((opening,))  # leaves it alone when the waiter is cancelled
        opening.result()

    async def _open(self, pool: Pool) -> None:
        await self._abandon_left()
        await asyncio.to_thread(self.file.look_at)
        try:
            with faults_of(self.where):
                await self._prepare(pool)
                await pool.finder.connect()
        except BaseException:
            await pool.dispose()  # who could not open has nothing to close
            raise
        await asyncio.to_thread(self.file.has_opened)
        pool.is_open = True

    async def _prepare(self, pool: Pool) -> None:
        async with pool.reader.connect() as connection:
            version = await self._version(connection)
            if not version and self.file.was_ours:
                raise StoreError(f"{self.where} was replaced by an empty file; put it back, or restart to begin anew")
            await self._use_wal(connection)
        if version == schema.VERSION:
            return
        async with pool.writer.begin() as connection:
            version = await self._version(connection)
            if version != schema.VERSION:  # else another process was quicker
                for statement in schema.statements(version):
                    await connection.exec_driver_sql(statement)

    async def _version(self, connection: AsyncConnection) -> int:
        """The schema's version, 0 if there is nothing yet. Raises StoreError for anything that is not ours."""
        marks = "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
        result = await connection.exec_driver_sql(f"{marks} FROM pragma_application_id, pragma_user_version")
        application, version, tables = (int(number) for number in result.one())
        if (application, version, tables) == (0, 0, 0):
            return 0
        if application != schema.APPLICATION_ID:
            raise StoreError(f"{self.where} is the database of another program; give a file of its own")
        if not 1 <= version <= schema.VERSION:
            hint = f"has schema {version}, and this version of vc_auth knows schema {schema.VERSION}; update vc_auth"
            raise StoreError(f"{self.where} {hint}")
        return version

    async def _use_wal(self, connection: AsyncConnection) -> None:
        """Let readers and the writer not wait for each other. The file remembers it, so this is done once."""
        deadline = asyncio.get_running_loop().time() + self._busy_timeout
        while True:
            try:
                await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            except OperationalError as error:
                # SQLite's own busy timeout does not hold here: who has read already is not made to wait for a lock.
                if code_of(error) not in LOCKED or asyncio.get_running_loop().time() >= deadline:
                    raise
                await asyncio.sleep(0.01)
            else:
                return
