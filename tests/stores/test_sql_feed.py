"""The feed: whatever is committed anywhere is told, by hand as well; and what was missed is not passed over."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vc_auth.errors import BackendError, StoreError
from vc_auth.keys import digest
from vc_auth.records import KeyRecord
from vc_auth.stores import Change, Everything, KeyChanged, ProjectChanged
from vc_auth.stores.sql import SQLKeyStore
from vc_auth.stores.sql import feed as feed_module
from vc_auth.testing import some_key, some_project

NOW = datetime(2026, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)

Feed = AsyncGenerator[list[Change], None]


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLKeyStore]:
    store = SQLKeyStore(path, poll_interval=0.001)
    yield store
    await store.aclose()


@pytest.fixture
async def key(store: SQLKeyStore) -> KeyRecord:
    await store.add_project(project := some_project())
    await store.add_key(key := some_key(project))
    return key


@pytest.fixture
def shell(path: Path, key: KeyRecord) -> Iterator[sqlite3.Connection]:
    """What `sqlite3 keys.db` would be: no settings of ours, every statement committed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@asynccontextmanager
async def following(store: SQLKeyStore) -> AsyncIterator[Feed]:
    async with aclosing(store.changes()) as feed:
        assert await anext(feed) == []
        yield feed


async def told(feed: Feed) -> list[Change]:
    """The next batch that is not a heartbeat."""
    async for batch in feed:
        if batch:
            return batch
    raise AssertionError("the feed has ended")


# -- by a store --------------------------------------------------------------------------------------------------------


async def test_what_was_committed_before_the_first_batch_is_not_told(store: SQLKeyStore, key: KeyRecord) -> None:
    async with following(store) as feed:
        for _ in range(10):
            assert await anext(feed) == []  # the heart beats


async def test_every_verb_of_another_store_is_told(store: SQLKeyStore, path: Path) -> None:
    other = SQLKeyStore(path)
    await store.open()
    async with following(store) as feed:
        await other.add_project(project := some_project())
        assert await told(feed) == [ProjectChanged(project.id)]
        await other.set_plan(project.id, "pro")
        assert await told(feed) == [ProjectChanged(project.id)]
        await other.set_suspended(project.id, NOW)
        assert await told(feed) == [ProjectChanged(project.id)]
        await other.add_key(key := some_key(project))
        assert await told(feed) == [KeyChanged(key.digest)]
        await other.replace_key(key.id, successor := some_key(project, replaces=key.id), NOW, NOW + DAY)
        assert await told(feed) == [KeyChanged(successor.digest), KeyChanged(key.digest)]
        await other.revoke_key(key.id, NOW)
        assert await told(feed) == [KeyChanged(key.digest)]
        await other.revoke_key(key.id, NOW)  # changes nothing
        await other.delete_key(key.id, NOW)
        assert await told(feed) == [KeyChanged(key.digest)]
    await other.aclose()


async def test_a_store_tells_its_own_changes_as_well(store: SQLKeyStore, key: KeyRecord) -> None:
    async with following(store) as feed, following(store) as second:
        await store.revoke_key(key.id, NOW)
        assert await told(feed) == await told(second) == [KeyChanged(key.digest)]


async def test_what_was_rolled_back_is_not_told(store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection) -> None:
    async with following(store) as feed:
        shell.execute("BEGIN")
        shell.execute("DELETE FROM keys")
        shell.execute("ROLLBACK")
        shell.execute("UPDATE projects SET plan = 'pro'")
        assert await told(feed) == [ProjectChanged(key.project.id)]


# -- by hand -----------------------------------------------------------------------------------------------------------

INSERT_KEY = (
    "INTO keys (id, digest, project_id, name, display, scopes, replaces, family) VALUES (?, ?, ?, '', '', '[]', ?, '')"
)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE keys SET revoked_at = 0",
        "UPDATE keys SET name = 'x'",
        "UPDATE keys SET project_id = 'x'",
        "UPDATE OR IGNORE keys SET scopes = '[]'",
        "DELETE FROM keys",
    ],
)
async def test_a_key_that_is_changed_by_hand_is_told(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection, statement: str
) -> None:
    async with following(store) as feed:
        shell.execute(statement)
        assert await told(feed) == [KeyChanged(key.digest)]


@pytest.mark.parametrize(
    "statement", ["UPDATE projects SET suspended_at = 0", "UPDATE projects SET name = 'x'", "DELETE FROM projects"]
)
async def test_a_project_that_is_changed_by_hand_is_told(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection, statement: str
) -> None:
    async with following(store) as feed:
        shell.execute(statement)
        assert await told(feed) == [ProjectChanged(key.project.id)]


