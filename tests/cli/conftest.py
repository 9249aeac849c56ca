"""What the tests of the command line get: a terminal like any other, and the tour of the demo in this process."""

from collections.abc import Callable

import pytest
from click.testing import CliRunner

from vc_auth.cli.commands import cli


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
