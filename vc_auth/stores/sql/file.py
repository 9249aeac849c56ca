"""The file of a database: which one it is, and whether it still is the one that was opened."""

import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from vc_auth.errors import BackendError, StoreError

Identity = tuple[int, int]  # the device and the number of a file, whatever its name

_creating: Final = threading.Lock()


class File:
    """A path, the file that was found there, and the log that SQLite keeps beside it.

    All methods ask the disk, so they are not for the event loop's thread.
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self.path = path.absolute()
        self.where = f"the key store {str(self.path)!r}"
        self.was_ours = False
        self._busy_timeout = busy_timeout
        self._log = [self.path.with_name(f"{self.path.name}{end}") for end in ("-wal", "-shm")]
        self._identity: Identity | None = None  # of the file that was looked at last
        self._log_identity: list[Identity | None] = []
        self._orphaned_log: list[Identity | None] = []

    def look_at(self) -> None:
        """Create the file if it was never there, and remember which one it is. Raises StoreError if it is unfit."""
        try:
            if not self.was_ours:
                _create_file(self.path)
            found = self.path.stat()
        except OSError as error:
            raise StoreError(f"{self.where} cannot be opened: {_reason(self.path, error)}") from None
        if self.path.is_dir():
            raise StoreError(f"{self.where} is a folder; give the path of a file in it")
        if not (_may_write(self.path) and _may_write(self.path.parent)):
            raise StoreError(f"{self.where} cannot be written; this process needs to write the file and its folder")
        identity = found.st_dev, found.st_ino
        if identity != self._identity and self._orphaned_log and self._orphaned_log == self._identity_of_log():
            names = " and ".join(repr(file.name) for file in self._log)
            raise StoreError(f"{self.where} was replaced, and the log of the old one lies beside it; delete {names}")
        self._identity = identity

    def connect(self) -> sqlite3.Connection:
        """Connect to the file that was looked at and to no other.

        Nor to one that may only be read. SQLite would do that, could not write when it may be written again, and would
        keep its descriptor as long as this process has the file open.
        """
        if self._is_there() and not _may_write(self.path):
            raise BackendError(f"{self.where} cannot be written")
        # mode=rw: it is created elsewhere, with the mode that it should have. isolation_level=None: no BEGIN but ours.
        url = f"file:{quote(str(self.path))}?mode=rw"
        connection = sqlite3.connect(url, uri=True, isolation_level=None, timeout=self._busy_timeout)
        if not self._is_there():
            connection.close()
            raise BackendError(f"{self.where} was moved, deleted or replaced")
        try:
            connection.execute("PRAGMA foreign_keys = ON").close()
            # FULL syncs each commit: with NORMAL a power cut could bring a revoked key back to life.
            connection.execute("PRAGMA synchronous = FULL").close()
            connection.execute("SELECT 1 FROM sqlite_master").close()  # not before does SQLite open the log
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def has_opened(self) -> None:
        """It is ours, and its log is the one that is there now."""
        self._log_identity = self._identity_of_log()
        self.was_ours = True

    def is_in_place(self) -> bool:
        """Whether the path still names the file that was opened, and its log.

        As long as anybody has the file open, SQLite keeps the log that lies beside it; if it is another, we are alone.
        """
        return self._is_there() and self._identity_of_log() == self._log_identity

    def remove_log(self) -> None:
        """Remove the log of a file that is not in its place; remember one that could not be emptied before."""
        with suppress(OSError):  # another process may be at it
            if self._identity_of_log() != self._log_identity:
                return  # another process has removed it, and perhaps begun a new one
            if self._log[0].stat().st_size > 0:
                self._orphaned_log = self._log_identity
                return
            for file in self._log:
                file.unlink()

    def _identity_of_log(self) -> list[Identity | None]:
        return [_identity(file) for file in self._log]

    def _is_there(self) -> bool:
        return _identity(self.path) == self._identity


def _create_file(path: Path) -> None:
    """Create an empty file that only its owner may read; SQLite gives ``-wal`` and ``-shm`` the same mode.

    A file that is there is never opened: closing it would release all locks that SQLite holds on it in this process
    (https://sqlite.org/howtocorrupt.html, 2.2). The lock keeps two stores of one process from doing just that.
    """
    with _creating:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            return


def _identity(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _may_write(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _reason(path: Path, error: OSError) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {str(path.parent)!r}"
    return "the file is gone" if isinstance(error, FileNotFoundError) else f"{error.strerror}"
