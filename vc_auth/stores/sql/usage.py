"""Usage in a database: sums that only grow, and each batch added once. See `vc_auth.stores.UsageStore`."""

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Table, case, delete, select
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from vc_auth.records import KeyTotals, Usage, UsageBatch, UsageCount
from vc_auth.stores.sql.schema import COUNTS, key_hours, key_totals, project_hours, usage_workers

REMEMBERED: Final = timedelta(days=31)  # how long a silent worker's last batch is told from a new one

_OF_KEY: Final = ("project_id", "key_id", "hour", *COUNTS)
_OF_PROJECT: Final = ("project_id", "hour", *COUNTS)
_OF_TOTAL: Final = ("project_id", "key_id", "requests", "last_used_at")

_select_seq: Final = select(usage_workers.c.seq)


def _adding(table: Table, *sums: str) -> Insert:
    """An upsert that adds to ``sums``, and moves ``last_used_at`` forward, where there is one."""
    new = insert(table)
    changed: dict[str, Any] = {name: table.c[name] + new.excluded[name] for name in sums}
    if "last_used_at" in table.c:
        last, seen = table.c.last_used_at, new.excluded.last_used_at
        changed["last_used_at"] = case((seen > last, seen), else_=last)
    return new.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed)


_add_to_keys: Final = _adding(key_hours, *COUNTS)
_add_to_projects: Final = _adding(project_hours, *COUNTS)
_add_to_totals: Final = _adding(key_totals, "requests")
_new_seq = insert(usage_workers)
_remember_seq: Final = _new_seq.on_conflict_do_update(
    index_elements=[usage_workers.c.worker], set_={"seq": _new_seq.excluded.seq, "seen_at": _new_seq.excluded.seen_at}
)


async def add(connection: AsyncConnection, batch: UsageBatch) -> None:
    """Add a batch, unless it was added already. The transaction is the caller's, and holds the write lock."""
    last = await connection.scalar(_select_seq.where(usage_workers.c.worker == batch.worker)) or 0
    if batch.seq <= last or not batch.counts:
        return
    now = max(count.last_used_at for count in batch.counts)
    await connection.execute(_remember_seq, {"worker": batch.worker, "seq": batch.seq, "seen_at": now})
    await connection.execute(delete(usage_workers).where(usage_workers.c.seen_at < now - REMEMBERED))
    await connection.execute(_add_to_keys, [_row(count, *_OF_KEY) for count in batch.counts])
    await connection.execute(_add_to_projects, [_row(count, *_OF_PROJECT) for count in batch.counts])
    await connection.execute(_add_to_totals, [_row(count, *_OF_TOTAL) for count in batch.counts])


async def by_hour(
    connection: AsyncConnection, project_id: str, key_id: str | None, since: datetime, until: datetime
) -> list[Usage]:
    """The hours of a project, or of one of its keys, in their order."""
    table = project_hours if key_id is None else key_hours
    hours = select(table.c.hour, *(table.c[name] for name in COUNTS)).where(
        table.c.project_id == project_id, table.c.hour >= since, table.c.hour < until
    )
    if key_id is not None:
        hours = hours.where(table.c.key_id == key_id)
    return [Usage(*row) for row in await connection.execute(hours.order_by(table.c.hour))]


async def totals(connection: AsyncConnection, project_id: str, key_id: str | None) -> dict[str, KeyTotals]:
    """The totals of a project's keys, or of one of them, by their ids."""
    of_project = select(key_totals).where(key_totals.c.project_id == project_id)
    found = of_project if key_id is None else of_project.where(key_totals.c.key_id == key_id)
    return {row.key_id: KeyTotals(row.requests, row.last_used_at) for row in await connection.execute(found)}


def _row(count: UsageCount, *names: str) -> dict[str, Any]:
    return {name: getattr(count, name) for name in names}
