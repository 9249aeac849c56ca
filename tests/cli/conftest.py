"""What the tests of the command line get: a terminal like any other, and the tour of the demo in this process."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from shell import Sh, Shell

from vc_auth import Settings, VCAuth
from vc_auth.cli import session
from vc_auth.cli.commands import cli
from vc_auth.stores.sql import SQLKeyStore
from vc_auth.testing import TurnableClock

VC_AUTH = (sys.executable, "-m", "vc_auth.cli")
DEADLINE = 60.0


@pytest.fixture(autouse=True)
def dull_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shell, a CI or an editor has set must not change what is printed here."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("PYTHONUTF8", "1")


@pytest.fixture
def tour() -> Callable[[], tuple[int, str]]:
    """Gives the tour, and returns the exit code and the output of ``vc-auth demo --once --port 0``."""

    def give() -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["demo", "--once", "--port", "0"])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output

    return give


@pytest.fixture
def shell(tmp_path: Path, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell where ``VC_AUTH_STORE`` names a new file, and no other setting is made."""
    for name in [name for name in os.environ if name.startswith("VC_AUTH_") and "_TEST_" not in name]:
        monkeypatch.delenv(name)
    shell = Shell(tmp_path / "keys.db", clock)
    monkeypatch.setenv("VC_AUTH_STORE", shell.url)
    monkeypatch.setattr(session, "VCAuth", partial(VCAuth, clock=clock))
    return shell


@pytest.fixture(scope="session")
def acme_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a project called acme on the plan pro: to be copied, since making tables takes a while."""
    file = tmp_path_factory.mktemp("acme") / "keys.db"

    async def create() -> None:
        async with aclosing(SQLKeyStore(file)) as store:
            auth = VCAuth(Settings(), store=store, clock=TurnableClock())
            await auth.registry.create_project("acme", plan="pro")

    asyncio.run(create())
    return file


@pytest.fixture
def acme(shell: Shell, acme_file: Path) -> Shell:
    """The same, where the file has a project called acme on the plan pro."""
    shutil.copy(acme_file, shell.file)
    return shell


@pytest.fixture
def sh(acme: Shell) -> Sh:
    """Runs a line of shell in which ``vc-auth`` is this one, on the file of acme."""

    def run(line: str, **options: Any) -> subprocess.CompletedProcess[str]:
        function = f'vc-auth() {{ {" ".join(VC_AUTH)} "$@"; }}\n'
        environment = {**os.environ, "VC_AUTH_STORE": acme.url, "PYTHONDEVMODE": ""}
        return subprocess.run(
            ["/bin/bash", "-c", function + line],
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
            **{"stdin": subprocess.DEVNULL, **options},
        )

    return run


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that SQLite is asked to run, from now on."""
    told: list[str] = []
    connect = sqlite3.connect

    def connect_and_listen(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.set_trace_callback(told.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_and_listen)
    return told


@pytest.fixture
def new(acme: Shell) -> dict[str, Any]:
    """A key of acme, as programs see it when it is made."""
    return dict(acme.json("keys", "create", "acme", "ci"))
