"""What others changed, as a store tells it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

from aiosqlite import Connection as Driver
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vc_auth.errors import BackendError
from vc_auth.stores.changes import Change, Everything, KeyChanged, ProjectChanged
from vc_auth.stores.sql.database import Database
from vc_auth.stores.sql.schema import changes

KEPT: Final = 10_000  # changes: a feed that is further behind is told Everything
BATCH: Final = 1_000

# `data_version` moves when another connection commits, and asks no table for that: https://sqlite.org/pragma.html.
# One statement, since each is a trip to the connection's thread.
_LOOK: Final = "SELECT data_version, is_in_place() FROM pragma_data_version"
_SEQS: Final = select(func.min(changes.c.seq), func.max(changes.c.seq))
_select_changes: Final = select(changes).order_by(changes.c.seq).limit(BATCH)


async def prune(connection: AsyncConnection) -> None:
    """Keep the newest changes. Never all: the newest one says where a feed begins."""
    newest = select(func.max(changes.c.seq)).scalar_subquery()
    await connection.execute(delete(changes).where(changes.c.seq <= newest - KEPT))


async def changes_of(database: Database, poll_interval: float) -> AsyncGenerator[list[Change], None]:
    """See `vc_auth.stores.TellsChanges`. Every look yields a batch, so the heart beats as often as it looks."""
    async with database.connection() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.create_function("is_in_place", 0, database.is_in_place)
        version = await _look(driver, database)
        last = (await connection.execute(_SEQS)).one()[1] or 0
        yield []
        while True:
            await asyncio.sleep(poll_interval)
            seen = await _look(driver, database)
            # What commits between the look and the reading is read now, and looked for again.
            batch, last = ([], last) if seen == version else await _changes_since(connection, last)
            while len(batch) == BATCH:
                yield batch
                batch, last = await _changes_since(connection, last)
            version = seen
            yield batch


async def _look(driver: Driver, database: Database) -> int:
    """The connection's data version. Raises BackendError if there is no use in waiting for it to move."""
    ((version, is_in_place),) = await driver.execute_fetchall(_LOOK)
    if not is_in_place:
        await database.leave(driver)  # all its connections read a file that nobody else sees any more
        raise BackendError(f"{database.where} was moved, deleted or replaced")
    return int(version)


async def _changes_since(connection: AsyncConnection, last: int) -> tuple[list[Change], int]:
    """The next changes in their order, or Everything if some are missing; and the number of the last one."""
    rows = (await connection.execute(_select_changes.where(changes.c.seq > last))).all()
    # After the rows: if they were pruned before they could be read, it shows here.
    oldest, newest = (number or 0 for number in (await connection.execute(_SEQS)).one())
    if oldest > last + 1 or newest < last:
        return [Everything()], newest
    told: list[Change] = [KeyChanged(row.id) if row.kind == "key" else ProjectChanged(row.id) for row in rows]
    return told, rows[-1].seq if rows else last
