"""One SQLite file: made once, opened when it is needed, and told apart from what is not ours."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from aiosqlite import Connection as Driver
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from vc_auth.errors import BackendError, StoreError
from vc_auth.stores.sql import schema
from vc_auth.stores.sql.faults import LOCKED, code_of, faults_of
from vc_auth.stores.sql.look_ups import LookUp, Row
from vc_auth.stores.sql.pool import Pool

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]
Identity = tuple[int, int]  # the device and the number of a file, whatever its name

_creating: Final = threading.Lock()


class Database:
    """Opens itself on first use, and again on a new event loop. See `vc_auth.stores.sql.SQLKeyStore` for errors."""

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.path = path.absolute()
        self.where = f"the key store {str(self.path)!r}"
        self._busy_timeout = busy_timeout
        self._pool: Pool | None = None
        self._left: list[Pool] = []  # of event loops that are gone
        self._log = [self.path.with_name(f"{self.path.name}{end}") for end in ("-wal", "-shm")]
        self._identity: Identity | None = None  # of the file that was looked at last
        self._log_identity: list[Identity | None] = []
        self._orphaned_log: list[Identity | None] = []
        self._was_ours = False

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

        async def reading() -> T:
            await self._opened(pool)
            with faults_of(self.where):
                async with pool.reader.connect() as connection:
                    return await work(connection)

        return await pool.run(reading)

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

        async def writing() -> T:
            await self._opened(pool)
            with faults_of(self.where):
                async with pool.writer.begin() as connection:
                    return await work(connection)

        return await pool.run(writing)

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

    def is_in_place(self) -> bool:
        """Whether the path still names the file that was opened, and its log. Asks the disk: not for the loop's thread.

        As long as anybody has the file open, SQLite keeps the log that lies beside it; if it is another, we are alone.
        """
        return self._is_there() and self._identity_of_log() == self._log_identity

    async def leave(self) -> None:
        """Close the file if it is not in its place any more, and leave nothing of it there.

        SQLite would take its log for that of the file that comes in its place, and write old pages over that one
        (https://sqlite.org/howtocorrupt.html, 1.4). So what the log holds goes where it belongs, and then the log goes.
        """
        pool = self._pool
        if pool is not None and pool.is_open and not await asyncio.to_thread(self.is_in_place):
            await pool.finder.empty_log()
            await asyncio.to_thread(self._remove_log)
            if self._pool is pool:  # else another has left meanwhile
                await self.aclose()

    def _remove_log(self) -> None:
        with suppress(OSError):  # another process may be at it
            if self._identity_of_log() != self._log_identity:
                return  # another process has removed it, and perhaps begun a new one
            if self._log[0].stat().st_size > 0:
                self._orphaned_log = self._log_identity
                return
            for file in self._log:
                file.unlink()

    def _identity_of_log(self) -> list[Identity | None]:
        return [_identity(file) for file in self._log]

    # -- opening -------------------------------------------------------------------------------------------------------

    def _of_this_loop(self) -> Pool:
        if self._pool is not None and self._pool.loop is not asyncio.get_running_loop():
            self._left.append(self._pool)
            self._pool = None
        if self._pool is None:
            self._pool = Pool(self.path, self._busy_timeout, self._connect)
        return self._pool

    async def _abandon_left(self) -> None:
        while self._left:
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
        await asyncio.to_thread(self._look_at_file)
        try:
            with faults_of(self.where):
                await self._prepare(pool)
                await pool.finder.connect()
        except BaseException:
            await pool.dispose()  # who could not open has nothing to close
            raise
        self._log_identity = await asyncio.to_thread(self._identity_of_log)
        self._was_ours = pool.is_open = True

    def _look_at_file(self) -> None:
        try:
            if not self._was_ours:
                _create_file(self.path)
            found = self.path.stat()
        except OSError as error:
            raise StoreError(f"{self.where} cannot be opened: {_reason(self.path, error)}") from None
        if self.path.is_dir():
            raise StoreError(f"{self.where} is a folder; give the path of a file in it")
        if not (_may_write(self.path) and _may_write(self.path.parent)):
            raise StoreError(f"{self.where} cannot be written; this process needs to write the file and its folder")
        identity = found.st_dev, found.st_ino
        if identity != self._identity and self._orphaned_log and self._orphaned_log == self._identity_of_log():
            names = " and ".join(repr(file.name) for file in self._log)
            raise StoreError(f"{self.where} was replaced, and the log of the old one lies beside it; delete {names}")
        self._identity = identity

    def _is_there(self) -> bool:
        return _identity(self.path) == self._identity

    def _connect(self) -> sqlite3.Connection:
        """Connect, in the connection's own thread, to the file that was looked at and to no other.

        Nor to one that may only be read. SQLite would do that, could not write when it may be written again, and would
        keep its descriptor as long as this process has the file open.
        """
        if self._is_there() and not _may_write(self.path):
            raise BackendError(f"{self.where} cannot be written")
        # mode=rw: it is created elsewhere, with the mode that it should have. isolation_level=None: no BEGIN but ours.
        url = f"file:{quote(str(self.path))}?mode=rw"
        connection = sqlite3.connect(url, uri=True, isolation_level=None, timeout=self._busy_timeout)
        if not self._is_there():
            connection.close()
            raise BackendError(f"{self.where} was moved, deleted or replaced")
        try:
            connection.execute("PRAGMA foreign_keys = ON").close()
            # FULL syncs each commit: with NORMAL a power cut could bring a revoked key back to life.
            connection.execute("PRAGMA synchronous = FULL").close()
            connection.execute("SELECT 1 FROM sqlite_master").close()  # not before does SQLite open the log
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    async def _prepare(self, pool: Pool) -> None:
        async with pool.reader.connect() as connection:
            version = await self._version(connection)
            if not version and self._was_ours:
                raise StoreError(f"{self.where} was replaced by an empty file; put it back, or restart to begin anew")
            await self._use_wal(connection)
        if version == schema.VERSION:
            return
        async with pool.writer.begin() as connection:
            if await self._version(connection) != schema.VERSION:  # else another process was quicker
                await connection.run_sync(schema.upgrade if version else schema.create)

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


def _create_file(path: Path) -> None:
    """Create an empty file that only its owner may read; SQLite gives ``-wal`` and ``-shm`` the same mode.

    A file that is there is never opened: closing it would release all locks that SQLite holds on it in this process
    (https://sqlite.org/howtocorrupt.html, 2.2). The lock keeps two stores of one process from doing just that.
    """
    with _creating:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            return


def _identity(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _may_write(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _reason(path: Path, error: OSError) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {str(path.parent)!r}"
    return "the file is gone" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
