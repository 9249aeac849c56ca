"""The file fails, at the start and while requests are served: what a client and the operator are told, and after it."""

import asyncio
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from support import INVALID, SCALE, UNAVAILABLE, App, get, new_key
from turning import turning

from vc_auth import APIKeyMiddleware, Settings, VCAuth
from vc_auth.errors import BackendError, StoreError
from vc_auth.stores.sql import SQLKeyStore
from vc_auth.stores.sql.schema import VERSION
from vc_auth.testing import TurnableClock

HELD = min(4.0, 5 * SCALE)  # seconds that another process holds its lock: less than SQLite waits for one
PATIENCE = 20.0  # seconds for what comes some time
NOBODY = 65_534
STRANGER = "vc_" + "0" * 32


class Keys(NamedTuple):
    """What is asked with: a key that was used before the fault, one that was not, a dead one, and none of ours."""

    known: str
    cold: str
    revoked: str
    stranger: str = STRANGER


class Service:
    """An application behind the middleware. Time passes for its cache only when its clock is turned."""

    def __init__(self, path: Path, store: SQLKeyStore | None = None) -> None:
        self.clock = TurnableClock()
        self.auth = VCAuth(Settings(store=f"sqlite:///{path}"), store=store, clock=self.clock)
        self._app = APIKeyMiddleware(App(), self.auth)

    async def ask(self, *keys: str) -> list[int]:
        """The answers to requests with these keys, all at once."""
        answers = await asyncio.gather(*(get(self._app, key) for key in keys))
        for answer in answers:
            assert answer.body == {200: b"ok", 401: INVALID, 503: UNAVAILABLE}[answer.status]
        return [answer.status for answer in answers]

    async def until_answered(self, key: str, status: int, before: int = 503) -> None:
        """Ask until the answer is this. Until then it has to be the other."""
        begin = time.monotonic()
        while (answer := await self.ask(key)) != [status]:
            assert answer == [before]
            assert time.monotonic() - begin < PATIENCE
            await asyncio.sleep(0.005)


@pytest.fixture
async def keys(path: Path) -> Keys:
    """Those of a file that is there before the service is."""
    async with VCAuth(Settings(store=f"sqlite:///{path}")) as auth:
        known, cold, revoked = [await new_key(auth, plan="enterprise") for _ in range(3)]
        await auth.registry.revoke_key((await auth.registry.list_keys("acme"))[-1].id)
    return Keys(known, cold, revoked)


@pytest.fixture
async def service(path: Path, keys: Keys) -> AsyncIterator[Service]:
    """It has seen all keys but the cold one and the stranger."""
    service = Service(path)
    async with service.auth, turning():
        while service.auth.store._trusted_until == 0:  # the feed's first batch makes it forget all  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert await service.ask(keys.known, keys.revoked) == [200, 401]
        yield service


async def until_said(words: str, caplog: pytest.LogCaptureFixture) -> None:
    begin = time.monotonic()
    while words not in caplog.text:
        assert time.monotonic() - begin < PATIENCE
        await asyncio.sleep(0.005)


async def back_up(path: Path, name: str = "backup.db") -> Path:
    """A copy as it should be made: whole, and closed."""
    copy = path.with_name(name)
    await asyncio.to_thread(run_in, path, f"VACUUM INTO '{copy}'")
    return copy