async def test_a_digest_and_an_id_that_are_changed_by_hand_are_told_old_and_new(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection
) -> None:
    async with following(store) as feed:
        shell.execute("UPDATE keys SET digest = ?", (digest("new"),))
        assert set(await told(feed)) == {KeyChanged(key.digest), KeyChanged(digest("new"))}
        shell.execute("UPDATE projects SET id = 'prj_new'")
        assert set(await told(feed)) == {ProjectChanged(key.project.id), ProjectChanged("prj_new")}


@pytest.mark.parametrize("clash", ["id", "replaces"])
async def test_a_key_that_is_replaced_by_hand_is_told_with_the_one_that_it_pushed_out(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection, clash: str
) -> None:
    shell.execute("UPDATE keys SET replaces = 'key_old'")
    values = [key.id if clash == "id" else "key_new", digest("new"), key.project.id]
    async with following(store) as feed:
        shell.execute(f"INSERT OR REPLACE {INSERT_KEY}", [*values, "key_old" if clash == "replaces" else None])
        assert await told(feed) == [KeyChanged(key.digest), KeyChanged(digest("new"))]
        assert shell.execute("SELECT count(*) FROM keys").fetchone() == (1,)


async def test_a_project_that_is_replaced_by_hand_is_told_with_the_one_that_it_pushed_out(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection
) -> None:
    async with following(store) as feed:
        shell.execute("REPLACE INTO projects (id, name, plan) VALUES ('prj_new', 'acme', 'free')")
        assert await told(feed) == [ProjectChanged(key.project.id), ProjectChanged("prj_new")]


async def test_what_is_no_key_and_no_project_moves_nothing(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection
) -> None:
    async with following(store) as feed:
        shell.execute("CREATE TABLE notes (text)")
        shell.execute("INSERT INTO notes VALUES ('x')")
        for _ in range(5):
            assert await anext(feed) == []


# -- many, and too many ------------------------------------------------------------------------------------------------


async def test_many_changes_come_in_several_batches_and_in_order(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "BATCH", 3)
    digests = [digest(str(number)) for number in range(7)]
    async with following(store) as feed:
        shell.execute("BEGIN")
        for each in digests:
            shell.execute(f"INSERT {INSERT_KEY}", (each, each, key.project.id, None))
        shell.execute("COMMIT")
        batches = [await told(feed), await told(feed), await told(feed)]
        assert [len(batch) for batch in batches] == [3, 3, 1]
        assert [change for batch in batches for change in batch] == [KeyChanged(each) for each in digests]
        assert await anext(feed) == []


async def test_writers_keep_the_newest_changes_only(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "KEPT", 5)
    for number in range(20):
        await store.set_plan(key.project.id, f"plan{number}")
    assert shell.execute("SELECT count(*), max(seq) FROM changes").fetchone() == (5, 22)


async def test_whoever_comes_too_late_for_a_change_is_told_everything(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "KEPT", 5)
    async with following(store) as feed:
        shell.execute("BEGIN")
        for number in range(20):
            shell.execute("UPDATE projects SET plan = ?", (f"plan{number}",))
        shell.execute("DELETE FROM changes WHERE seq < (SELECT max(seq) FROM changes)")
        shell.execute("COMMIT")
        assert await told(feed) == [Everything()]
        await store.revoke_key(key.id, NOW)
        assert await told(feed) == [KeyChanged(key.digest)]


async def test_changes_that_are_deleted_by_hand_are_everything(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection
) -> None:
    async with following(store) as feed:
        shell.execute("DELETE FROM changes")
        assert await told(feed) == [Everything()]
        shell.execute("UPDATE keys SET name = 'x'")
        assert await told(feed) == [Everything()]
        shell.execute("UPDATE keys SET name = 'y'")
        assert await told(feed) == [KeyChanged(key.digest)]


async def test_a_backup_that_is_put_back_is_everything(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection
) -> None:
    with closing(sqlite3.connect(":memory:")) as backup:
        shell.backup(backup)
        async with following(store) as feed:
            await store.revoke_key(key.id, NOW)
            assert await told(feed) == [KeyChanged(key.digest)]
            backup.backup(shell)
            assert await told(feed) == [Everything()]
        assert await store.find(key.digest) == key


# -- cut ---------------------------------------------------------------------------------------------------------------


