"""``vc-auth demo``: a real server, real requests over real sockets, and every answer held against the contract."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from rich.console import Console

from vc_auth import Settings, VCAuth
from vc_auth.cli.demo.app import create_app
from vc_auth.cli.demo.screen import Screen
from vc_auth.cli.demo.server import CannotListen, DemoServer, listen
from vc_auth.cli.demo.story import key_to_try, story
from vc_auth.cli.demo.tour import give
from vc_auth.cli.demo.wire import send

__all__ = ["CannotListen", "run"]


def run(console: Console, host: str, port: int, *, once: bool) -> int:
    """Give the tour on ``console``, from ``host`` and ``port`` (0: a free one); return the process's exit code.

    ``once``: 0 if every answer was as documented, else 1. Otherwise stay up until SIGINT or SIGTERM, then 0. Raises
    CannotListen with a sentence for the user.
    """
    screen = Screen(console)
    auth = VCAuth(Settings(store="memory://", limiter="memory://", public_paths=("/health",)))
    with _interruptible(), listen(host, port) as listener, DemoServer(create_app(auth), listener) as server:
        screen.welcome(server.url)
        passed = give(story(auth.registry, server.call), partial(send, server.host, server.port), screen)
        if once:
            return 0 if passed else 1
        with suppress(KeyboardInterrupt):
            screen.invite(server.url, key_to_try(auth.registry, server.call))
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
