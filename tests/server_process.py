"""A server of a test's own, a process that can be killed, frozen and thawed."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

START: Final = 30.0  # seconds; a server is there in a tenth of one


class ServerProcess:
    """A server until the end of ``with``, with a folder of its own; whoever inherits this says how it starts."""

    def __init__(self, name: str) -> None:
        self._folder = TemporaryDirectory(prefix=f"vc-auth-{name}-")
        self.folder = Path(self._folder.name)
        self._log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    def start(self) -> None:
        """Start, and wait until it answers."""
        raise NotImplementedError

    def run(self, command: list[str], is_there: Callable[[], bool]) -> None:
        """Start this command, and wait until it is there."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START
        while not is_there():
            assert self._process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def said(self) -> str:
        """What it logged so far."""
        return self._log.read_text()

    def kill(self) -> None:
        """``kill -9``, also of a frozen one: it saves nothing, and says goodbye to nobody."""
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

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
