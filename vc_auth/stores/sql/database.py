"""One SQLite file: made once, opened when it is needed, and told apart from what is not ours."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from vc_auth.errors import StoreError
from vc_auth.stores.sql import schema
from vc_auth.stores.sql.faults import LOCKED, code_of, faults_of
from vc_auth.stores.sql.pool import Pool

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

_creating: Final = threading.Lock()


class Database:
    """Opens itself on first use, and again on a new event loop. See `vc_auth.stores.sql.SQLKeyStore` for errors."""

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.path = path.absolute()
        self.where = f"the key store {str(self.path)!r}"
        self._busy_timeout = busy_timeout
        self._pool: Pool | None = None
        self._left: list[Pool] = []  # of event loops that are gone
        self._identity: tuple[int, int] | None = None

    async def open(self) -> None:
        """Create the file if there is none. Raises StoreError if it cannot be used, BackendError if not now."""
        pool = self._of_this_loop()
        await pool.run(lambda: self._opened(pool))

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
        await pool.run(lambda: self._opened(pool))
        with faults_of(self.where):
            async with pool.kept() as connection:
                yield connection

    def is_in_place(self) -> bool:
        """Whether the path still names the file that was opened. Asks the disk, so not for the loop's thread."""
        try:
            return _identity(self.path) == self._identity
        except OSError:
            return False

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
        async with pool.opening:
            if pool.is_open:
                return
            await self._abandon_left()
            await asyncio.to_thread(self._look_at_file)
            try:
                with faults_of(self.where):
                    await self._prepare(pool)
            except BaseException:
                await pool.dispose()  # who could not open has nothing to close
                raise
            pool.is_open = True

    def _look_at_file(self) -> None:
        try:
            if self._identity is None:
                _create_file(self.path)
            found = _identity(self.path)
        except OSError as error:
            raise StoreError(f"{self.where} cannot be opened: {_reason(self.path, error)}") from None
        if self.path.is_dir():
            raise StoreError(f"{self.where} is a folder; give the path of a file in it")
        if not (_may_write(self.path) and _may_write(self.path.parent)):
            raise StoreError(f"{self.where} cannot be written; this process needs to write the file and its folder")
        self._identity = found

    async def _prepare(self, pool: Pool) -> None:
        async with pool.reader.connect() as connection:
            exists = await self._is_ours(connection)
            await self._use_wal(connection)
        if exists:
            return
        async with pool.writer.begin() as connection:
            if await self._is_ours(connection):
                return  # another process was quicker
            await connection.run_sync(schema.create)

    async def _is_ours(self, connection: AsyncConnection) -> bool:
        """False if there is nothing yet. Raises StoreError for anything else that is not our schema."""
        marks = "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
        result = await connection.exec_driver_sql(f"{marks} FROM pragma_application_id, pragma_user_version")
        application, version, tables = (int(number) for number in result.one())
        if (application, version, tables) == (0, 0, 0):
            return False
        if application != schema.APPLICATION_ID:
            raise StoreError(f"{self.where} is the database of another program; give a file of its own")
        if version != schema.VERSION:
            hint = f"has schema {version}, and this version of vc_auth knows schema {schema.VERSION}; update vc_auth"
            raise StoreError(f"{self.where} {hint}")
        return True

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


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _may_write(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _reason(path: Path, error: OSError) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {str(path.parent)!r}"
    return "the file is gone" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
