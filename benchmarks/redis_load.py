"""Servers under load: uvicorn in a process of its own, and connections that ask it again as soon as it has answered."""

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final, cast

from contenders import PATH
from redis_apps import BARE
from redis_loops import Ran

CONNECTIONS: Final = 64
OK: Final = b"HTTP/1.1 200"
END: Final = b"\r\n\r\nok"  # of what the application answers
HEADER: Final = b"x-ratelimit-remaining: "


@asynccontextmanager
async def start(name: str, url: str) -> AsyncIterator["Server"]:
    """One of `redis_apps.APPS` behind one uvicorn worker, with connections to it; it has been seen to do its work."""
    words = [sys.executable, str(Path(__file__).with_name("redis_apps.py")), name, url]
    with (
        TemporaryFile("w+") as log,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True) as process,  # noqa: ASYNC220  # a server
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{name} does not start")
            port, keys = json.loads(line)
            requests = [_request(key) for key in keys]
            random.Random(4).shuffle(requests)
            server = Server(name, await _connect(port, cycle(requests)))
            await server.see_that_it_works(requests[0])
            yield server
        finally:
            process.kill()
            log.seek(0)
            if said := log.read():
                print(f"{name} said {len(said):,} characters, which end in {said[-200:]!r}", file=sys.stderr)


class Server:
    """A server under a name, and connections that ask it when they shall."""

    def __init__(self, name: str, connections: Sequence["_Connection"]) -> None:
        self.name = name
        self._connections = connections

    async def load(self, seconds: float) -> Ran:
        """Keep it busy, and return when the last answer has come. Raises RuntimeError for an answer but 200."""
        began, busy = time.perf_counter_ns(), time.process_time()
        for connection in self._connections:
            connection.begin()
        await asyncio.sleep(seconds)
        for connection in self._connections:
            connection.is_asking = False
        answers = await asyncio.gather(*(connection.answer for connection in self._connections))
        if refusals := [answer for answer in answers if not answer.startswith(OK)]:
            raise RuntimeError(f"{self.name} answered {refusals[0]!r}")
        elapsed = (time.perf_counter_ns() - began) / 1e9
        latencies = [latency for connection in self._connections for latency in connection.latencies]
        return Ran(len(latencies), 0, elapsed, time.process_time() - busy, latencies)

    async def see_that_it_works(self, request: bytes) -> None:
        """Raises RuntimeError unless it admits a key, with a limit header, and no stranger; a bare app admits both."""
        stranger = await self._connections[0].ask(_request("vc_" + "f" * 32))
        customer = await self._connections[0].ask(request)
        guards = self.name != BARE
        if (
            not customer.startswith(OK)
            or (HEADER in customer.lower()) is not guards
            or stranger.startswith(OK) is guards
        ):
            raise RuntimeError(f"{self.name} answered {customer!r}, and {stranger!r} to a stranger")


async def _connect(port: int, requests: Iterator[bytes]) -> list["_Connection"]:
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: _Connection(requests), "127.0.0.1", port) for _ in range(CONNECTIONS)
    ]
    return [connection for _, connection in opened]


class _Connection(asyncio.Protocol):
    """Asks again as soon as it has its answer, as long as it shall. ``answer`` is the last one."""

    transport: asyncio.Transport
    answer: asyncio.Future[bytes]

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._received = b""
        self._asked = 0
        self.is_asking = False
        self.latencies: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast("asyncio.Transport", transport)

    def begin(self) -> None:
        """Ask, and go on asking."""
        self.is_asking, self.latencies = True, []
        self.ask(next(self._requests))

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """The answer to this request, or to the last one that follows it."""
        self.answer = asyncio.get_running_loop().create_future()
        self._send(request)
        return self.answer

    def _send(self, request: bytes) -> None:
        self._received, self._asked = b"", time.perf_counter_ns()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._received += data
        if not _is_whole(self._received):
            return
        self.latencies.append(time.perf_counter_ns() - self._asked)
        if self.is_asking and self._received.startswith(OK):
            self._send(next(self._requests))
        else:
            self.answer.set_result(self._received)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if not self.answer.done():
            self.answer.set_exception(exc or EOFError("the server has closed the connection"))


def _is_whole(answer: bytes) -> bool:
    if answer.endswith(END):
        return True
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return length is not None and len(body) == int(length[1])


def _request(key: str) -> bytes:
    return f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
