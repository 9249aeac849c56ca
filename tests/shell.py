"""Driving ``vc-auth`` by hand."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from vc_auth.cli.commands import cli
from vc_auth.testing import TurnableClock


class Shell:
    """Runs ``vc-auth`` in this process, on a SQLite file and with a clock that turns by hand."""

    def __init__(self, file: Path, clock: TurnableClock) -> None:
        self.file = file
        self.url = f"sqlite:///{file}"
        self.clock = clock

    def __call__(self, *arguments: str, answer: str | None = None) -> Result:
        """What came of ``vc-auth`` with these arguments, whatever that is; never a traceback."""
        result = CliRunner().invoke(cli, arguments, input=answer)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def done(self, *arguments: str) -> str:
        """The stdout of what must succeed, less its newline."""
        result = self(*arguments)
        assert result.exit_code == 0, result.stderr
        return result.stdout.removesuffix("\n")

    def json(self, *arguments: str) -> Any:
        """The document of what must succeed, and say nothing else."""
        result = self(*arguments, "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        return json.loads(result.stdout)

    def refused(self, *arguments: str, code: int) -> str:
        """The sentence of what must fail."""
        result = self(*arguments)
        assert (result.exit_code, result.stdout) == (code, "")
        return result.stderr.removeprefix("Error: ").removesuffix("\n")

    def by_hand(self, statement: str, *parameters: str) -> None:
        """What somebody does in the sqlite3 shell."""
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute(statement, parameters)
