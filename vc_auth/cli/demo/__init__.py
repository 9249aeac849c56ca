"""``vc-auth demo``: a real server, real requests over real sockets, and every answer held against the contract."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from vc_auth import VCAuth
from vc_auth.cli.demo.app import create_settings
from vc_auth.cli.demo.beside import Beside
from vc_auth.cli.demo.crew import on_duty
from vc_auth.cli.demo.screen import Screen
from vc_auth.cli.demo.server import CannotListen, address_of, listen
from vc_auth.cli.demo.story import key_to_try, story
from vc_auth.cli.demo.tour import Tour
from vc_auth.cli.demo.wire import send

__all__ = ["CannotListen", "run"]


def run(console: Console, host: str, port: int, *, once: bool, workers: int = 1) -> int:
    """Give the tour on ``console``, from ``host`` and ``port`` (0: a free one); return the process's exit code.

    ``once``: 0 if every answer was as documented, else 1. Otherwise stay up until SIGINT or SIGTERM, then 0. The keys
    are in a SQLite file that is gone afterwards; ``workers`` processes share it. Raises CannotListen with a sentence
    for the user.
    """
    screen = Screen(console)
    with _interruptible(), TemporaryDirectory(prefix="vc-auth-demo-") as folder, listen(host, port) as listener:
        file, url = Path(folder) / "keys.db", address_of(listener).url
        auth = VCAuth(create_settings(file))
        with on_duty(auth, file, listener, workers) as (server, addresses):
            screen.welcome(url, workers)
            sends = [partial(send, *address) for address in addresses]
            beside = Beside(auth.settings.store, auth.registry, server.call, sends)
            passed = Tour(sends[0], beside, screen).give(story(auth.registry, server.call, workers))
            if once:
                return 0 if passed else 1
            with suppress(KeyboardInterrupt):
                screen.invite(url, key_to_try(auth.registry, server.call))
                server.wait()
    return 0


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM do what Ctrl+C does, and SIGINT as well, which a shell has its background jobs ignore."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
