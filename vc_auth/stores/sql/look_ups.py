"""Look-ups of single rows by a unique column: many on one trip to a connection's thread."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from aiosqlite import Connection as Driver
from sqlalchemy import ColumnElement, Select, bindparam
from sqlalchemy.dialects.sqlite.aiosqlite import dialect

from vc_auth.errors import BackendError
from vc_auth.stores.sql.faults import LASTING, code_of

Found = dict[str, Sequence[Any]]
Row = dict[str, Any]

SEATS: Final = 32  # look-ups that share a trip; an empty seat costs 0.4 us


class Connections(Protocol):
    """What a `Finder` needs of a pool; see `vc_auth.stores.sql.pool.Pool`."""

    def start(self, work: Callable[[], Awaitable[Any]]) -> object: ...

    async def connect(self) -> Driver: ...

    async def disconnect(self, driver: Driver) -> None: ...


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
    """Executes look-ups over a connection of its own, one trip to its thread at a time.

    What is asked for while a trip is under way goes together on the next one. Who is cancelled by then stays behind, so
    a disk that hangs gathers no backlog.
    """

    def __init__(self, pool: Connections) -> None:
        self._pool = pool
        self._driver: Driver
        self._waiting: dict[asyncio.Future[Found | Exception], tuple[LookUp, str]] = {}
        self._is_away = False

    async def connect(self) -> None:
        """Connect before the first trip."""
        self._driver = await self._pool.connect()

    async def find(self, look_up: LookUp, value: str) -> Row | None:
        """The row of this value. Raises what the driver raises."""
        answer: asyncio.Future[Found | Exception] = asyncio.get_running_loop().create_future()
        self._waiting[answer] = look_up, value
        if not self._is_away:
            self._is_away = True
            self._pool.start(self._travel)
        try:
            found = await answer
        finally:
            self._waiting.pop(answer, None)
        if isinstance(found, Exception):
            raise found
        return look_up.row(found[value]) if value in found else None

    async def empty_log(self) -> None:
        """Move what the log holds to the file that this was connected to, wherever that is now. It may not succeed."""
        with suppress(sqlite3.Error, ValueError):  # ValueError: it was closed meanwhile
            await self._driver.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")

    async def _travel(self) -> None:
        while self._waiting:
            look_up, _ = next(iter(self._waiting.values()))
            seats = [answer for answer, (wanted, _) in self._waiting.items() if wanted is look_up][:SEATS]
            found = await self._execute(look_up, [self._waiting.pop(answer)[1] for answer in seats])
            for answer in seats:
                if not answer.done():
                    answer.set_result(found)
        self._is_away = False

    async def _execute(self, look_up: LookUp, values: Sequence[str]) -> Found | Exception:
        seats = [*values, *[None] * (SEATS - len(values))]
        try:
            rows = await self._driver.execute_fetchall(look_up.sql, seats)
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait have to hear of it
            if code_of(error) in LASTING:
                await self._connect_anew()
            return error
        return {row[look_up.by]: row for row in rows}

    async def _connect_anew(self) -> None:
        broken = self._driver
        with suppress(BackendError, sqlite3.Error):  # then this one is all that there is
            await self.connect()
            await self._pool.disconnect(broken)
