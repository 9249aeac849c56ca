"""The workers of the demo: one in this process, the others in processes of their own, on one listening socket."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from vc_auth import VCAuth
from vc_auth.cli.demo.app import create_app
from vc_auth.cli.demo.server import Address, DemoServer, address_of, listen

_WORKER: Final = "from vc_auth.cli.demo.worker import main; main()"


@contextmanager
def on_duty(
    auth: VCAuth, file: Path, listener: socket.socket, workers: int
) -> Iterator[tuple[DemoServer, list[Address]]]:
    """Serve on ``listener`` with so many workers. Yields the one in this process, and where each can be met alone.

    Who accepts a connection to a shared socket is anybody's guess, so several workers have a door each besides.
    """
    with ExitStack() as stack:
        doors = [stack.enter_context(listen("127.0.0.1", 0)) for _ in range(workers)] if workers > 1 else []
        addresses = [address_of(door) for door in doors] or [address_of(listener)]
        server = stack.enter_context(DemoServer(create_app(auth), listener, *doors[:1]))
        for door in doors[1:]:
            stack.enter_context(_another(auth.settings.limiter, file, workers, listener, door))
        yield server, addresses


@contextmanager
def _another(limiter: str, file: Path, workers: int, *listeners: socket.socket) -> Iterator[None]:
    descriptors = [listener.fileno() for listener in listeners]
    words = [sys.executable, "-c", _WORKER, str(file), str(workers), *map(str, descriptors)]
    environment = {**os.environ, "VC_AUTH_LIMITER": limiter}  # not among the words: it may hold a password
    # A session of its own: Ctrl+C is for this process, which ends the others.
    with subprocess.Popen(  # noqa: S603  # our own module, without a shell
        words, env=environment, stdin=subprocess.PIPE, pass_fds=descriptors, start_new_session=True
    ) as process:
        try:
            yield
        finally:
            process.communicate()  # closes its stdin, and waits for its end
