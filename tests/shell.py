"""Driving ``vc-auth`` by hand."""

import asyncio
import json
import secrets
import sqlite3
import subprocess
from collections.abc import Callable, Iterable
from contextlib import aclosing, closing, suppress
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from support import bearer

from vc_auth import Settings, VCAuth
from vc_auth.cli.commands import cli
from vc_auth.errors import Denied
from vc_auth.records import UsageBatch, UsageCount
from vc_auth.stores.sql import SQLKeyStore
from vc_auth.testing import TurnableClock

Answer = str | bytes | None
Sh = Callable[..., subprocess.CompletedProcess[str]]


class Shell:
    """Runs ``vc-auth`` in this process, on a SQLite file and with a clock that turns by hand.

    ``answer`` is what stands in stdin, which is no terminal.
    """

    def __init__(self, file: Path, clock: TurnableClock) -> None:
        self.file = file
        self.url = f"sqlite:///{file}"
        self.clock = clock

    def __call__(self, *arguments: str, answer: Answer = None) -> Result:
        """What came of ``vc-auth`` with these arguments, whatever that is; never a traceback."""
        result = CliRunner().invoke(cli, arguments, input=answer)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def done(self, *arguments: str, answer: Answer = None) -> str:
        """The stdout of what must succeed, less its newline."""
        result = self(*arguments, answer=answer)
        assert result.exit_code == 0, result.stderr
        return result.stdout.removesuffix("\n")

    def json(self, *arguments: str, answer: Answer = None, code: int = 0) -> Any:
        """The document of what must end so, and say nothing else."""
        result = self(*arguments, "--json", answer=answer)
        assert (result.exit_code, result.stderr) == (code, "")
        return json.loads(result.stdout)

    def refused(self, *arguments: str, code: int, answer: Answer = None) -> str:
        """The sentence of what must fail."""
        result = self(*arguments, answer=answer)
        assert (result.exit_code, result.stdout) == (code, "")
        return result.stderr.removeprefix("Error: ").removesuffix("\n")

    def by_hand(self, statement: str, *parameters: str) -> None:
        """What somebody does in the sqlite3 shell."""
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute(statement, parameters)

    def send(self, key: str, times: int = 1, **more: str) -> None:
        """Requests with this key to a server, which stops after them. ``more``: ``address`` and ``project``."""

        async def serve() -> None:
            async with VCAuth(Settings.from_env(), clock=self.clock) as auth:
                for _ in range(times):
                    with suppress(Denied):
                        await auth.guard.admit(bearer(key), **more)

        asyncio.run(serve())

    def count(self, counts: Iterable[UsageCount]) -> None:
        """Add what some server counted."""

        async def add() -> None:
            async with aclosing(SQLKeyStore(self.file)) as store:
                await store.add_usage(UsageBatch(secrets.token_hex(8), 1, tuple(counts)))

        asyncio.run(add())
