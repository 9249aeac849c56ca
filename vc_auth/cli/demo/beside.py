"""What the command line does beside the running servers, and how soon they know."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from threading import Barrier, Event
from typing import Final, NamedTuple

from vc_auth import NewKey, Registry
from vc_auth.cli.demo.checks import Send
from vc_auth.cli.demo.story import Call, check
from vc_auth.cli.demo.wire import Exchange
from vc_auth.clock import to_us

PATIENCE: Final = 5.0  # seconds for what is to come within one
INTERVAL: Final = 0.005  # seconds between two requests to the same worker


class Command(NamedTuple):
    """A command that was run, and what it wrote."""

    words: tuple[str, ...]
    code: int
    output: str


class Refusals(NamedTuple):
    """How a revocation reached the workers. ``after``: milliseconds until each refused the key; None: it never did.

    They are counted from ``revoked_at``, which the command takes from its clock just before it commits.
    """

    command: Command
    after: list[float | None]
    exchanges: list[Exchange]


class Counted(NamedTuple):
    """What the command line said of a project's usage: admitted, limited, forbidden."""

    command: Command
    sums: tuple[int, ...]


class Beside:
    """Runs ``vc-auth`` on the store of the running servers, each of which answers to one of ``sends``."""

    def __init__(self, url: str, registry: Registry, call: Call, sends: Sequence[Send]) -> None:
        self._url = url
        self._registry = registry
        self._call = call
        self._sends = sends

    def revoke(self, key: NewKey) -> Refusals:
        """Revoke a key that all workers know, while they are asked again and again."""
        known, ended = Barrier(len(self._sends) + 1), Event()

        def watch(send: Send) -> list[Exchange]:
            exchanges = [send(check(key.secret))]
            known.wait()
            deadline = None
            while exchanges[-1].answer.status in (200, 429) and (deadline is None or time.monotonic() < deadline):
                if deadline is None and ended.is_set():
                    deadline = time.monotonic() + PATIENCE
                time.sleep(INTERVAL)
                exchanges.append(send(check(key.secret)))
            return exchanges

        with ThreadPoolExecutor(len(self._sends)) as pool:
            watching = [pool.submit(watch, send) for send in self._sends]
            known.wait()
            command = self._run("keys", "revoke", key.record.id, "--yes")
            ended.set()
            watched = [each.result() for each in watching]
        revoked_at = self._call(self._registry.get_key(key.record.id)).revoked_at
        since = to_us(revoked_at) if revoked_at is not None else 0
        after = [(w[-1].received.utc - since) / 1_000 if w[-1].answer.status == 401 else None for w in watched]
        return Refusals(command, after, [exchange for exchanges in watched for exchange in exchanges])

    def usage(self, project: str, expected: tuple[int, ...]) -> Counted:
        """The usage of a project as soon as it is what was expected; as it is, if that does not come."""
        deadline = time.monotonic() + PATIENCE
        while self._sums(project) != expected and time.monotonic() < deadline:
            time.sleep(INTERVAL)
        command = self._run("usage", project, "--by", "hour", "--since", "1h")
        (sums,) = (line for line in command.output.split("\n") if line.startswith("all "))
        return Counted(command, tuple(map(int, sums.split()[2:])))

    def _sums(self, project: str) -> tuple[int, ...]:
        return reduce(add, self._call(self._registry.usage(project, by="hour"))).counts

    def _run(self, *words: str) -> Command:
        done = subprocess.run(  # noqa: S603  # our own command, without a shell
            [sys.executable, "-m", "vc_auth.cli", *words],
            env={**os.environ, "VC_AUTH_STORE": self._url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Command(words, done.returncode, done.stdout.rstrip("\n"))
