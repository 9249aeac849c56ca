"""The SQLite file itself: made once, private, refused if it is not ours, and used from one event loop after another."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from vc_auth.errors import BackendError, StoreError
from vc_auth.stores import Change
from vc_auth.stores.sql import SQLKeyStore
from vc_auth.stores.sql.schema import APPLICATION_ID, VERSION
from vc_auth.testing import some_key, some_project

NOBODY = 65_534


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "keys.db"


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            thread.join(10)
            assert not thread.is_alive()


async def refusal(path: Path) -> str:
    """The sentence at open() and at first use, less its beginning. Nothing is open then, so nothing is to be closed."""
    store = SQLKeyStore(path, busy_timeout=0.05)
    with pytest.raises(StoreError) as error:
        await store.open()
    with pytest.raises(StoreError) as again:
        await store.list_projects()
    assert str(again.value) == str(error.value)
    beginning = f"the key store '{path}' "
    assert str(error.value).startswith(beginning)
    return str(error.value).removeprefix(beginning)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may write what is read-only, so be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


# -- made --------------------------------------------------------------------------------------------------------------


async def test_only_its_owner_may_read_the_file_and_what_lies_beside_it(path: Path) -> None:
    before = os.umask(0)
    try:
        store = SQLKeyStore(path)
        await store.add_project(some_project())
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["keys.db", "keys.db-shm", "keys.db-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        await store.aclose()
        assert [file.name for file in path.parent.iterdir()] == ["keys.db"]
    finally:
        os.umask(before)


async def test_a_mode_that_somebody_gave_stays(path: Path) -> None:
    path.touch(0o660)
    path.chmod(0o660)
    store = SQLKeyStore(path)
    await store.open()
    await store.aclose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


async def test_the_file_says_whose_it_is_and_each_connection_is_set_up(path: Path) -> None:
    store = SQLKeyStore(path, busy_timeout=1.5)
    await store.open()

    async def pragmas(connection: Any) -> dict[str, Any]:
        names = ("application_id", "user_version", "journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        return {name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in names}

    expected = {
        "application_id": APPLICATION_ID,
        "user_version": VERSION,
        "journal_mode": "wal",
        "foreign_keys": 1,
        "synchronous": 2,
        "busy_timeout": 1500,
    }
    assert await store.database.read(pragmas) == expected
    assert await store.database.write(pragmas) == expected
    await store.aclose()


async def test_a_name_with_signs_is_a_name(folder: Path) -> None:
    path = folder / "a b%20ü?#&.db"
    store = SQLKeyStore(path)
    await store.add_project(some_project())
    await store.aclose()
    assert [file.name for file in folder.iterdir()] == [path.name]


async def test_opening_at_once_happens_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLKeyStore(path)
    looks: list[None] = []
    look = store.database.file.look_at

    def counted() -> None:
        looks.append(None)
        look()

    monkeypatch.setattr(store.database.file, "look_at", counted)
    await asyncio.gather(store.open(), *(store.list_projects() for _ in range(20)), store.open())
    assert len(looks) == 1
    await store.aclose()


async def test_opening_waits_for_who_writes_to_a_file_that_is_not_in_wal_mode_yet(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = asyncio.sleep
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("BEGIN IMMEDIATE")

        async def ends_writing(seconds: float) -> None:
            shell.rollback()
            await sleep(0)

        monkeypatch.setattr("vc_auth.stores.sql.database.asyncio.sleep", ends_writing)
        store = SQLKeyStore(path)
        await store.open()
    await store.aclose()


async def test_who_finds_that_another_was_quicker_takes_what_is_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, quicker = SQLKeyStore(path), SQLKeyStore(path)
    use_wal = store.database._use_wal

    async def and_then_another_makes_it(connection: Any) -> None:
        await use_wal(connection)
        await quicker.add_project(project)

    monkeypatch.setattr(store.database, "_use_wal", and_then_another_makes_it)
    project = some_project()
    assert await store.list_projects() == [project]
    await store.aclose()
    await quicker.aclose()


async def test_opening_a_new_file_that_stays_locked_is_not_for_ever(path: Path) -> None:
    store = SQLKeyStore(path, busy_timeout=0.05)
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("BEGIN")
        shell.execute("SELECT * FROM sqlite_master").fetchall()
        with pytest.raises(BackendError, match="is locked by another process"):
            await store.open()
    await store.open()
    await store.aclose()


ONE_OF_EIGHT = """
import asyncio, sys
from vc_auth.stores.sql import SQLKeyStore
from vc_auth.testing import some_project

