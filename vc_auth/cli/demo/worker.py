"""One more worker of the demo, as a process of its own. It never outlives the one that started it."""

import asyncio
import os
import socket
import sys
from threading import Thread
from typing import Final

import uvicorn

from vc_auth import VCAuth
from vc_auth.cli.demo.app import create_app, create_settings
from vc_auth.cli.demo.server import config_of

STDIN: Final = 0


def serve(file: str, sockets: list[socket.socket], stdin: int) -> None:
    """Serve keys of this SQLite file on ``sockets``, until ``stdin`` is at its end."""
    server = uvicorn.Server(config_of(create_app(VCAuth(create_settings(file)))))

    def end_with_stdin() -> None:
        while os.read(stdin, 1_024):
            pass
        server.should_exit = True

    Thread(target=end_with_stdin, daemon=True).start()
    asyncio.run(server.serve(sockets=sockets))


def main() -> None:
    """Serve on the listening sockets behind the file descriptors that the arguments name, after the SQLite file."""
    _, file, *descriptors = sys.argv
    serve(file, [socket.socket(fileno=int(descriptor)) for descriptor in descriptors], STDIN)
