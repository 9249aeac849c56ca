"""``vc-auth demo``: a real server, real requests over real sockets, and every answer held against the contract."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from vc_auth import VCAuth
from vc_auth.cli.demo.app import create_settings
from vc_auth.cli.demo.beside import Beside
from vc_auth.cli.demo.checks import Send
from vc_auth.cli.demo.crew import on_duty
from vc_auth.cli.demo.knock import NoRedis, knock
from vc_auth.cli.demo.screen import Screen
from vc_auth.cli.demo.server import CannotListen, address_of, listen
from vc_auth.cli.demo.story import HEALTH, key_to_try, story
from vc_auth.cli.demo.tour import Tour
from vc_auth.cli.demo.wire import send

__all__ = ["CannotListen", "NoRedis", "run"]


def run(console: Console, host: str, port: int, *, once: bool, workers: int = 1, redis: str | None = None) -> int:
    """Give the tour on ``console``, from ``host`` and ``port`` (0: a free one); return the process's exit code.

    ``once``: 0 if every answer was as documented, else 1. Otherwise stay up until SIGINT or SIGTERM, then 0. The keys
    are in a SQLite file that is gone afterwards; ``workers`` processes share it. Each has buckets of its own, unless
    ``redis`` is the URL of one that keeps them for all. Raises CannotListen or NoRedis with a sentence for the user.
    """
    screen = Screen(console)
    with _interruptible(), TemporaryDirectory(prefix="vc-auth-demo-") as folder, listen(host, port) as listener:
        if redis is not None:
            knock(redis)
        file, url = Path(folder) / "keys.db", address_of(listener).url
        auth = VCAuth(create_settings(file, redis or "memory://", workers))
        with on_duty(auth, file, listener, workers) as (server, addresses):
            screen.welcome(url, workers, redis)
            sends = [partial(send, *address) for address in addresses]
            beside = Beside(auth.settings.store, auth.registry, server.call, sends)
            scenes = story(auth.registry, server.call, workers, on_redis=redis is not None)
            if redis is not None:
                _wait_for(sends)
            passed = Tour(sends, beside, screen).give(scenes)
            if once:
                return 0 if passed else 1
            with suppress(KeyboardInterrupt):
                screen.invite(url, key_to_try(auth.registry, server.call))
                server.wait()
    return 0


def _wait_for(sends: Sequence[Send]) -> None:
    """Return when all workers answer. A request that waits for one to start leaves room for more than one number."""
    for send_to in sends:
        send_to(HEALTH)


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
