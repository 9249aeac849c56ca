"""The verbs of a `vc_auth.stores.KeyStore`, each one transaction."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import fields, replace
from datetime import datetime
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import ColumnElement, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from vc_auth.errors import Conflict, NotFound
from vc_auth.records import KeyRecord, KeyTotals, Project, Usage, UsageBatch
from vc_auth.stores.changes import Change
from vc_auth.stores.sql import usage
from vc_auth.stores.sql.database import Database
from vc_auth.stores.sql.feed import changes_of, prune
from vc_auth.stores.sql.look_ups import LookUp
from vc_auth.stores.sql.schema import keys, projects

P = ParamSpec("P")
T = TypeVar("T")

_PROJECT: Final = tuple(field.name for field in fields(Project))
_KEY: Final = tuple(field.name for field in fields(KeyRecord) if field.name != "project")
_OF_PROJECT: Final = "project_"

_select_projects: Final = select(*(projects.c[name] for name in _PROJECT))
_select_keys: Final = select(
    *(keys.c[name] for name in _KEY), *(projects.c[name].label(_OF_PROJECT + name) for name in _PROJECT)
).join_from(keys, projects)
_by_digest: Final = LookUp(_select_keys, keys.c.digest)


def _reading(
    verb: Callable[Concatenate["SQLKeyStore", AsyncConnection, P], Awaitable[T]],
) -> Callable[Concatenate["SQLKeyStore", P], Coroutine[Any, Any, T]]:
    @wraps(verb)
    async def read(self: "SQLKeyStore", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.database.read(lambda connection: verb(self, connection, *args, **kwargs))

    return read


def _writing(
    verb: Callable[Concatenate["SQLKeyStore", AsyncConnection, P], Awaitable[T]],
) -> Callable[Concatenate["SQLKeyStore", P], Coroutine[Any, Any, T]]:
    @wraps(verb)
    async def write(self: "SQLKeyStore", /, *args: P.args, **kwargs: P.kwargs) -> T:
        async def work(connection: AsyncConnection) -> T:
            outcome = await verb(self, connection, *args, **kwargs)
            await prune(connection)
            return outcome

        return await self.database.write(work)

    return write


class SQLKeyStore:
    """A `vc_auth.stores.KeyStore` and `UsageStore` in a SQLite file that several processes may share.

    Others' changes of keys and projects are told; usage tells nobody.

    It opens itself on first use, and again on a new event loop; `open` is there to fail early, `aclose` to be called at
    the end. ``busy_timeout``: seconds that a change waits while another process writes. ``poll_interval``: seconds
    between two looks for changes, at most 0.25.

    Besides what the protocol says, every verb raises StoreError if the file cannot be used until somebody mends it, and
    BackendError if it cannot be used now. A verb that is cancelled ends by itself; its outcome is unknown.
    """

    def __init__(self, path: str | PathLike[str], *, busy_timeout: float = 5.0, poll_interval: float = 0.05) -> None:
        if not 0 < poll_interval <= 0.25:
            raise ValueError(f"poll_interval={poll_interval} is too slow for a heartbeat; give 0.25 s or less")
        self.database = Database(Path(path), busy_timeout)
        self._poll_interval = poll_interval

    async def open(self) -> None:
        """Create the file and its tables if there are none. Raises StoreError or BackendError, each with a sentence."""
        await self.database.open()

    async def aclose(self) -> None:
        """Let what is under way end, and close the file. The next use opens it again."""
        await self.database.aclose()

    def changes(self) -> AsyncGenerator[list[Change], None]:
        """See `vc_auth.stores.TellsChanges`."""
        return changes_of(self.database, self._poll_interval)

    async def find(self, digest: str) -> KeyRecord | None:
        """See `vc_auth.stores.KeyFinder`."""
        row = await self.database.find(_by_digest, digest)
        return None if row is None else _record(row)

    @_writing
    async def add_project(self, connection: AsyncConnection, project: Project) -> None:
        """See `vc_auth.stores.KeyStore`, also for the verbs below."""
        taken = or_(projects.c.id == project.id, projects.c.name == project.name)
        other = (await connection.execute(_select_projects.where(taken))).first()
        if other is not None:
            raise Conflict(f"a project called {other.name!r} exists already ({other.id})")
        await connection.execute(insert(projects).values({name: getattr(project, name) for name in _PROJECT}))

    @_reading
    async def get_project(self, connection: AsyncConnection, ref: str) -> Project:
        return await _project(connection, or_(projects.c.id == ref, projects.c.name == ref), ref)

    @_reading
    async def list_projects(self, connection: AsyncConnection) -> list[Project]:
        found = [Project(**row) for row in (await connection.execute(_select_projects)).mappings()]
        return sorted(found, key=lambda project: project.name)  # not by the database, which collates as it likes

    @_writing
    async def set_plan(self, connection: AsyncConnection, project_id: str, plan: str) -> Project:
        return await _change_project(connection, project_id, plan=plan)

    @_writing
    async def set_suspended(self, connection: AsyncConnection, project_id: str, at: datetime | None) -> Project:
        first = (await _project(connection, projects.c.id == project_id, project_id)).suspended_at
        at = at if first is None or at is None else first
        return await _change_project(connection, project_id, suspended_at=at)

    @_writing
    async def add_key(self, connection: AsyncConnection, record: KeyRecord) -> None:
        await _add_key(connection, record)

    @_reading
    async def get_key(self, connection: AsyncConnection, key_id: str) -> KeyRecord:
        return await _key(connection, key_id)

    @_reading
    async def list_keys(self, connection: AsyncConnection, project_id: str) -> list[KeyRecord]:
        await _project(connection, projects.c.id == project_id, project_id)
        of_project = _select_keys.where(keys.c.project_id == project_id).order_by(keys.c.number)
        return [_record(row) for row in (await connection.execute(of_project)).mappings()]

    @_writing
    async def revoke_key(self, connection: AsyncConnection, key_id: str, at: datetime) -> KeyRecord:
        record = await _key(connection, key_id)
        return record if record.revoked_at is not None else await _change_key(connection, record, revoked_at=at)

    @_writing
    async def replace_key(
        self, connection: AsyncConnection, key_id: str, successor: KeyRecord, at: datetime, dies_at: datetime
    ) -> None:
        old = await _key(connection, key_id)
        if (next_id := await connection.scalar(select(keys.c.id).where(keys.c.replaces == key_id))) is not None:
            raise Conflict(f"key {key_id} was rotated already; its successor is {next_id}")
        if (status := old.status(at)) != "active":
            raise Conflict(f"key {key_id} is {status} and cannot be rotated")
        await _add_key(connection, replace(successor, replaces=key_id))
        await _change_key(connection, old, expires_at=min(dies_at, old.expires_at or dies_at))

    @_writing
    async def delete_key(self, connection: AsyncConnection, key_id: str, at: datetime) -> None:
        if (await _key(connection, key_id)).status(at) == "active":
            raise Conflict(f"key {key_id} is active; revoke it first")
        await connection.execute(delete(keys).where(keys.c.id == key_id))

    async def add_usage(self, batch: UsageBatch) -> None:
        """See `vc_auth.stores.UsageStore`, also for the verbs below."""
        await self.database.write(lambda connection: usage.add(connection, batch))

    async def usage_by_hour(self, project_id: str, key_id: str | None, since: datetime, until: datetime) -> list[Usage]:
        return await self.database.read(lambda connection: usage.by_hour(connection, project_id, key_id, since, until))

    async def key_totals(self, project_id: str, key_id: str | None = None) -> dict[str, KeyTotals]:
        return await self.database.read(lambda connection: usage.totals(connection, project_id, key_id))


# -- steps of a verb ---------------------------------------------------------------------------------------------------


async def _project(connection: AsyncConnection, meant: ColumnElement[bool], ref: str) -> Project:
    # A name may look like another's id; then the id wins.
    by_id_first = _select_projects.where(meant).order_by(projects.c.id != ref)
    row = (await connection.execute(by_id_first)).mappings().first()
    if row is None:
        raise NotFound(f"no project {ref!r}")
    return Project(**row)


async def _change_project(connection: AsyncConnection, project_id: str, **values: Any) -> Project:
    project = await _project(connection, projects.c.id == project_id, project_id)
    await connection.execute(update(projects).where(projects.c.id == project_id).values(values))
    return replace(project, **values)


async def _key(connection: AsyncConnection, key_id: str) -> KeyRecord:
    row = (await connection.execute(_select_keys.where(keys.c.id == key_id))).mappings().first()
    if row is None:
        raise NotFound(f"no key {key_id!r}")
    return _record(row)


async def _add_key(connection: AsyncConnection, record: KeyRecord) -> None:
    await _project(connection, projects.c.id == record.project.id, record.project.id)
    taken = or_(keys.c.id == record.id, keys.c.digest == record.digest)
    if await connection.scalar(select(keys.c.id).where(taken)) is not None:
        raise Conflict(f"key {record.id} exists already")
    values = {name: getattr(record, name) for name in _KEY}
    await connection.execute(insert(keys).values(project_id=record.project.id, **values))


async def _change_key(connection: AsyncConnection, record: KeyRecord, **values: Any) -> KeyRecord:
    await connection.execute(update(keys).where(keys.c.id == record.id).values(values))
    return replace(record, **values)


def _record(row: Mapping[Any, Any]) -> KeyRecord:
    project = Project(**{name: row[_OF_PROJECT + name] for name in _PROJECT})
    return KeyRecord(project=project, **{name: row[name] for name in _KEY})
