"""What a database says, as sentences for an operator. No parameter of a statement is in them: digests are none's."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from vc_auth.errors import BackendError, Conflict, Fault, StoreError

LOCKED: Final = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED"})
# What a connection may go on to say when it is not true any more.
LASTING: Final = frozenset({"SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CANTOPEN"})

# By the primary result code; https://sqlite.org/rescode.html explains each and its extended codes.
_SENTENCES: Final = {
    "SQLITE_BUSY": "is locked by another process",
    "SQLITE_LOCKED": "is locked by another connection",
    "SQLITE_READONLY": "cannot be written",
    "SQLITE_IOERR": "cannot be read or written, the disk reports an error",
    "SQLITE_FULL": "cannot grow, the disk is full",
    "SQLITE_CANTOPEN": "cannot be opened",
    "SQLITE_CORRUPT": "is damaged",
    "SQLITE_NOTADB": "is no SQLite database",
}

_CLOSED: Final = frozenset({"connection closed", "no active connection"})  # aiosqlite's words


def code_of(error: BaseException) -> str:
    """SQLite's primary result code, such as ``SQLITE_BUSY``; empty if there is none."""
    name: str = getattr(getattr(error, "orig", error), "sqlite_errorname", "")
    return "_".join(name.split("_")[:2])


def fault_of(error: Exception, where: str) -> Fault:
    """What to raise in place of what SQLAlchemy or its driver raised."""
    if isinstance(error, IntegrityError):
        return Conflict(f"{where} has a rule against this change, or another was quicker; nothing was written")
    if isinstance(error, PoolTimeout):
        return BackendError(f"{where} has too much to do: no connection became free in time")
    code = code_of(error)
    said = _SENTENCES.get(code, f"failed: {getattr(error, 'orig', error)}")
    return StoreError(f"{where} {said}") if code == "SQLITE_NOTADB" else BackendError(f"{where} {said}")


@contextmanager
def faults_of(where: str) -> Iterator[None]:
    """Raise what the database raises in here as a Fault of ours."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise fault_of(error, where) from None
    except ValueError as error:
        if str(error).lower() not in _CLOSED:
            raise
        raise BackendError(f"{where} was closed") from None
