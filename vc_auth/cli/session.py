"""What commands on a store share: ``--store``, ``--json``, a `vc_auth.VCAuth` to work with, and errors as sentences.

Exit codes: 0 if it was done, 1 if it failed (not found, conflict, store unreachable), 2 if it could not be meant.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from vc_auth import Settings, VCAuth
from vc_auth.cli.console import shown
from vc_auth.errors import Fault, InvalidInput, NotFound, SettingsError
from vc_auth.masking import masked
from vc_auth.urls import sqlite_path

T = TypeVar("T")


class Refused(click.ClickException):
    """The operation failed: a sentence on stderr, and exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(map(shown, message.split("\n"))))


class Misused(Refused):
    """What was asked for could not be meant: a sentence on stderr, and exit code 2, as click has it."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a command: the store that it works on, and whether a program reads what it says."""

    url: str | None
    as_json: bool

    def run(self, work: Callable[[VCAuth], Awaitable[T]], *, may_create: bool = False, with_limits: bool = False) -> T:
        """Open the store, do the work, close it. Between two runs nothing is open, so a question may take its time.

        ``may_create``: whether a file that is not there is a new one, not a mistake. ``with_limits``: whether the work
        asks the limiter; other work has to succeed without it, whatever its state.
        """
        with _ended_by_ctrl_c():
            return asyncio.run(self._run(work, may_create, with_limits))

    async def _run(self, work: Callable[[VCAuth], Awaitable[T]], may_create: bool, with_limits: bool) -> T:
        async with open_auth(self.url, may_create=may_create, with_limits=with_limits) as auth:
            return await work(auth)


@asynccontextmanager
async def open_auth(url: str | None, *, may_create: bool, with_limits: bool = False) -> AsyncIterator[VCAuth]:
    """What a command works with: the settings that servers have from ``VC_AUTH_*``, with this store if one is given."""
    settings = Settings.from_env() if url is None else Settings.from_env(store=url)
    if settings.store == "memory://":
        raise InvalidInput("name a store that outlives this command: --store sqlite:///keys.db, or VC_AUTH_STORE")
    if not may_create:
        _check_that_it_exists(sqlite_path(settings.store))
    if not with_limits:
        settings = replace(settings, limiter="none")
    # Not `async with`: that would follow the store's changes, which is for requests. The store opens itself.
    async with aclosing(VCAuth(settings)) as auth:
        yield auth


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl+C end the process at once, as SIGTERM does: the database rolls back what was not committed.

    Otherwise asyncio would first close the store, which lets a change that waits for another process's lock come to its
    end: it would be made after somebody called it off, and a new key shown to nobody.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # it means something else, or nothing, as in the background of a shell
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _check_that_it_exists(path: str) -> None:
    try:
        Path(path).stat()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path!r}; `vc-auth projects create` makes it") from None
    except OSError:
        pass  # the store has a sentence for it


def on_a_store(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--store`` and ``--json``. It is called with a `Session` first, and fails in sentences."""

    @click.option(
        "--store",
        metavar="URL",
        envvar="VC_AUTH_STORE",
        show_envvar=True,
        help="Where projects and keys live.  [default: sqlite:///keys.db]",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
    @wraps(command)
    def run(store: str | None, as_json: bool, **arguments: Any) -> None:
        with _failing_in_sentences(store):
            command(Session(store, as_json), **arguments)

    return run


@contextmanager
def _failing_in_sentences(url: str | None) -> Iterator[None]:
    try:
        yield
    except (InvalidInput, SettingsError) as error:
        raise Misused(masked(str(error), url)) from None
    except Fault as error:
        raise Refused(masked(str(error), url)) from None
    except (click.ClickException, click.Abort, BrokenPipeError):
        raise  # click has words for these
    except Exception as error:  # noqa: BLE001  # nobody at a shell can do anything with a traceback
        first_line = str(error).partition("\n")[0]
        raise Refused(masked(f"unexpected {type(error).__name__}: {first_line}", url)) from None
