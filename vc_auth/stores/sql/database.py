"""One SQLite file: made once, opened when it is needed, and told apart from what is not ours."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from aiosqlite import Connection as Driver
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from vc_auth.errors import StoreError
from vc_auth.stores.sql import schema
from vc_auth.stores.sql.faults import LOCKED, code_of, faults_of
from vc_auth.stores.sql.pool import LookUp, Pool, Row

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
        self._identity: Identity | None = None
        self._log_identity: Identity | None = None

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
            return await pool.finder(look_up).find(value)

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
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection to keep, for reading."""
        pool = self._of_this_loop()
        await self._opened(pool)
        with faults_of(self.where):
            async with pool.kept() as connection:
                yield connection

    def is_in_place(self) -> bool:
        """Whether the path still names the file that was opened, and its log. Asks the disk: not for the loop's thread.

        As long as anybody has the file open, SQLite keeps the log that lies beside it; if it is another, we are alone.
        """
        return _identity(self.path) == self._identity and _identity(self._log) == self._log_identity

    async def leave(self, driver: Driver) -> None:
        """Close a file that is not in its place any more, and leave nothing of it there.

        SQLite would take its log for that of the file that comes in its place, and write old pages over that one
        (https://sqlite.org/howtocorrupt.html, 1.4). So what the log holds goes where it belongs, and then the log goes.
        """
        try:
            ((is_busy, *_),) = await driver.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
            if not is_busy:
                await asyncio.to_thread(self._remove_log)
        finally:
            await self.aclose()

    @property
    def _log(self) -> Path:
        return self.path.with_name(f"{self.path.name}-wal")

    def _remove_log(self) -> None:
        if _identity(self._log) == self._log_identity:  # else another process removed it, and has begun a new one
            self._log.unlink(missing_ok=True)
            self.path.with_name(f"{self.path.name}-shm").unlink(missing_ok=True)

    # -- opening -------------------------------------------------------------------------------------------------------

    def _of_this_loop(self) -> Pool:
        if self._pool is not None and self._pool.loop is not asyncio.get_running_loop():
            self._left.append(self._pool)
            self._pool = None
        if self._pool is None:
            self._pool = Pool(self.path, self._busy_timeout)
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
        identity = await asyncio.to_thread(self._look_at_file)
        try:
            with faults_of(self.where):
                await self._prepare(pool)
                await pool.open_finders()
        except BaseException:
            await pool.dispose()  # who could not open has nothing to close
            raise
        self._identity, self._log_identity = identity, await asyncio.to_thread(_identity, self._log)
        pool.is_open = True

    def _look_at_file(self) -> Identity:
        try:
            if self._identity is None:
                _create_file(self.path)
            found = self.path.stat()
        except OSError as error:
            raise StoreError(f"{self.where} cannot be opened: {_reason(self.path, error)}") from None
        if self.path.is_dir():
            raise StoreError(f"{self.where} is a folder; give the path of a file in it")
        if not (_may_write(self.path) and _may_write(self.path.parent)):
            raise StoreError(f"{self.where} cannot be written; this process needs to write the file and its folder")
        return found.st_dev, found.st_ino

    async def _prepare(self, pool: Pool) -> None:
        async with pool.reader.connect() as connection:
            version = await self._version(connection)
            if not version and self._identity is not None:
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