async def test_a_feed_of_a_store_that_is_closed_says_so_and_can_be_taken_up_again(
    store: SQLKeyStore, key: KeyRecord, path: Path
) -> None:
    async with following(store) as feed:
        await store.aclose()
        with pytest.raises(BackendError) as error:
            await told(feed)
        assert str(error.value) == f"the key store '{path}' was closed"
    async with following(store) as feed:
        await store.revoke_key(key.id, NOW)
        assert await told(feed) == [KeyChanged(key.digest)]


async def test_closing_a_store_in_the_midst_of_a_look_ends_the_feed_and_holds_nobody_up(
    store: SQLKeyStore, key: KeyRecord
) -> None:
    async def follow() -> None:
        async with aclosing(store.changes()) as feed:
            await told(feed)

    for turns in range(40):
        task = asyncio.create_task(follow())
        for _ in range(turns * 3):
            await asyncio.sleep(0)
        await store.aclose()
        task.cancel()  # it may have begun after the store was closed, and so have opened it again
        with pytest.raises((BackendError, asyncio.CancelledError)):
            await task


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_moved_away_or_replaced_cuts_the_feed_and_nobody_reads_it_any_more(
    store: SQLKeyStore, key: KeyRecord, path: Path, replaced: bool
) -> None:
    assert await store.find(key.digest) == key
    async with following(store) as feed:
        path.rename(path.with_name("moved.db"))
        if replaced:
            other = SQLKeyStore(path)
            await other.open()
            await other.aclose()
        with pytest.raises(BackendError) as error:
            await told(feed)
        assert str(error.value) == f"the key store '{path}' was moved, deleted or replaced"
    if replaced:
        assert await store.find(key.digest) is None
    else:
        with pytest.raises(StoreError, match="the file is gone"):
            await store.find(key.digest)
        with pytest.raises(BackendError, match="the file is gone"):
            await anext(store.changes())


async def test_a_feed_that_cannot_read_the_changes_says_so(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection, path: Path
) -> None:
    async with following(store) as feed:
        shell.execute("DROP TABLE changes")
        with pytest.raises(BackendError) as error:
            await told(feed)
        assert str(error.value) == f"the key store '{path}' failed: no such table: changes"


async def test_a_feed_goes_on_while_the_file_is_locked(
    store: SQLKeyStore, key: KeyRecord, shell: sqlite3.Connection
) -> None:
    async with following(store) as feed:
        shell.execute("BEGIN EXCLUSIVE")
        shell.execute("UPDATE keys SET name = 'x'")
        for _ in range(5):
            assert await anext(feed) == []
        shell.execute("COMMIT")
        assert await told(feed) == [KeyChanged(key.digest)]


async def test_a_feed_that_is_cancelled_lets_its_connection_go(store: SQLKeyStore, key: KeyRecord) -> None:
    async def follow() -> None:
        async with following(store) as feed:
            await told(feed)

    for turns in range(30):
        task = asyncio.create_task(follow())
        for _ in range(turns * 3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await store.find(key.digest) == key


async def test_a_feed_that_is_cancelled_while_it_reads_keeps_nothing_open(path: Path) -> None:
    for turns in range(20):
        store = SQLKeyStore(path, poll_interval=0.001)
        await store.open()
        task = asyncio.create_task(told(store.changes()))
        await store.add_project(some_project(str(turns)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await store.aclose()
        with closing(sqlite3.connect(path, timeout=0)) as shell:
            assert shell.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)


@pytest.mark.parametrize("seconds", [0, -1, 0.3, float("nan")])
def test_a_feed_that_would_have_no_heartbeat_is_refused(path: Path, seconds: float) -> None:
    with pytest.raises(ValueError, match=r"is too slow for a heartbeat; give 0\.25 s or less"):
        SQLKeyStore(path, poll_interval=seconds)


async def test_a_slow_look_is_no_heartbeat_and_what_it_brings_is_told_with_the_next(
    store: SQLKeyStore, key: KeyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever hears a heart beat trusts what he has; what came while somebody looked is not known yet."""
    looks = 0

    def look() -> bool:
        nonlocal looks
        looks += 1
        return True

    monkeypatch.setattr(store.database.file, "is_in_place", look)
    async with following(store) as feed:
        assert await anext(feed) == []
        monkeypatch.setattr(feed_module, "HEARTBEAT", -1.0)  # so that every look is a slow one
        await store.revoke_key(key.id, NOW)
        telling = asyncio.create_task(anext(feed))
        seen = looks
        while looks < seen + 3:
            assert not telling.done()
            await asyncio.sleep(0.001)
        monkeypatch.undo()
        assert await telling == [KeyChanged(key.digest)]
