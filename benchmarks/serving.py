"""A real uvicorn with several workers on one SQLite file, and clients that keep it busy."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Final, Self

import vc_auth

# Each request that reaches the application leaves the time in a file of its worker, whatever becomes of both; and so
# does each flush of usage that came to its end, with the time when it began.
APP: Final = """
import os, time
from vc_auth import APIKeyMiddleware, VCAuth

pid = b"%d" % os.getpid()

def notes(name):
    file = os.open(f"{name}.{os.getpid()}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    return lambda nanoseconds: os.write(file, nanoseconds.to_bytes(8, "little"))

note_served, note_flushed = notes("served"), notes("flushed")
auth = VCAuth()
flush = auth.usage.flush

async def flush_and_note():
    began = time.monotonic_ns()
    await flush()
    note_flushed(began)

auth.usage.flush = flush_and_note

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": (await receive())["type"] + ".complete"})
        return
    note_served(time.monotonic_ns())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(pid))]})
    await send({"type": "http.response.body", "body": pid})

app = APIKeyMiddleware(app, auth=auth)
"""
READY: Final = "Application startup complete."
DEADLINE: Final = 60.0  # seconds; nothing takes that long


class Uvicorn:
    """``uvicorn --workers`` on a free port, for `APP` in ``folder``, with these settings from ``VC_AUTH_*``."""

    def __init__(self, folder: Path, workers: int, **settings: str) -> None:
        self.folder = folder
        self._workers = workers
        self._settings = {f"VC_AUTH_{name.upper()}": value for name, value in settings.items()}
        self._log: list[str] = []

    def __enter__(self) -> Self:
        (self.folder / "app.py").write_text(APP)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        words = (
            "-m",
            "uvicorn",
            "app:app",
            "--port",
            str(self.port),
            "--workers",
            str(self._workers),
            "--no-access-log",
            # A worker that answers late is no reason to kill it: whoever counts workers has them all.
            "--timeout-worker-healthcheck",
            str(round(DEADLINE)),
        )
        # What is tested may be a checkout or a wheel; the server must find the same.
        paths = os.pathsep.join((str(Path(vc_auth.__file__).parent.parent), os.environ.get("PYTHONPATH", "")))
        self._process = subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": paths, **self._settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for(READY, self._workers)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return "".join(self._log)

    @property
    def pids(self) -> list[int]:
        """The processes that were started as workers, in their order."""
        return [int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", self.log)]

    def wait_for(self, sign: str, times: int = 1) -> None:
        """Return when this stands in the log so often."""
        deadline = time.monotonic() + DEADLINE
        while self.log.count(sign) < times:
            assert time.monotonic() < deadline, f"{sign!r} never came:\n{self.log}"
            assert self._process.poll() is None, f"the server ended:\n{self.log}"
            time.sleep(0.01)

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        self._process.terminate()
        assert self._process.wait(DEADLINE) == 0, self.log

    def served(self) -> dict[int, list[int]]:
        """When each worker's application was reached, on the machine's monotonic clock in ns."""
        return self._noted("served")

    def flushed(self) -> dict[int, list[int]]:
        """When each worker began those flushes of usage that were written, on the same clock."""
        return self._noted("flushed")

    def _noted(self, what: str) -> dict[int, list[int]]:
        times: dict[int, list[int]] = {}
        for file in self.folder.glob(f"{what}.*"):
            stamps = array("Q")
            stamps.frombytes(file.read_bytes())
            times[int(file.suffix[1:])] = list(stamps)
        return times

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line)


class Client:
    """One connection, which stays with the worker that accepted it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int) -> Self:
        """A client of the server on this port. Raises OSError if there is none."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def get(self, key: str) -> tuple[int, bytes]:
        """Status and body of the answer to one request. Raises OSError or EOFError when the server is gone."""
        self._writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key.encode() + b"\r\n\r\n")
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        return int(head[9:12]), await self._reader.readexactly(int(length[1]))

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


async def meet(port: int, workers: int, key: str) -> list[Client]:
    """A connection to every worker: each stays with the one that accepted it.

    Whom the system lets accept is anybody's guess, and it may be the same one a thousand times. So whoever was met is
    halted until all were.
    """
    met: dict[int, Client] = {}
    try:
        while len(met) < workers:
            client = await Client.connect(port)
            status, body = await client.get(key)
            assert status == 200, body
            met[pid := int(body)] = client
            await _halt(pid)
    finally:
        for pid in met:
            os.kill(pid, signal.SIGCONT)
    return list(met.values())


async def _halt(pid: int) -> None:
    """Return when the process does nothing any more, until SIGCONT."""
    os.kill(pid, signal.SIGSTOP)
    while _state(pid) != "T":  # noqa: ASYNC110  # it can tell nobody
        await asyncio.sleep(0.001)


def _state(pid: int) -> str:
    """A letter; see proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def keep_busy(
    port: int, keys: list[str], requests: int, connections: int = 16, end: asyncio.Event | None = None
) -> int:
    """Send so many requests with these keys in turn, or until ``end``, and return how many were admitted.

    A connection that breaks is opened again; when nobody listens any more, that is the end.
    """
    left, admitted = iter(range(requests)), 0

    async def one_after_the_other() -> None:
        nonlocal admitted
        client = await Client.connect(port)
        for number in left:
            if end is not None and end.is_set():
                break
            try:
                status, _ = await client.get(keys[number % len(keys)])
            except (OSError, EOFError):
                await client.close()
                client = await Client.connect(port)
            else:
                admitted += status == 200
        await client.close()

    async def until_nobody_listens() -> None:
        with suppress(ConnectionRefusedError):
            await one_after_the_other()

    await asyncio.gather(*(until_nobody_listens() for _ in range(connections)))
    return admitted


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Nobody can write the file meanwhile, as if another process were at it."""
    holder = (
        "import sqlite3, sys\n"
        "sqlite3.connect(sys.argv[1], isolation_level=None).execute('BEGIN EXCLUSIVE')\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    words = [sys.executable, "-c", holder, str(file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield
        process.communicate()