async def main():
    store = SQLKeyStore(sys.argv[1], busy_timeout=60)
    sys.stdin.readline()
    await store.open()
    await store.add_project(some_project(sys.argv[2]))
    await store.aclose()

print("ready", flush=True)
asyncio.run(main())
"""


def test_eight_processes_that_start_together_on_nothing_make_it_once(path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", ONE_OF_EIGHT, path, f"project {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for number in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, said = process.communicate(timeout=90)
        assert (process.returncode, said) == (0, "")
    with closing(sqlite3.connect(path)) as shell:
        assert shell.execute("SELECT count(*), min(name) FROM projects").fetchone() == (8, "project 0")
        assert shell.execute("SELECT count(*) FROM changes").fetchone() == (8,)


# -- refused -----------------------------------------------------------------------------------------------------------


async def test_a_folder_is_refused(folder: Path) -> None:
    assert await refusal(folder) == "is a folder; give the path of a file in it"


async def test_a_missing_folder_is_named_and_not_made(folder: Path) -> None:
    missing = folder / "missing"
    assert await refusal(missing / "keys.db") == f"cannot be opened: there is no folder '{missing}'"
    assert not missing.exists()


async def test_a_file_in_place_of_the_folder_is_named(folder: Path) -> None:
    (folder / "file").touch()
    assert await refusal(folder / "file" / "keys.db") == f"cannot be opened: there is no folder '{folder / 'file'}'"


async def test_a_name_that_is_too_long_is_refused_with_the_systems_words(folder: Path) -> None:
    assert await refusal(folder / ("x" * 300)) == "cannot be opened: File name too long"


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("a shopping list, longer than the header of a database is\n" * 10)
    before = path.read_bytes()
    assert await refusal(path) == "is no SQLite database"
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "script", ["CREATE TABLE notes (text)", "PRAGMA application_id = 7", "PRAGMA user_version = 1"]
)
async def test_another_programs_database_is_refused_and_left_alone(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as shell:
        shell.execute(script)
        before = path.read_bytes()
    assert await refusal(path) == "is the database of another program; give a file of its own"
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused(path: Path) -> None:
    store = SQLKeyStore(path)
    await store.open()
    await store.aclose()
    with closing(sqlite3.connect(path)) as shell:
        shell.execute(f"PRAGMA user_version = {VERSION + 1}")
    expected = f"has schema {VERSION + 1}, and this version of vc_auth knows schema {VERSION}; update vc_auth"
    assert await refusal(path) == expected


async def test_what_may_not_be_written_is_refused(path: Path) -> None:
    store = SQLKeyStore(path)
    await store.open()
    await store.aclose()
    path.chmod(0o444)
    with without_privileges():
        assert await refusal(path) == "cannot be written; this process needs to write the file and its folder"
    path.chmod(0o666)
    path.parent.chmod(0o555)
    with without_privileges():
        assert await refusal(path) == "cannot be written; this process needs to write the file and its folder"
        assert await refusal(path.with_name("new.db")) == "cannot be opened: Permission denied"


async def test_a_file_that_is_deleted_is_not_made_again_by_who_had_it(path: Path) -> None:
    store = SQLKeyStore(path)
    await store.open()
    await store.aclose()
    path.unlink()
    with pytest.raises(StoreError, match="cannot be opened: the file is gone"):
        await store.find("digest")
    assert not path.exists()
    await store.aclose()


# -- moved while it is open --------------------------------------------------------------------------------------------


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


async def test_what_the_log_holds_goes_with_the_file_and_the_log_goes_too(path: Path) -> None:
    store = SQLKeyStore(path)
    await store.add_project(project := some_project())
    moved = path.rename(path.with_name("moved.db"))
    await store.database.leave()
    assert [file.name for file in path.parent.iterdir()] == ["moved.db"]
    other = SQLKeyStore(moved)
    assert await other.list_projects() == [project]
    await other.aclose()


async def test_a_log_that_cannot_be_emptied_stays(path: Path) -> None:
    store = SQLKeyStore(path, busy_timeout=0.05)
    await store.add_project(project := some_project())
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("BEGIN")
        shell.execute("SELECT * FROM projects").fetchall()
        await store.add_project(later := some_project("later"))
        moved = path.rename(path.with_name("moved.db"))
        await store.database.leave()
        assert log_of(path).stat().st_size > 0
    path.touch()
    with pytest.raises(StoreError) as error:
        await store.list_projects()
    assert str(error.value) == (
        f"the key store '{path}' was replaced, and the log of the old one lies beside it; "
        "delete 'keys.db-wal' and 'keys.db-shm'"
    )
    moved.replace(path)
    assert await store.list_projects() == [project, later]
    await store.aclose()


async def test_the_log_of_another_file_stays(path: Path) -> None:
    store = SQLKeyStore(path)
    await store.open()
    path.rename(path.with_name("moved.db"))
    log_of(path).unlink()
    log_of(path).write_text("another's")
    await store.database.leave()
    assert log_of(path).read_text() == "another's"


async def test_two_that_leave_at_once_are_not_in_each_others_way(path: Path) -> None:
    stores = [SQLKeyStore(path) for _ in range(4)]
    for store in stores:
        await store.open()
    path.rename(path.with_name("moved.db"))
    await asyncio.gather(*(store.database.leave() for store in stores))
    assert [file.name for file in path.parent.iterdir()] == ["moved.db"]


async def test_a_file_that_is_in_its_place_is_not_left(path: Path) -> None:
    store = SQLKeyStore(path)
    await store.database.leave()  # it is not open
    await store.open()
    pool = store.database._pool
    await store.database.leave()
    assert store.database._pool is pool
    path.rename(path.with_name("moved.db"))
    await asyncio.gather(store.database.leave(), store.database.leave())
    assert store.database._pool is None


async def test_nobody_connects_to_a_file_that_was_not_looked_at(path: Path) -> None:
    store = SQLKeyStore(path)
    await store.add_project(some_project())
    other = SQLKeyStore(path.with_name("other.db"))
    await other.open()
    await other.aclose()

    async def read_again(connection: Any) -> None:
        other.database.file.path.replace(path)
        await store.list_projects()  # over another connection

    with pytest.raises(BackendError) as error:
        await store.database.read(read_again)
    assert str(error.value) == f"the key store '{path}' was moved, deleted or replaced"
    await store.database.leave()
    assert await store.list_projects() == []
    await store.aclose()


# -- one event loop after another --------------------------------------------------------------------------------------


def test_a_new_event_loop_takes_over(path: Path) -> None:
    store = SQLKeyStore(path)
    project = some_project()
    key = some_key(project)
    asyncio.run(store.add_project(project))
    asyncio.run(store.add_key(key))
    for _ in range(3):
        assert asyncio.run(store.find(key.digest)) == key
    asyncio.run(store.aclose())
    asyncio.run(store.aclose())  # twice does no harm
    with closing(sqlite3.connect(path, timeout=0)) as shell:
        assert shell.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)  # nobody else has it open


def test_a_feed_of_an_event_loop_that_is_gone_keeps_nothing_open(path: Path) -> None:
    store = SQLKeyStore(path)
    feed = store.changes()

    async def first() -> list[Change]:
        return await anext(feed)

    assert asyncio.run(first()) == []
    assert asyncio.run(store.list_projects()) == []
    asyncio.run(store.aclose())


def test_an_event_loop_that_dies_in_the_midst_of_it_holds_nobody_up(path: Path) -> None:
    store = SQLKeyStore(path)
    asyncio.run(store.open())

    async def leaves() -> None:
        task = asyncio.create_task(store.add_project(some_project()))
        await asyncio.sleep(0)
        del task

    asyncio.run(leaves())
    assert asyncio.run(store.list_projects()) == []
    asyncio.run(store.aclose())
