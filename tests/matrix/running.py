"""The servers of the matrix, each in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from matrix.wire import Response, Wire, request

import vc_auth

HERE: Final = Path(__file__).parent
START: Final = 30.0  # seconds; a server is there in two
UVICORN: Final = ("uvicorn", "--port={port}")
COMMANDS: Final = {  # what follows python -m
    "uvicorn-h11": (*UVICORN, "--http=h11", "--ws=websockets-sansio"),
    "uvicorn-httptools": (*UVICORN, "--http=httptools", "--ws=wsproto"),
    "granian": ("granian", "--port={port}", "--interface=asgi"),
    "hypercorn": ("hypercorn", "--bind=127.0.0.1:{port}"),
}
ROOT_PATH: Final = {
    "uvicorn-h11": "--root-path=/api",
    "uvicorn-httptools": "--root-path=/api",
    "granian": "--url-path-prefix=/api",
    "hypercorn": "--root-path=/api",
}
UNKNOWN: Final = "vc_" + 32 * "0"


class Keys(NamedTuple):
    """Plain keys that all servers know. Buckets are each server's own."""

    enterprise: str  # for all that needs a key and looks at nothing of it
    free: str  # for the one test that must be the first to use it
    free_socket: str  # and for the one with a websocket
    once: str  # admitted once an hour
    elsewhere: str  # from a network that this machine is not in


def surroundings() -> dict[str, str]:
    """This process's environment, less what would tell a server anything."""
    told = ("VC_AUTH_", "GRANIAN_", "UVICORN_", "WEB_CONCURRENCY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    package = Path(vc_auth.__file__).parent.parent  # a checkout or a wheel: what is tested
    return kept | {"PYTHONPATH": f"{package}{os.pathsep}{HERE}", "PYTHONUNBUFFERED": "1"}


class Server:
    """``python -m`` with these words and ``app:app``, on a free port until the end of ``with``."""

    def __init__(self, name: str, words: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self._words = words
        self._log = folder / f"{name}.log"
        self._environment = environment

    def __enter__(self) -> Self:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *(word.format(port=self._port) for word in self._words), "app:app"],
                cwd=self._log.parent,
                env=surroundings() | self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START
        while not self._answers():
            assert time.monotonic() < deadline, f"it never answered:\n{self.log}"
            assert self._process.poll() is None, f"it ended:\n{self.log}"
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(START)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return self._log.read_text()

    def connect(self) -> Wire:
        return Wire(self._port)

    def ask(self, data: bytes) -> Response:
        """The answer to these bytes, on a connection of their own."""
        with self.connect() as wire:
            wire.send(data)
            return wire.answer()

    def notes(self, until: str | None = None) -> list[str]:
        """What the application noted since it was last asked; with ``until``, not before that is among it."""
        answer = self.ask(request("/control/notes" + (f"?until={until}" if until else "")))
        assert answer.status == 200
        notes: list[str] = json.loads(answer.body)
        return notes

    def go(self) -> None:
        """Let the stream go on."""
        assert self.ask(request("/control/go")).status == 200

    def _answers(self) -> bool:
        with suppress(ConnectionError):
            self.notes()
            return True
        return False
