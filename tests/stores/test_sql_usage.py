"""Usage in a SQLite file: the contract, and what it costs the keys beside it, which is nothing."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from vc_auth.errors import Conflict
from vc_auth.records import Usage, UsageBatch
from vc_auth.stores import UsageStore, open_store
from vc_auth.stores.sql import SQLKeyStore
from vc_auth.stores.sql.schema import VERSION
from vc_auth.stores.sql.usage import REMEMBERED
from vc_auth.testing import TurnableClock, UsageStoreContract, some_count, some_key, some_project
from vc_auth.testing.usage import DAY, HOUR, NOON, KeyAndUsageStore


class TestSQLUsage(UsageStoreContract):
    @asynccontextmanager
    async def open_store(self, clock: TurnableClock) -> AsyncIterator[KeyAndUsageStore]:
        with TemporaryDirectory() as folder:
            async with aclosing(SQLKeyStore(Path(folder) / "keys.db")) as store:
                yield store


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as shell:
        return shell.execute(statement).fetchall()


async def test_a_sqlite_url_opens_a_store_that_keeps_usage(path: Path) -> None:
    assert isinstance(open_store(f"sqlite:///{path}"), UsageStore)


async def test_processes_that_add_at_once_lose_nothing(path: Path) -> None:
    stores = [SQLKeyStore(path) for _ in range(4)]

    async def add(number: int) -> None:
        for seq in range(1, 26):
            batch = UsageBatch(f"worker {number}", seq, (some_count(f"key_{seq % 3}"), some_count(f"key_{number}")))
            await stores[number].add_usage(batch)
            await stores[number].add_usage(batch)

    await asyncio.gather(*map(add, range(4)))
    assert await stores[0].usage_by_hour("prj_1", None, NOON, NOON + HOUR) == [Usage(NOON, 4 * 25 * 2)]
    for store in stores:
        await store.aclose()


async def test_adding_usage_is_no_change_that_anybody_is_told(path: Path) -> None:
    async with aclosing(SQLKeyStore(path)) as store:
        await store.add_project(project := some_project())
        await store.add_key(key := some_key(project))
        before = rows(path, "SELECT max(seq) FROM changes")
        await store.add_usage(UsageBatch("worker", 1, (some_count(key.id, project.id),)))
        assert rows(path, "SELECT max(seq) FROM changes") == before


async def test_a_batch_that_fails_half_way_leaves_nothing(path: Path) -> None:
    async with aclosing(SQLKeyStore(path)) as store:
        await store.open()
        with closing(sqlite3.connect(path)) as shell, shell:
            shell.execute(
                "CREATE TRIGGER no_totals BEFORE INSERT ON key_totals BEGIN SELECT RAISE(FAIL, 'not now'); END"
            )
        batch = UsageBatch("worker", 1, (some_count(),))
        with pytest.raises(Conflict, match="has a rule against"):
            await store.add_usage(batch)
        assert await store.usage_by_hour("prj_1", None, NOON, NOON + HOUR) == []
        with closing(sqlite3.connect(path)) as shell, shell:
            shell.execute("DROP TRIGGER no_totals")
        await store.add_usage(batch)
        assert await store.usage_by_hour("prj_1", None, NOON, NOON + HOUR) == [Usage(NOON, 1)]


async def test_workers_that_are_gone_are_forgotten_after_a_month(path: Path) -> None:
    async with aclosing(SQLKeyStore(path)) as store:
        await store.add_usage(UsageBatch("gone", 1, (some_count(last_used_at=NOON),)))
        late = NOON + REMEMBERED
        await store.add_usage(UsageBatch("present", 1, (some_count(last_used_at=late),)))
        assert rows(path, "SELECT worker FROM usage_workers ORDER BY worker") == [("gone",), ("present",)]
        after = late + timedelta(microseconds=1)
        await store.add_usage(UsageBatch("present", 2, (some_count(last_used_at=after),)))
        assert rows(path, "SELECT worker FROM usage_workers") == [("present",)]


@pytest.mark.parametrize("key_id", ["key_1", None])
async def test_usage_is_read_by_index(path: Path, key_id: str | None) -> None:
    async with aclosing(SQLKeyStore(path)) as store:
        await store.open()
        of_key = "AND key_id = 'k'" if key_id else ""
        table = "key_hours" if key_id else "project_hours"
        statement = f"SELECT * FROM {table} WHERE project_id = 'p' {of_key} AND hour >= 1 AND hour < 2 ORDER BY hour"
        ((*_, plan),) = rows(path, f"EXPLAIN QUERY PLAN {statement}")
        assert str(plan).startswith(f"SEARCH {table} USING PRIMARY KEY")


async def test_a_file_from_before_usage_gets_its_tables_and_keeps_its_keys(path: Path) -> None:
    async with aclosing(SQLKeyStore(path)) as store:
        await store.add_project(project := some_project())
        await store.add_key(key := some_key(project))
    with closing(sqlite3.connect(path)) as shell:
        for table in ("key_hours", "project_hours", "key_totals", "usage_workers"):
            shell.execute(f"DROP TABLE {table}")
        shell.execute("PRAGMA user_version = 1")
    stores = [SQLKeyStore(path) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    await stores[0].add_usage(UsageBatch("worker", 1, (some_count(key.id, project.id),)))
    assert await stores[1].usage_by_hour(project.id, key.id, NOON, NOON + DAY) == [Usage(NOON, 1)]
    assert await stores[2].find(key.digest) == key
    assert rows(path, "PRAGMA user_version") == [(VERSION,)]
    for store in stores:
        await store.aclose()
