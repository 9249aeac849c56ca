"""Which store a command works on, and how whatever goes wrong there is said."""

import asyncio
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from shell import Shell

from vc_auth.errors import Fault
from vc_auth.records import Project
from vc_auth.registry import Registry
from vc_auth.stores.sql import SQLKeyStore
from vc_auth.stores.sql.database import Database

KEY = "vc_" + 32 * "0"  # in the stdin of every command, for the one that reads it

COMMANDS = [
    ("projects", "create", "other"),
    ("projects", "list"),
    ("projects", "suspend", "acme"),
    ("projects", "resume", "acme"),
    ("projects", "plan", "acme", "free"),
    ("keys", "create", "acme", "ci"),
    ("keys", "list"),
    ("keys", "list", "acme"),
    ("keys", "show", "key_1234"),
    ("keys", "rotate", "key_1234"),
    ("keys", "revoke", "key_1234", "--yes"),
    ("keys", "delete", "key_1234", "--yes"),
    ("usage", "acme"),
    ("usage", "--key", "key_1234"),
    ("check",),
    ("check", "--project", "acme"),
]
on_every_command = pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
MAKES_THE_FILE = COMMANDS[0]
SETTINGS = "these settings cannot work:\n  "


# -- which store -------------------------------------------------------------------------------------------------------


