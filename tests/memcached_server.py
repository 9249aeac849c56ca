"""A real memcached, a process of its own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

from redis_servers import free_port

START: Final = 30.0  # seconds; a server is there in a tenth of one


class MemcachedServer:
    """A server until the end of ``with``, on the same port whenever it starts again; with a user if one is given."""

    def __init__(self, user: str = "") -> None:
        self.port = free_port()
        self.url = f"memcached://127.0.0.1:{self.port}"
        self._folder = TemporaryDirectory(prefix="vc-auth-memcached-")
        self._users = Path(self._folder.name) / "users"
        self._users.write_text(f"{user}\n")
        self._users.chmod(0o644)
        Path(self._folder.name).chmod(0o755)
        self._has_users = bool(user)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start, and wait until it answers."""
        found = shutil.which("memcached")
        assert found is not None, "no memcached; install it, as in `apt-get install memcached`"
        words = [found, "-l", "127.0.0.1", "-p", str(self.port)]
        words += ["-u", "nobody"] if os.geteuid() == 0 else []
        words += ["-Y", str(self._users)] if self._has_users else []
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START
        while not self._is_there():
            assert self._process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _is_there(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """``kill -9``."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it in its tracks: its connections stay, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, with all that was sent meanwhile."""
        self._signal(signal.SIGCONT)

    def connections(self) -> int:
        """How many there are, but for the one that asks and those that it listens with."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"stats conns\r\n")
            answer = b""
            while not answer.endswith(b"END\r\n"):
                answer += connection.recv(65_536)
        return answer.count(b":state conn_") - answer.count(b":state conn_listening") - 1

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
