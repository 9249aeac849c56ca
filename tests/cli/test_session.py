"""Which store a command works on, and how whatever goes wrong there is said."""

import asyncio
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from shell import Shell

from vc_auth.cli import session
from vc_auth.errors import BackendError, Fault
from vc_auth.registry import Registry

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
]
on_every_command = pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)


@on_every_command
@pytest.mark.parametrize("url", [None, "", "memory://", "memory:"])
def test_a_store_that_dies_with_the_command_is_refused(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], url: str | None
) -> None:
    if url is None:
        monkeypatch.delenv("VC_AUTH_STORE")
    else:
        monkeypatch.setenv("VC_AUTH_STORE", url)
    for more in ((), ("--json",)):
        assert shell.refused(*arguments, *more, code=2) == (
            "name a store that outlives this command: --store sqlite:///keys.db, or VC_AUTH_STORE"
        )


def test_the_option_wins_over_the_environment(acme: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VC_AUTH_STORE", f"sqlite:///{tmp_path}/other.db")
    assert len(acme.json("projects", "list", "--store", acme.url)) == 1
    monkeypatch.delenv("VC_AUTH_STORE")
    assert len(acme.json("projects", "list", "--store", acme.url)) == 1


@on_every_command
def test_a_file_that_is_not_there_is_made_by_projects_create_alone(shell: Shell, arguments: tuple[str, ...]) -> None:
    if arguments[1:] == ("create", "other"):
        shell.done(*arguments)
        assert shell.file.exists()
        return
    assert shell.refused(*arguments, code=1) == (f"there is no file '{shell.file}'; `vc-auth projects create` makes it")
    assert not shell.file.exists()


@on_every_command
def test_a_file_that_is_no_database_is_one_sentence(shell: Shell, arguments: tuple[str, ...]) -> None:
    shell.file.write_text("Dear diary, " * 100)
    sentence = shell.refused(*arguments, code=1)
    assert sentence.startswith(f"the key store '{shell.file}' ")
    assert "\n" not in sentence


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
        ("sqlite:keys.db", "store: 'sqlite:keys.db' has not three slashes and a path; "),
        ("sqlite://", "store: 'sqlite://' would be gone with its connection; "),
        ("oracle://ann:s3cret@db/keys", "store: 'oracle://ann:***@db/keys' is no store; "),
        ("oracle://ann:s3c:r@t@db/keys", "store: 'oracle://ann:***@db/keys' is no store; "),
        ("oracle://ann:s3cret\x1b[2J@db", "store: 'oracle://ann:***@db' is no store; "),
        ("a\x1b[2Jb", r"store: 'a\x1b[2Jb' is no store; "),
    ],
)
def test_a_wrong_url_is_refused_with_its_password_masked(shell: Shell, url: str, problem: str) -> None:
    for arguments in COMMANDS[:2]:
        sentence = shell.refused(*arguments, "--store", url, code=2)
        assert sentence.startswith(f"these settings cannot work:\n  {problem}")
        assert "s3c" not in sentence


def test_every_problem_of_the_environment_is_said_at_once(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VC_AUTH_CACHE_TTL", "soon")
    monkeypatch.setenv("VC_AUTH_PLANS", "gold")
    monkeypatch.setenv("VC_AUTH_LIMITR", "none")
    lines = acme.refused("keys", "list", code=2).splitlines()
    assert lines[0] == "these settings cannot work:"
    assert sorted(line.partition(":")[0] for line in lines[1:]) == ["  VC_AUTH_LIMITR", "  cache_ttl", "  plans"]


def test_a_database_that_somebody_locked_is_one_sentence(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def locked(self: Registry, name: str, **_: Any) -> None:
        raise BackendError("the key store is locked by another process")

    monkeypatch.setattr(Registry, "create_project", locked)
    assert acme.refused("projects", "create", "b", code=1) == "the key store is locked by another process"


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
    async def fails(self: Registry) -> None:
        raise error

    monkeypatch.setattr(Registry, "list_projects", fails)
    assert acme.refused("projects", "list", code=1) == sentence


def test_an_interrupt_is_no_success(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(self: Registry) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Registry, "list_projects", interrupted)
    result = acme("projects", "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.strip() == "Aborted!"


def test_the_store_is_closed_after_every_command(acme: Shell) -> None:
    for arguments in (("keys", "list"), ("keys", "show", "nope")):
        acme(*arguments)
        assert [file.name for file in acme.file.parent.iterdir()] == [acme.file.name], "SQLite's last one out tidies up"
    with closing(sqlite3.connect(acme.file, timeout=0)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert acme.file.stat().st_uid == os.getuid()


@pytest.mark.parametrize(
    ("url", "text", "masked"),
    [
        (None, "no URL, no password", "no URL, no password"),
        ("sqlite:///keys.db", "at 12:30@home", "at 12:30@home"),
        ("db://ann@host", "db://ann@host", "db://ann@host"),
        ("db://ann:pw@host", "cannot reach db://ann:pw@host/x", "cannot reach db://ann:***@host/x"),
        ("db://ann:p%40w@host", "db://ann:p@w@host db://ann:p%40w@host", "db://ann:***@host db://ann:***@host"),
        ("db://ann:p\nw@host", r"'db://ann:p\nw@host'", "'db://ann:***@host'"),
        ("db://:pw@host", "db://:pw@host", "db://:***@host"),
        ("db://host/?password=pw&x=1", "db://host/?password=pw&x=1", "db://host/?password=***&x=1"),
    ],
)
def test_a_password_is_masked_in_whatever_form_it_stands_there(url: str | None, text: str, masked: str) -> None:
    assert session.masked(text, url) == masked
    assert re.search("pw|p@w|p%40w", masked.replace("password", "")) is None
