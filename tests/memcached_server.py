"""A real memcached, a process of its own."""

import os
import shutil
import socket

from redis_servers import free_port
from server_process import ServerProcess


class MemcachedServer(ServerProcess):
    """A server until the end of ``with``, on the same port whenever it starts again; with a user if one is given."""

    def __init__(self, user: str = "") -> None:
        super().__init__("memcached")
        self.port = free_port()
        self.url = f"memcached://127.0.0.1:{self.port}"
        self._users = self.folder / "users"
        self._users.write_text(f"{user}\n")
        self._users.chmod(0o644)
        self.folder.chmod(0o755)
        self._has_users = bool(user)

    def start(self) -> None:
        """Start, and wait until it answers."""
        found = shutil.which("memcached")
        assert found is not None, "no memcached; install it, as in `apt-get install memcached`"
        words = [found, "-l", "127.0.0.1", "-p", str(self.port)]
        words += ["-u", "nobody"] if os.geteuid() == 0 else []
        words += ["-Y", str(self._users)] if self._has_users else []
        self.run(words, self._is_there)

    def _is_there(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    def connections(self) -> int:
        """How many there are, but for the one that asks and those that it listens with."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"stats conns\r\n")
            answer = b""
            while not answer.endswith(b"END\r\n"):
                answer += connection.recv(65_536)
        return answer.count(b":state conn_") - answer.count(b":state conn_listening") - 1