@on_every_command
def test_a_store_that_dies_with_the_command_is_refused(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    sentence = "name a store that outlives this command: --store sqlite:///keys.db, or VC_AUTH_STORE"
    assert shell.refused(*arguments, "--store", "memory://", answer=KEY, code=2) == sentence
    monkeypatch.setenv("VC_AUTH_STORE", "memory://")
    for more in ((), ("--json",)):
        assert shell.refused(*arguments, *more, answer=KEY, code=2) == sentence


@pytest.fixture
def nowhere(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell in an empty folder, where nobody says which store is meant. Its file is the one that should be."""
    monkeypatch.delenv("VC_AUTH_STORE")
    monkeypatch.chdir(shell.file.parent)
    return shell


@on_every_command
def test_without_a_url_the_store_is_keys_db_in_this_folder(nowhere: Shell, arguments: tuple[str, ...]) -> None:
    if arguments == MAKES_THE_FILE:
        nowhere.done(*arguments)
        assert nowhere.file.name == "keys.db"
        assert nowhere.file.exists()
        return
    for more in ((), ("--json",)):
        sentence = nowhere.refused(*arguments, *more, answer=KEY, code=1)
        assert sentence == "there is no file 'keys.db'; `vc-auth projects create` makes it"
    assert list(nowhere.file.parent.iterdir()) == []


def test_without_a_url_commands_share_keys_db_with_those_that_name_it(nowhere: Shell) -> None:
    nowhere.done("projects", "create", "acme")
    key = nowhere.done("keys", "create", "acme", "ci")
    nowhere.send(key)
    assert nowhere.json("usage", "acme", "--by", "month")["usage"][-1]["requests"] == 1
    assert nowhere.json("check", answer=key)["admitted"]
    assert nowhere.json("keys", "list") == nowhere.json("keys", "list", "--store", nowhere.url)
    assert nowhere.json("keys", "list") == nowhere.json("keys", "list", "--store", "sqlite:///keys.db")


@on_every_command
def test_a_variable_without_a_url_is_a_mistake_and_no_default(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("VC_AUTH_STORE", "")
    assert shell.refused(*arguments, answer=KEY, code=2).startswith(f"{SETTINGS}store: '' is no store; give ")
    assert shell.refused(*arguments, "--store", "", answer=KEY, code=2).startswith(f"{SETTINGS}store: '' is no store; ")


def test_the_option_wins_over_the_environment(acme: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VC_AUTH_STORE", f"sqlite:///{tmp_path}/other.db")
    assert len(acme.json("projects", "list", "--store", acme.url)) == 1
    monkeypatch.delenv("VC_AUTH_STORE")
    assert len(acme.json("projects", "list", "--store", acme.url)) == 1


# -- a store that is none ----------------------------------------------------------------------------------------------


@on_every_command
def test_a_file_that_is_not_there_is_made_by_projects_create_alone(shell: Shell, arguments: tuple[str, ...]) -> None:
    if arguments == MAKES_THE_FILE:
        shell.done(*arguments)
        assert shell.file.exists()
        return
    sentence = f"there is no file '{shell.file}'; `vc-auth projects create` makes it"
    assert shell.refused(*arguments, answer=KEY, code=1) == sentence
    assert list(shell.file.parent.iterdir()) == []


@on_every_command
def test_a_file_that_is_no_database_is_one_sentence(shell: Shell, arguments: tuple[str, ...]) -> None:
    shell.file.write_text("Dear diary, " * 100)
    for more in ((), ("--json",)):
        sentence = shell.refused(*arguments, *more, answer=KEY, code=1)
        assert sentence == f"the key store '{shell.file}' is no SQLite database"


@on_every_command
def test_another_programs_database_is_one_sentence(shell: Shell, arguments: tuple[str, ...]) -> None:
    shell.by_hand("CREATE TABLE notes (text)")
    before = shell.file.read_bytes()
    assert shell.refused(*arguments, answer=KEY, code=1) == (
        f"the key store '{shell.file}' is the database of another program; give a file of its own"
    )
    assert shell.file.read_bytes() == before


@on_every_command
def test_a_folder_is_one_sentence(shell: Shell, arguments: tuple[str, ...]) -> None:
    shell.file.mkdir()
    assert shell.refused(*arguments, answer=KEY, code=1) == (
        f"the key store '{shell.file}' is a folder; give the path of a file in it"
    )


@on_every_command
def test_a_file_that_may_not_be_written_is_one_sentence(
    acme: Shell, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # who runs the tests may be root
    assert acme.refused(*arguments, answer=KEY, code=1) == (
        f"the key store '{acme.file}' cannot be written; this process needs to write the file and its folder"
    )


@on_every_command
def test_a_file_that_somebody_keeps_to_himself_is_one_sentence(
    acme: Shell, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    assert SQLKeyStore.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(SQLKeyStore.__init__.__kwdefaults__, "busy_timeout", 0.01)
    with closing(sqlite3.connect(acme.file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert (
            acme.refused(*arguments, answer=KEY, code=1) == f"the key store '{acme.file}' is locked by another process"
        )


@on_every_command
def test_a_path_is_shown_escaped(shell: Shell, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "a\x1b[2Jb").mkdir()
    sentence = shell.refused(*arguments, "--store", f"sqlite:///{tmp_path}/a\x1b[2Jb", answer=KEY, code=1)
    assert sentence == rf"the key store '{tmp_path}/a\x1b[2Jb' is a folder; give the path of a file in it"


@pytest.mark.parametrize("where", ["", "/nowhere/keys.db", "/plain/keys.db"])
def test_a_path_that_cannot_be_is_one_sentence(shell: Shell, tmp_path: Path, where: str) -> None:
    (tmp_path / "plain").touch()
    for command in (("projects", "create", "acme"), ("projects", "list")):
        sentence = shell.refused(*command, "--store", f"sqlite:///{tmp_path}{where}", code=1)
        assert str(tmp_path) in sentence
        assert "\n" not in sentence
        assert not sentence.startswith("unexpected")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("keys.db", "store: 'keys.db' is no store; "),
        ("memory:", "store: 'memory:' is no store; "),
        ("sqlite:keys.db", "store: 'sqlite:keys.db' has not three slashes and a path; "),
        ("sqlite://", "store: 'sqlite://' would be gone with its connection; "),
        ("oracle://ann:s3cret@db/keys", "store: 'oracle://ann:***@db/keys' is no store; "),
        ("oracle://ann:s3c:r@t@db/keys", "store: 'oracle://ann:***@db/keys' is no store; "),
        ("oracle://ann:s3cret\x1b[2J@db", "store: 'oracle://ann:***@db' is no store; "),
        ("a\x1b[2Jb", r"store: 'a\x1b[2Jb' is no store; "),
    ],
)
def test_a_wrong_url_is_refused_with_its_password_masked(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, url: str, problem: str
) -> None:
    for arguments in COMMANDS:
        sentence = shell.refused(*arguments, "--store", url, answer=KEY, code=2)
        assert sentence.startswith(f"{SETTINGS}{problem}")
        assert "s3c" not in sentence
        monkeypatch.setenv("VC_AUTH_STORE", url)
        assert shell.refused(*arguments, answer=KEY, code=2) == sentence


def test_every_problem_of_the_environment_is_said_at_once(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VC_AUTH_CACHE_TTL", "soon")
    monkeypatch.setenv("VC_AUTH_PLANS", "gold")
    monkeypatch.setenv("VC_AUTH_LIMITR", "none")
    lines = acme.refused("keys", "list", code=2).splitlines()
    assert lines[0] == "these settings cannot work:"
    assert sorted(line.partition(":")[0] for line in lines[1:]) == ["  VC_AUTH_LIMITR", "  cache_ttl", "  plans"]


# -- whatever else goes wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("boom"), "unexpected RuntimeError: boom"),
        (RuntimeError("boom\x1b[2J\nand\nmore"), r"unexpected RuntimeError: boom\x1b[2J"),
        (ZeroDivisionError(), "unexpected ZeroDivisionError: "),
        (Fault("a\x1b[2J"), r"a\x1b[2J"),
    ],
)
def test_no_traceback_ever_reaches_the_user(
    acme: Shell, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    async def fails(*_: Any) -> None:
        raise error

    for way in ("find", "read", "write"):
        monkeypatch.setattr(Database, way, fails)
    for arguments in COMMANDS:
        assert acme.refused(*arguments, answer=KEY, code=1) == sentence


def test_an_interrupt_is_no_success(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(self: Registry) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Registry, "list_projects", interrupted)
    result = acme("projects", "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.strip() == "Aborted!"


@pytest.mark.parametrize(
    ("before", "meanwhile"),
    [(signal.default_int_handler, signal.SIG_DFL), (signal.SIG_IGN, signal.SIG_IGN), (print, print)],
)
def test_ctrl_c_ends_the_process_while_a_store_is_open_unless_it_means_something_else(
    acme: Shell, monkeypatch: pytest.MonkeyPatch, before: Any, meanwhile: Any
) -> None:
    seen = []

    async def look(self: Registry) -> list[Project]:
        seen.append(signal.getsignal(signal.SIGINT))
        return []

    monkeypatch.setattr(Registry, "list_projects", look)
    at_first = signal.signal(signal.SIGINT, before)
    try:
        acme.done("projects", "list")
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, at_first)
    assert seen == [meanwhile]


def test_the_store_is_closed_after_every_command(acme: Shell) -> None:
    for arguments in COMMANDS:
        acme(*arguments, answer=KEY)
        assert [file.name for file in acme.file.parent.iterdir()] == [acme.file.name], "SQLite's last one out tidies up"
    with closing(sqlite3.connect(acme.file, timeout=0)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert acme.file.stat().st_uid == os.getuid()
