"""Driving ``vc-auth`` in processes of their own: told what each asks of the database, and held where it matters."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain, repeat
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

# `vc-auth`, but that it starts when it may, tells every statement before it runs, and halts at one of them.
DRIVER: Final = """
import os, sqlite3
from vc_auth.cli import commands, main
from vc_auth.stores import sql  # else on first use: it takes longer than all the rest

told, may, halt = int(os.environ["TOLD"]), int(os.environ["MAY"]), os.environ["HALT"]
connect = sqlite3.connect

def tell(statement):
    line = " ".join(statement.split())
    os.write(told, line.encode() + b"\\n")
    if halt and line.startswith(halt):
        os.read(may, 1)

def connect_and_listen(*arguments, **options):
    connection = connect(*arguments, **options)
    connection.set_trace_callback(tell)
    return connection

sqlite3.connect = connect_and_listen
os.write(told, b"ready\\n")
if not halt:
    os.read(may, 1)
main()
"""


class Ended(NamedTuple):
    """What became of a process. ``code`` is -2 if SIGINT ended it."""

    code: int
    stdout: str
    stderr: str


class Command:
    """``vc-auth`` with these arguments, in a process of its own until the end of ``with``.

    ``halt``: the beginning of the statement before which it halts, for good; without it, the process waits for `go`
    before it does anything. ``stdin`` and ``stdout`` are file descriptors.
    """

    def __init__(
        self, *arguments: str, halt: str = "", stdin: int = subprocess.DEVNULL, stdout: int = subprocess.PIPE
    ) -> None:
        told, tell = os.pipe()
        may, self._may = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *arguments],
            env=os.environ | {"TOLD": str(tell), "MAY": str(may), "HALT": halt},
            pass_fds=(tell, may),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(tell)
        os.close(may)
        self._told = os.fdopen(told)
        self._halt = halt

    def __enter__(self) -> Self:
        self._wait_for("ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr, self._told):
            if pipe is not None:
                pipe.close()
        os.close(self._may)

    def go(self) -> Self:
        """Let it begin."""
        os.write(self._may, b".")
        return self

    def wait_for_lock(self) -> Self:
        """Return when it has done all but to begin to write, which it does next."""
        return self._wait_for("BEGIN IMMEDIATE")

    def wait_for_halt(self) -> Self:
        """Return when it halts."""
        return self._wait_for(self._halt)

    def wait_for_question(self) -> str:
        """The question that it asks."""
        assert self.process.stderr is not None
        question = ""
        while not question.endswith("[y/N]:"):
            character = self.process.stderr.read(1)
            assert character, f"it ended without a question: {question}"
            question += character
        return question

    def send(self, number: signal.Signals) -> Self:
        """Send it a signal."""
        self.process.send_signal(number)
        return self

    def send_until_it_ends(self, number: signal.Signals) -> Self:
        """Send it a signal, and another if it did not hear that, as between a question and the wait for its answer."""
        for patience in chain((0.1,), repeat(10)):
            try:
                self.process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                self.send(number)
        return self

    def end(self) -> Ended:
        """Wait for its end."""
        stdout, stderr = self.process.communicate()
        return Ended(self.process.returncode, stdout, stderr)

    def _wait_for(self, beginning: str) -> Self:
        for line in self._told:
            if line.startswith(beginning):
                return self
        raise AssertionError(f"it ended before {beginning!r}: {self.end()}")


@contextmanager
def locked(file: Path) -> Iterator[sqlite3.Connection]:
    """Hold the file's write lock; what is written meanwhile is committed at the end."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


def contents(file: Path) -> list[str]:
    """All that stands in the file, as SQL."""
    with closing(sqlite3.connect(file)) as connection:
        return list(connection.iterdump())