def run_in(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute(statement)


# -- locked ------------------------------------------------------------------------------------------------------------

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
connection.close()
"""


@asynccontextmanager
async def locked_by_another_process(path: Path) -> AsyncIterator[None]:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:  # noqa: ASYNC220
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == "held\n"
        try:
            yield
        finally:
            await asyncio.to_thread(holder.communicate, "release\n", PATIENCE)


async def test_who_writes_in_another_process_keeps_no_request_waiting(path: Path, service: Service, keys: Keys) -> None:
    doomed = (await service.auth.registry.list_keys("acme"))[0].id
    async with locked_by_another_process(path):
        revoking = asyncio.create_task(service.auth.registry.revoke_key(doomed))
        end = time.monotonic() + HELD
        while True:
            service.auth.store.forget_all()
            assert await service.ask(*keys) == [200, 200, 401, 401]
            if time.monotonic() >= end:
                break
        assert not revoking.done()
    await revoking
    assert await service.ask(*keys) == [401, 200, 401, 401]


@pytest.fixture(params=["new", "ours"])
async def not_in_wal_mode(path: Path, request: pytest.FixtureRequest) -> Path:
    """Where readers and writers still keep each other out: a file that is made just now, or that somebody changed."""
    if request.param == "ours":
        async with VCAuth(Settings(store=f"sqlite:///{path}")) as auth:
            await auth.registry.create_project("acme")
    run_in(path, "PRAGMA journal_mode = DELETE")
    return path


async def test_a_start_waits_for_a_lock_and_turns_requests_away_meanwhile(
    not_in_wal_mode: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(not_in_wal_mode)
    async with turning():
        async with locked_by_another_process(not_in_wal_mode):
            opening = asyncio.create_task(service.auth.open())
            end = time.monotonic() + HELD / 2  # half of what SQLite waits for a lock
            while await service.ask(STRANGER) == [503] and time.monotonic() < end:
                pass
            assert not opening.done()
        await opening
        assert "starting all the same" not in caplog.text
        await service.until_answered(STRANGER, 401)
        assert await service.ask(await new_key(service.auth)) == [200]
        await service.auth.aclose()


async def test_a_lock_that_outlasts_the_start_does_not_stop_it(
    not_in_wal_mode: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(not_in_wal_mode, SQLKeyStore(not_in_wal_mode, busy_timeout=0.05))
    async with turning():
        async with locked_by_another_process(not_in_wal_mode):
            await service.auth.open()
            assert f"the key store '{not_in_wal_mode}' is locked by another process; starting all" in caplog.text
            assert await service.ask(STRANGER, STRANGER) == [503, 503]
        await service.until_answered(STRANGER, 401)
        assert await service.ask(await new_key(service.auth)) == [200]
        await service.auth.aclose()


async def test_nobody_stands_in_line_before_a_locked_file(not_in_wal_mode: Path) -> None:
    store = SQLKeyStore(not_in_wal_mode)
    async with locked_by_another_process(not_in_wal_mode):
        opening = asyncio.create_task(store.open())
        for number in range(200):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await store.find(str(number))
        assert store.database._pool is not None
        assert len(store.database._pool._tasks) == 1
    await opening
    await store.aclose()


async def test_a_copy_that_somebody_is_still_writing_is_used_when_he_is_done(
    path: Path, service: Service, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    copy = await back_up(path)
    async with locked_by_another_process(copy):
        copy.replace(path)
        await until_said("cannot be followed", caplog)
        service.clock.advance(seconds=6)
        assert await service.ask(*keys) == [200, 503, 401, 503]
        service.clock.advance(seconds=30)
        assert await service.ask(*keys) == [503, 503, 503, 503]
    await service.until_answered(keys.cold, 200)
    assert await service.ask(*keys) == [200, 200, 401, 401]


# -- not ours, not there -----------------------------------------------------------------------------------------------


def a_folder(path: Path) -> None:
    path.mkdir()


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def nothing_in_it(path: Path) -> None:
    path.touch()


def another_programs(path: Path) -> None:
    run_in(path, "CREATE TABLE notes (text)")


def of_a_newer_version(path: Path) -> None:
    path.with_name("copy.db").rename(path)
    run_in(path, f"PRAGMA user_version = {VERSION + 1}")


def not_there(path: Path) -> None:
    """Deleted."""


UNFIT = [
    (a_folder, "is a folder; give the path of a file in it"),
    (garbage, "is no SQLite database"),
    (another_programs, "is the database of another program; give a file of its own"),
    (of_a_newer_version, f"has schema {VERSION + 1}, and this version of vc_auth knows schema {VERSION}"),
]
GONE = [
    (nothing_in_it, "was replaced by an empty file; put it back"),
    (not_there, "cannot be opened: the file is gone"),
]


async def put_in_its_place(path: Path, unfit: Callable[[Path], None]) -> None:
    await back_up(path, "copy.db")
    made = path.with_name("unfit.db")  # elsewhere, since SQLite takes whatever log lies beside the path for its own
    await asyncio.to_thread(unfit, made)
    path.unlink()
    if made.exists():
        made.rename(path)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.mark.parametrize(("unfit", "sentence"), UNFIT)
async def test_a_file_that_somebody_has_to_mend_stops_the_start_and_who_does_not_start_answers_503(
    path: Path, keys: Keys, unfit: Callable[[Path], None], sentence: str
) -> None:
    backup = await back_up(path)
    await put_in_its_place(path, unfit)
    service = Service(path)
    with pytest.raises(StoreError) as error:
        await service.auth.open()
    assert str(error.value).startswith(f"the key store '{path}' {sentence}")
    async with turning():
        assert await service.ask(*keys) == [503, 503, 503, 503]  # as an application without lifespan would
    remove(path)
    backup.rename(path)
    await service.until_answered(keys.cold, 200)
    assert await service.ask(*keys) == [200, 200, 401, 401]
    await service.auth.aclose()


@pytest.mark.parametrize(("unfit", "sentence"), UNFIT + GONE)
async def test_a_file_that_is_replaced_by_something_else_fails_closed_until_it_is_put_back(
    path: Path,
    service: Service,
    keys: Keys,
    caplog: pytest.LogCaptureFixture,
    unfit: Callable[[Path], None],
    sentence: str,
) -> None:
    backup = await back_up(path)
    await put_in_its_place(path, unfit)
    await until_said("cannot be followed", caplog)
    service.clock.advance(seconds=6)
    assert await service.ask(*keys) == [200, 503, 401, 503]
    assert sentence in caplog.text
    service.clock.advance(seconds=29)
    assert await service.ask(*keys) == [200, 503, 401, 503]
    service.clock.advance(seconds=1)
    assert await service.ask(*keys) == [503, 503, 503, 503]
    remove(path)
    backup.rename(path)
    await service.until_answered(keys.cold, 200)
    assert await service.ask(*keys) == [200, 200, 401, 401]


async def test_a_file_that_is_moved_away_and_back_has_lost_nothing(
    path: Path, service: Service, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    await service.auth.registry.revoke_key((await service.auth.registry.list_keys("acme"))[0].id)
    path.rename(path.with_name("moved.db"))
    await until_said("cannot be followed", caplog)
    service.clock.advance(seconds=6)
    assert await service.ask(keys.cold) == [503]
    path.with_name("moved.db").rename(path)
    await service.until_answered(keys.cold, 200)
    assert await service.ask(*keys) == [401, 200, 401, 401]


async def test_a_backup_that_is_moved_into_its_place_is_what_counts(path: Path, service: Service, keys: Keys) -> None:
    backup, only_there = await a_backup_of_another_truth(path)
    later = await new_key(service.auth)  # it stands in the log beside the file, not in the backup
    worker = Service(path)
    async with worker.auth:
        assert await service.ask(later) == await worker.ask(keys.known) == [200]
        backup.replace(path)
        for each in (service, worker):
            await each.until_answered(keys.known, 401, before=200)
            assert await each.ask(keys.known, keys.cold, later, only_there) == [401, 200, 401, 200]
        new = [await new_key(each.auth) for each in (service, worker)]
        for each in (service, worker):
            assert await each.ask(*new) == [200, 200]
    with closing(sqlite3.connect(path)) as shell:
        assert shell.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def a_backup_of_another_truth(path: Path) -> tuple[Path, str]:
    """One in which the known key is revoked, and a key that stands nowhere else."""
    backup = await back_up(path)
    async with VCAuth(Settings(store=f"sqlite:///{backup}")) as auth:
        await auth.registry.revoke_key((await auth.registry.list_keys("acme"))[0].id)
        return backup, await new_key(auth)


@pytest.mark.parametrize("name", ["keys.db-wal", "keys.db-shm"])
async def test_a_log_that_somebody_deletes_loses_nothing(
    path: Path, service: Service, keys: Keys, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    await service.auth.registry.revoke_key((await service.auth.registry.list_keys("acme"))[0].id)
    path.with_name(name).unlink()
    await until_said("was moved, deleted or replaced", caplog)
    await service.until_answered(keys.cold, 200)
    assert await service.ask(*keys) == [401, 200, 401, 401]
    async with VCAuth(Settings(store=f"sqlite:///{path}")) as other:  # it meets us in the same log again
        new = await new_key(other)
        await other.registry.revoke_key((await other.registry.list_keys("acme"))[1].id)
        await service.until_answered(new, 200)
        await service.until_answered(keys.cold, 401, before=200)


@pytest.mark.parametrize("size", [0, 65_536])
async def test_a_file_that_is_written_over_admits_nobody_wrongly_until_it_is_put_back(
    path: Path, service: Service, keys: Keys, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    backup = await back_up(path)
    await asyncio.to_thread(run_in, path, "PRAGMA wal_checkpoint(TRUNCATE)")  # else all is read from the log
    path.write_bytes(os.urandom(size))
    await until_said("cannot be followed", caplog)
    service.clock.advance(seconds=6)
    assert await service.ask(*keys) == [200, 503, 401, 503]
    service.clock.advance(seconds=31)
    assert await service.ask(*keys) == [503, 503, 503, 503]
    backup.replace(path)
    await service.until_answered(keys.cold, 200)
    assert await service.ask(*keys) == [200, 200, 401, 401]


# -- read-only ---------------------------------------------------------------------------------------------------------


@contextmanager
def without_privileges(folder: Path) -> Iterator[None]:
    """Root may write what is read-only, so be somebody else for a while, whose folder this is."""
    if os.geteuid() != 0:
        yield
        return
    for file in (folder, *folder.iterdir()):
        os.chown(file, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    with without_privileges(path.parent):
        path.chmod(0o400)
        path.parent.chmod(0o500)
        try:
            yield
        finally:
            path.parent.chmod(0o700)
            path.chmod(0o600)


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


async def test_a_file_that_may_only_be_read_stops_the_start(path: Path, keys: Keys) -> None:
    service = Service(path)
    with read_only(path):
        with pytest.raises(StoreError, match="cannot be written; this process needs to write the file and its folder"):
            await service.auth.open()
        assert await service.ask(*keys) == [503, 503, 503, 503]
    await service.until_answered(keys.cold, 200)
    assert await service.ask(*keys) == [200, 200, 401, 401]
    await service.auth.aclose()


async def test_a_file_that_is_made_read_only_is_still_read_and_written_again_when_it_may_be(
    path: Path, service: Service, keys: Keys
) -> None:
    with read_only(path):
        assert await service.ask(*keys) == [200, 200, 401, 401]
        before = descriptors()
        for _ in range(20):
            with pytest.raises(BackendError, match="cannot be written"):
                await service.auth.registry.change_plan("acme", "pro")
        assert descriptors() <= before + 2
        service.clock.advance(seconds=120)
        assert await service.ask(*keys) == [200, 200, 401, 401]
    await service.auth.registry.change_plan("acme", "pro")
    assert service.auth.usage is not None
    await service.auth.usage.flush()
    assert await service.ask(await new_key(service.auth)) == [200]


# -- full --------------------------------------------------------------------------------------------------------------


@contextmanager
def no_file_grows() -> Iterator[None]:
    """Whatever this process writes to a file is refused (EFBIG), as by a disk that is broken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_takes_nothing_does_not_stop_the_start(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    service = Service(path)
    with no_file_grows():
        await service.auth.open()
        assert await service.ask(STRANGER) == [503]
    assert "cannot be read or written, the disk reports an error; starting all the same" in caplog.text
    await service.until_answered(STRANGER, 401)
    assert await service.ask(await new_key(service.auth)) == [200]
    await service.auth.aclose()


async def test_a_disk_that_takes_nothing_more_is_still_read(path: Path, service: Service, keys: Keys) -> None:
    with no_file_grows():
        for _ in range(3):
            with pytest.raises(BackendError, match="cannot be read or written, the disk reports an error"):
                await service.auth.registry.change_plan("acme", "pro")
            service.clock.advance(seconds=120)
            assert await service.ask(*keys) == [200, 200, 401, 401]
    assert (await service.auth.registry.get_project("acme")).plan == "enterprise"
    await service.auth.registry.change_plan("acme", "pro")
    assert await service.ask(await new_key(service.auth)) == [200]


ON_A_SMALL_DISK = """
import asyncio, json, logging, pathlib, subprocess, sys
from support import App, get, new_key
from vc_auth import APIKeyMiddleware, Settings, VCAuth
from vc_auth.errors import BackendError

folder = pathlib.Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
settings = Settings(store=f"sqlite:///{folder / 'keys.db'}")
filler = folder / "filler"
logging.basicConfig(format="%(message)s")

def fill():
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            said(error.strerror)

def said(*words):
    print(json.dumps(words), flush=True)

async def serve():
    auth = VCAuth(settings)
    app = APIKeyMiddleware(App(), auth)

    async def ask(*keys):
        said(*[(await get(app, key)).status for key in keys])

    fill()
    async with auth:
        await ask("vc_" + "0" * 32)
        filler.unlink()
        known, cold, revoked = [await new_key(auth) for _ in range(3)]
        await auth.registry.revoke_key((await auth.registry.list_keys("acme"))[2].id)
        await ask(known, revoked)
        fill()
        try:
            for number in range(1000):
                await auth.registry.create_key("acme", "x" * 100)
        except BackendError as error:
            said(str(error))
        await ask(known, cold, revoked)
        filler.unlink()
        await ask(await new_key(auth))

asyncio.run(serve())
"""


def test_a_full_disk_is_said_to_be_full_and_used_again_when_there_is_room(tmp_path: Path) -> None:
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-P", "-c", ON_A_SMALL_DISK]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, env=environment, timeout=PATIENCE * 2, check=False
    )
    store = f"the key store '{tmp_path / 'keys.db'}'"
    assert (child.returncode, child.stderr.count("Traceback")) == (0, 0), child.stderr
    assert [json.loads(line) for line in child.stdout.splitlines()] == [
        ["No space left on device"],
        [503],
        [200, 401],
        ["No space left on device"],
        [f"{store} cannot grow, the disk is full"],
        [200, 200, 401],
        [200],
    ]


# -- a fork: see also test_faults_in_a_request, where processes really fork --------------------------------------------


def test_a_file_that_was_open_when_this_process_forked_off_is_refused_and_left_alone(path: Path) -> None:
    store = SQLKeyStore(path)

    async def use() -> None:
        await store.list_projects()

    asyncio.run(use())
    pool = store.database._pool
    assert pool is not None
    pool.pid += 1  # as it would be seen by another process
    with pytest.raises(StoreError, match=r"was open when this process forked off; close it before"):
        asyncio.run(use())
    asyncio.run(store.aclose())
    assert store.database._left == [pool]
    pool.pid -= 1
    asyncio.run(store.aclose())
    assert store.database._left == []
