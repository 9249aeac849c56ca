"""What others changed, as a store tells it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from aiosqlite import Connection as Driver
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from vc_auth.errors import BackendError
from vc_auth.stores.changes import Change, Everything, KeyChanged, ProjectChanged
from vc_auth.stores.sql.database import Database
from vc_auth.stores.sql.schema import changes

KEPT: Final = 10_000  # changes: a feed that is further behind is told Everything
BATCH: Final = 1_000
HEARTBEAT: Final = 0.25  # seconds; whoever looked longer does not know what came meanwhile

# Each is one trip to the connection's thread, and leaves no cursor behind when it is cancelled: SQLite would keep the
# file open, and locked for reading, until that is collected.
#
# `data_version` moves when another connection commits, and asks no table for that: https://sqlite.org/pragma.html.
_LOOK: Final = "SELECT data_version, is_in_place() FROM pragma_data_version"
_SEQS: Final = "SELECT min(seq), max(seq) FROM changes"
_CHANGES: Final = "SELECT seq, kind, id FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"


async def prune(connection: AsyncConnection) -> None:
    """Keep the newest changes. Never all: the newest one says where a feed begins."""
    newest = select(func.max(changes.c.seq)).scalar_subquery()
    await connection.execute(delete(changes).where(changes.c.seq <= newest - KEPT))


async def changes_of(database: Database, poll_interval: float) -> AsyncGenerator[list[Change], None]:
    """See `vc_auth.stores.TellsChanges`. Every quick look yields a batch, so the heart beats as often as it looks.

    What a slow one brings is told with the next: whoever hears of it trusts what he has.
    """
    time = asyncio.get_running_loop().time
    try:
        async with database.connection() as driver:
            await driver.create_function("is_in_place", 0, database.file.is_in_place)
            version = await _look(driver, database)
            last = (await _seqs(driver))[1]
            yield []
            untold: list[Change] = []
            while True:
                await asyncio.sleep(poll_interval)
                began = time()
                seen = await _look(driver, database)
                # What commits between the look and the reading is read now, and looked for again.
                batch, last = ([], last) if seen == version else await _changes_since(driver, last)
                while len(batch) == BATCH:
                    yield batch
                    batch, last = await _changes_since(driver, last)
                version = seen
                untold += batch
                if time() - began <= HEARTBEAT:
                    yield untold
                    untold = []
    except BackendError:
        await database.leave()  # if it is not in its place: its connections read what nobody else sees any more
        raise


async def _look(driver: Driver, database: Database) -> int:
    """The connection's data version. Raises BackendError if there is no use in waiting for it to move."""
    ((version, is_in_place),) = await driver.execute_fetchall(_LOOK)
    if not is_in_place:
        raise BackendError(f"{database.where} was moved, deleted or replaced")
    return int(version)


async def _seqs(driver: Driver) -> tuple[int, int]:
    """The oldest and the newest number."""
    ((oldest, newest),) = await driver.execute_fetchall(_SEQS)
    return oldest or 0, newest or 0


async def _changes_since(driver: Driver, last: int) -> tuple[list[Change], int]:
    """The next changes in their order, or Everything if some are missing; and the number of the last one."""
    rows = list(await driver.execute_fetchall(_CHANGES, (last, BATCH)))
    # After the rows: if they were pruned before they could be read, it shows here.
    oldest, newest = await _seqs(driver)
    if oldest > last + 1 or newest < last:
        return [Everything()], newest
    told: list[Change] = [KeyChanged(told) if kind == "key" else ProjectChanged(told) for _, kind, told in rows]
    return told, rows[-1][0] if rows else last
