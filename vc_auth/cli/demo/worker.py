"""One more worker of the demo, as a process of its own. It never outlives the one that started it."""

import asyncio
import os
import socket
import sys
from threading import Thread
from typing import Final

import uvicorn

from vc_auth import Settings, VCAuth
from vc_auth.cli.demo.app import create_app, create_settings
from vc_auth.cli.demo.server import config_of

STDIN: Final = 0


def serve(settings: Settings, sockets: list[socket.socket], stdin: int) -> None:
    """Serve on ``sockets``, until ``stdin`` is at its end."""
    server = uvicorn.Server(config_of(create_app(VCAuth(settings))))

    def end_with_stdin() -> None:
        while os.read(stdin, 1_024):
            pass
        server.should_exit = True

    Thread(target=end_with_stdin, daemon=True).start()
    asyncio.run(server.serve(sockets=sockets))


def main() -> None:
    """Serve on listening sockets.

    The arguments are the SQLite file, the number of workers, and the sockets' file descriptors; ``VC_AUTH_LIMITER`` is
    where the buckets are.
    """
    _, file, workers, *descriptors = sys.argv
    settings = create_settings(file, os.environ["VC_AUTH_LIMITER"], int(workers))
    serve(settings, [socket.socket(fileno=int(descriptor)) for descriptor in descriptors], STDIN)
