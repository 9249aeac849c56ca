"""Keys in a SQLite file: the contract, bare and behind the cache, and what several processes do to each other."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from vc_auth.cache import CacheOptions
from vc_auth.errors import BackendError, Conflict, StoreError
from vc_auth.keys import digest
from vc_auth.stores import CachedKeyStore, KeyStore, TellsChanges, open_store
from vc_auth.stores.sql import SQLKeyStore
from vc_auth.stores.sql.faults import fault_of, faults_of
from vc_auth.testing import KeyStoreContract, TurnableClock, some_key, some_project

NOW = datetime(2026, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLKeyStore]:
    async with aclosing(SQLKeyStore(path)) as store:
        yield store


class TestSQLKeyStore(KeyStoreContract):
    @asynccontextmanager
    async def open_store(self, clock: TurnableClock) -> AsyncIterator[KeyStore]:
        with TemporaryDirectory() as folder:
            async with aclosing(SQLKeyStore(Path(folder) / "keys.db")) as store:
                yield store


class TestCachedSQLKeyStore(KeyStoreContract):
    @asynccontextmanager
    async def open_store(self, clock: TurnableClock) -> AsyncIterator[KeyStore]:
        with TemporaryDirectory() as folder:
            async with aclosing(SQLKeyStore(Path(folder) / "keys.db")) as store:
                yield CachedKeyStore(store, CacheOptions(clock=clock))


def test_it_is_opened_by_its_url_and_is_a_store_that_tells_changes() -> None:
    store = open_store("sqlite:///keys.db")
    assert isinstance(store, SQLKeyStore)
    assert isinstance(store, KeyStore)
    assert isinstance(store, TellsChanges)
    assert store.database.file.path == Path("keys.db").absolute()
    absolute = open_store("sqlite:////var/lib/keys.db")
    assert isinstance(absolute, SQLKeyStore)
    assert absolute.database.file.path == Path("/var/lib/keys.db")


# -- what is stored ----------------------------------------------------------------------------------------------------


async def statements_of_look_ups(store: SQLKeyStore) -> list[str]:
    """What SQLite is asked from now on by those who look a key up."""
    await store.open()
    assert store.database._pool is not None
    statements: list[str] = []
    await store.database._pool.finder._driver.set_trace_callback(statements.append)
    return statements


async def test_a_cold_look_up_is_one_read_by_index(store: SQLKeyStore, path: Path) -> None:
    await store.add_project(project := some_project())
    await store.add_key(key := some_key(project))
    statements = await statements_of_look_ups(store)
    assert await store.find(key.digest) == key
    (statement,) = statements
    with closing(sqlite3.connect(path)) as shell:
        plan = [row[3] for row in shell.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert [step.split(" USING INDEX ")[0] for step in plan] == ["SEARCH keys", "SEARCH projects"]
    assert "(digest=?)" in plan[0]
    assert "(id=?)" in plan[1]


async def test_look_ups_at_once_share_a_read_and_each_has_its_own_answer(store: SQLKeyStore) -> None:
    await store.add_project(project := some_project())
    keys = [some_key(project, name=str(number)) for number in range(40)]
    for key in keys:
        await store.add_key(key)
    digests = [key.digest for key in keys] + [digest("unknown"), keys[0].digest]
    statements = await statements_of_look_ups(store)
    assert await asyncio.gather(*map(store.find, digests)) == [*keys, None, keys[0]]
    assert len(statements) == 2  # of 32 seats


async def test_who_was_cancelled_while_the_disk_hung_is_not_looked_up_any_more(store: SQLKeyStore) -> None:
    await store.add_project(project := some_project())
    await store.add_key(key := some_key(project))
    statements = await statements_of_look_ups(store)
    assert store.database._pool is not None
    begun, thawed = threading.Event(), threading.Event()

    def hang(statement: str) -> None:
        statements.append(statement)
        begun.set()
        thawed.wait(10)

    await store.database._pool.finder._driver.set_trace_callback(hang)
    first = asyncio.create_task(store.find(key.digest))
    await asyncio.to_thread(begun.wait, 10)
    first.cancel()
    for number in range(200):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await store.find(str(number))
    last = asyncio.create_task(store.find(key.digest))
    thawed.set()
    assert await last == key
    assert len(statements) == 2
    assert all(f"'{number}'" not in statements[1] for number in range(200))


async def test_closing_waits_for_look_ups_that_are_under_way(store: SQLKeyStore) -> None:
    await store.add_project(project := some_project())
    await store.add_key(key := some_key(project))
    await store.aclose()
    for turns in range(30):
        looking_up = [asyncio.create_task(store.find(key.digest)) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await store.aclose()
        assert await asyncio.gather(*looking_up) == [key, key, key]


async def test_a_record_that_cannot_be_read_is_nobody_elses_trouble(store: SQLKeyStore, path: Path) -> None:
    await store.add_project(project := some_project())
    keys = [some_key(project) for _ in range(3)]
    for key in keys:
        await store.add_key(key)
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("UPDATE keys SET scopes = 'cache' WHERE id = ?", (keys[1].id,))
        shell.commit()
    first, broken, third = await asyncio.gather(*(store.find(key.digest) for key in keys), return_exceptions=True)
    assert (first, third) == (keys[0], keys[2])
    assert isinstance(broken, ValueError)


@pytest.mark.parametrize(
    "at",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
    ],
)
async def test_times_are_exact_to_the_microsecond(store: SQLKeyStore, at: datetime) -> None:
    await store.add_project(project := some_project(created_at=at, suspended_at=at))
    await store.add_key(key := some_key(project, created_at=at, expires_at=at, revoked_at=at))
    assert await store.find(key.digest) == key


async def test_a_time_of_another_zone_is_the_same_time(store: SQLKeyStore) -> None:
    await store.add_project(project := some_project())
    await store.add_key(key := some_key(project, expires_at=datetime.fromisoformat("2026-03-01T12:00:00+05:30")))
    assert await store.find(key.digest) == key


async def test_what_was_stored_is_there_after_closing(store: SQLKeyStore, path: Path) -> None:
    await store.add_project(project := some_project())
    await store.add_key(key := some_key(project))
    await store.aclose()
    assert await store.find(key.digest) == key  # it opens itself again
    async with aclosing(SQLKeyStore(path)) as other:
        assert await other.list_keys(project.id) == [key]


async def test_an_id_wins_over_a_name_that_looks_like_it(store: SQLKeyStore) -> None:
    await store.add_project(named := some_project("prj_1"))
    await store.add_project(meant := some_project("other", id="prj_1"))
    assert await store.get_project("prj_1") == meant
    assert await store.get_project(named.id) == named


async def test_a_project_that_is_taken_is_named(store: SQLKeyStore) -> None:
    await store.add_project(project := some_project())
    with pytest.raises(Conflict) as error:
        await store.add_project(some_project())
    assert str(error.value) == f"a project called 'acme' exists already ({project.id})"


async def test_a_successor_says_what_it_replaces_even_if_it_was_not_told(store: SQLKeyStore) -> None:
    await store.add_project(project := some_project())
    await store.add_key(old := some_key(project))
    await store.replace_key(old.id, successor := some_key(project), NOW, NOW + DAY)
    assert await store.find(successor.digest) == replace(successor, replaces=old.id)


# -- several at once ---------------------------------------------------------------------------------------------------


async def test_of_many_rotations_at_once_one_wins_and_the_others_name_it(store: SQLKeyStore, path: Path) -> None:
    await store.add_project(project := some_project())
    await store.add_key(old := some_key(project))
    async with aclosing(SQLKeyStore(path)) as other:
        successors = [some_key(project, replaces=old.id) for _ in range(8)]
        outcomes = await asyncio.gather(
            *(
                one.replace_key(old.id, key, NOW, NOW + DAY)
                for one, key in zip([store, other] * 4, successors, strict=True)
            ),
            return_exceptions=True,
        )
        (winner,) = (key for key, outcome in zip(successors, outcomes, strict=True) if outcome is None)
        told = {str(outcome) for outcome in outcomes if outcome is not None}
        assert told == {f"key {old.id} was rotated already; its successor is {winner.id}"}
        assert await other.list_keys(project.id) == [replace(old, expires_at=NOW + DAY), winner]


async def test_of_many_revocations_at_once_the_first_time_stays_everywhere(store: SQLKeyStore, path: Path) -> None:
    await store.add_project(project := some_project())
    await store.add_key(key := some_key(project))
    async with aclosing(SQLKeyStore(path)) as other:
        outcomes = await asyncio.gather(
            *(one.revoke_key(key.id, NOW + n * DAY) for n, one in enumerate([store, other] * 4))
        )
        assert len({outcome.revoked_at for outcome in outcomes}) == 1


async def test_a_cancelled_verb_ends_by_itself_and_leaves_nothing_open(store: SQLKeyStore, path: Path) -> None:
    await store.add_project(project := some_project())
    keys = [some_key(project) for _ in range(20)]
    for turns, key in enumerate(keys):
        task = asyncio.create_task(store.add_key(key))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
    await store.aclose()
    with closing(sqlite3.connect(path, timeout=0)) as shell:
        shell.execute("BEGIN EXCLUSIVE")  # nobody holds a lock
    assert {key.id for key in await store.list_keys(project.id)} <= {key.id for key in keys}


async def test_cancelling_does_not_wait_for_the_database(store: SQLKeyStore, path: Path) -> None:
    await store.add_project(project := some_project())
    await store.add_key(key := some_key(project))
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("BEGIN EXCLUSIVE")
        task = asyncio.create_task(store.revoke_key(key.id, NOW))
        for _ in range(100):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert shell.in_transaction  # it left while the file was still locked
    await store.aclose()
    assert (await store.get_key(key.id)).revoked_at == NOW  # and what was asked for was done


# -- what goes wrong ---------------------------------------------------------------------------------------------------


async def test_a_locked_file_is_said_to_be_locked_and_the_loop_turns_meanwhile(path: Path) -> None:
    store = SQLKeyStore(path, busy_timeout=0.2)
    await store.add_project(project := some_project())
    await store.add_key(key := some_key(project))
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("BEGIN EXCLUSIVE")
        task = asyncio.create_task(store.revoke_key(key.id, NOW))
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        with pytest.raises(BackendError) as error:
            await task
        assert str(error.value) == f"the key store '{path}' is locked by another process"
        assert turns > 100
        assert await store.find(key.digest) == key  # readers do not wait for writers
    assert (await store.revoke_key(key.id, NOW)).revoked_at == NOW
    await store.aclose()


async def test_a_full_disk_is_said_to_be_full_and_nothing_was_written(store: SQLKeyStore, path: Path) -> None:
    await store.add_project(project := some_project())
    await store.add_key(key := some_key(project))

    async def may_not_grow(connection: AsyncConnection) -> None:
        await connection.exec_driver_sql("PRAGMA max_page_count = 1")  # that is: not beyond what it has

    await store.database.write(may_not_grow)
    with pytest.raises(BackendError) as error:
        await store.add_key(big := some_key(project, name="x" * 100_000))
    assert str(error.value) == f"the key store '{path}' cannot grow, the disk is full"
    assert await store.list_keys(project.id) == [key]
    assert await store.find(big.digest) is None
    assert (await store.revoke_key(key.id, NOW)).revoked_at == NOW


async def test_a_rule_that_somebody_added_is_a_conflict_and_nothing_was_written(store: SQLKeyStore, path: Path) -> None:
    await store.add_project(project := some_project())
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("CREATE TRIGGER no BEFORE INSERT ON keys BEGIN SELECT RAISE(ABORT, 'closed'); END")
    key = some_key(project)
    with pytest.raises(
        Conflict, match="has a rule against this change, or another was quicker; nothing was written"
    ) as error:
        await store.add_key(key)
    assert key.digest not in repr(error.value)
    assert await store.list_keys(project.id) == []


async def test_no_digest_stands_in_what_the_database_says(store: SQLKeyStore, path: Path) -> None:
    await store.add_project(project := some_project())
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("DROP TABLE keys")
    with pytest.raises(BackendError) as error:
        await store.find(digest("x"))
    assert str(error.value) == f"the key store '{path}' failed: no such table: keys"
    assert digest("x") not in f"{error.value.__context__} {error.value.__context__!r}"
    with pytest.raises(BackendError) as error:
        await store.add_key(some_key(project, digest=digest("x")))
    assert str(error.value) == f"the key store '{path}' failed: no such table: keys"
    shown = error.value.__context__
    assert isinstance(shown, DBAPIError)
    assert digest("x") not in f"{shown} {shown!r}"


async def test_a_file_that_was_damaged_while_it_is_used_is_said_to_be(store: SQLKeyStore, path: Path) -> None:
    await store.add_project(some_project())
    await store.aclose()
    await store.open()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (path.stat().st_size - 100))
    with pytest.raises(BackendError, match=r"is damaged|is no SQLite database"):
        await store.list_projects()


async def test_a_connection_that_remembers_a_damage_is_not_used_for_ever(store: SQLKeyStore, path: Path) -> None:
    await store.add_project(project := some_project())
    await store.add_key(key := some_key(project))
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    path.write_bytes(b"\xff" * len(content))
    for _ in range(2):
        with pytest.raises(BackendError, match=r"is damaged|is no SQLite database"):
            await store.find(key.digest)
    path.write_bytes(content)
    with suppress(BackendError):
        await store.find(key.digest)
    assert await store.find(key.digest) == key


@pytest.mark.parametrize(
    ("code", "kind", "sentence"),
    [
        ("SQLITE_BUSY_SNAPSHOT", BackendError, "is locked by another process"),
        ("SQLITE_LOCKED_SHAREDCACHE", BackendError, "is locked by another connection"),
        ("SQLITE_READONLY_DBMOVED", BackendError, "cannot be written"),
        ("SQLITE_IOERR_WRITE", BackendError, "cannot be read or written, the disk reports an error"),
        ("SQLITE_FULL", BackendError, "cannot grow, the disk is full"),
        ("SQLITE_CANTOPEN_ISDIR", BackendError, "cannot be opened"),
        ("SQLITE_CORRUPT_INDEX", BackendError, "is damaged"),
        ("SQLITE_NOTADB", StoreError, "is no SQLite database"),
        ("SQLITE_ERROR", BackendError, "failed: near"),
    ],
)
def test_each_code_of_sqlite_has_its_sentence(code: str, kind: type[BackendError], sentence: str) -> None:
    error = sqlite3.OperationalError("near")
    error.sqlite_errorname = code
    for raised in (error, StatementError("said", "SELECT 1", {}, error)):
        fault = fault_of(raised, "the key store 'x'")
        assert type(fault) is kind
        assert str(fault) == f"the key store 'x' {sentence}"


def test_what_is_no_fault_of_the_database_is_raised_as_it_is() -> None:
    with pytest.raises(ValueError, match="somebody else's"), faults_of("the key store 'x'"):
        raise ValueError("somebody else's")


def test_waiting_for_a_connection_ends_with_a_sentence() -> None:
    with pytest.raises(BackendError) as error, faults_of("the key store 'x'"):
        raise PoolTimeout("QueuePool limit of size 1 overflow 0 reached")
    assert str(error.value) == "the key store 'x' has too much to do: no connection became free in time"
