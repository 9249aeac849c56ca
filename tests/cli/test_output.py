"""What reaches stdout and stderr: nothing that a terminal would obey, and a new key only where it is safe."""

import asyncio
import errno
import json
import os
import re
import sys
from datetime import UTC, datetime
from io import StringIO

import pytest
from click.testing import CliRunner
from shell import Sh, Shell

from vc_auth import NewKey, Settings, VCAuth
from vc_auth.cli import asking, console, key_views
from vc_auth.cli.commands import cli
from vc_auth.cli.session import Refused
from vc_auth.errors import Fault

WILD = "\x1b]0;gotcha\x07\x1b[2J\u202e[red]a\r\nb"
TAMED = r"\x1b]0;gotcha\x07\x1b[2J\u202e[red]a\r\nb"


@pytest.fixture
def wild(acme: Shell) -> Shell:
    """A file in which somebody called everything what no registry would accept."""
    acme.done("keys", "create", "acme", "ci")
    acme.by_hand("UPDATE projects SET name = ?", WILD)
    acme.by_hand("UPDATE keys SET name = ?, display = ?, id = ?", WILD, WILD, "key_" + WILD)
    return acme


def harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.removesuffix("\n").split("\n"))


# -- names that somebody wrote by hand ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("projects", "list"), ("keys", "list"), ("keys", "show", "key_" + WILD)])
@pytest.mark.parametrize("colour", [True, False])
def test_names_are_shown_escaped(
    wild: Shell, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], colour: bool
) -> None:
    if colour:
        monkeypatch.setenv("FORCE_COLOR", "1")
    out = re.sub(r"\x1b\[\d*m", "", wild.done(*arguments)) if colour else wild.done(*arguments)
    assert TAMED in out
    assert harmless(out)


def test_names_are_escaped_in_sentences_questions_and_json(wild: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [wild("projects", verb, WILD).stderr for verb in ("suspend", "resume")]
    said += [wild("keys", "create", WILD, "ci").stderr, wild("keys", "rotate", "key_" + WILD).stderr]
    said.append(wild("keys", "revoke", "key_" + WILD).stderr)
    monkeypatch.setattr(asking, "is_answered", lambda: True)
    said.append(wild("keys", "revoke", "key_" + WILD, answer="y\n").stderr)
    said.append(wild("keys", "delete", "key_" + WILD, answer="y\n").stderr)
    said += [wild("usage", WILD).stderr, wild("usage", WILD, "--key", "a" + WILD).stderr]
    for text in said:
        assert TAMED in text
        assert harmless(text)
    for out in (wild.done("projects", "list", "--json"), wild.done("usage", WILD, "--json")):
        assert out.isascii()
        assert harmless(out)
        assert json.dumps(WILD) in out


def test_markup_in_names_is_text(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    acme.done("projects", "create", "[bold]:smile:[/] [link=https://example.com]x")
    assert "\n[bold]:smile:[/] [link=https://example.com]x  prj_" in acme.done("projects", "list")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\n[bold]:smile:[/] [link=https://example.com]x  prj_" in acme.done("projects", "list")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("鍵 ü é 👩", "鍵 ü é 👩"),
        ("\x00\t\x7f\x9b\u200b\ud800\U000e0001", r"\x00\t\x7f\x9b\u200b\ud800\U000e0001"),
        (r"C:\x", r"C:\x"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert console.shown(text) == shown


# -- tables ------------------------------------------------------------------------------------------------------------


def test_in_a_pipe_there_are_no_colours_and_nothing_is_shortened(acme: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    name = "x" * 100
    key = acme.json("keys", "create", "acme", name)
    heading, row = acme.done("keys", "list").splitlines()
    assert name in row
    assert row.split()[2] == key["id"]
    assert "\x1b" not in heading + row


def test_in_a_terminal_headings_are_bold_and_a_status_has_its_colour(
    acme: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = acme.json("keys", "create", "acme", "active")
    acme.done("keys", "revoke", dead["id"], "--yes")
    acme.done("keys", "create", "acme", "revoked")
    plain = acme.done("keys", "list")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")
    coloured = acme.done("keys", "list")
    assert re.sub(r"\x1b\[\d*m", "", coloured) == plain, "also in a narrow one"
    assert re.findall(r"\x1b\[(\d+)m([^\x1b]+)\x1b\[0m", coloured) == [
        ("1", plain.splitlines()[0]),
        ("31", "revoked"),
        ("32", "active"),
    ]


def test_wide_characters_take_two_columns(acme: Shell) -> None:
    acme.done("projects", "create", "鍵")
    assert [line.split("prj_")[0] for line in acme.done("projects", "list").splitlines()[1:]] == ["acme  ", "鍵    "]


def test_what_the_terminal_cannot_write_is_escaped(acme: Shell) -> None:
    acme.done("projects", "create", "鍵 ü")
    runner = CliRunner(charset="iso-8859-1")
    result = runner.invoke(cli, ["projects", "list"])
    assert result.exit_code == 0
    assert r"\u9375 ü  prj_" in result.stdout


# -- a new key, in a real shell ----------------------------------------------------------------------------------------


def test_a_shell_variable_holds_the_key_and_nothing_else(acme: Shell, sh: Sh) -> None:
    ended = sh('KEY=$(vc-auth keys create acme ci) && echo "[$KEY]"')
    assert ended.returncode == 0
    key = re.fullmatch(r"\[(vc_[0-9a-f]{32})\]\n", ended.stdout)
    assert key is not None
    assert ended.stderr.startswith("Made key_")
    assert key[1] not in ended.stderr
    assert acme.json("keys", "list")[0]["display"] == key[1][:7] + "..."


def test_a_key_that_cannot_be_shown_is_named_so_that_it_can_be_revoked(acme: Shell, sh: Sh) -> None:
    for number, (line, why) in enumerate(
        [
            ("vc-auth keys create acme ci > /dev/full", "No space left on device"),
            ("vc-auth keys create acme ci --json > /dev/full", "No space left on device"),
        ]
    ):
        ended = sh(line)
        key = acme.json("keys", "list")[number]
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == (
            f"Error: {key['id']} ({key['display']}, 'ci') of project 'acme' was made,"
            f" and could not be shown: {why}. Revoke it.\n"
        )


@pytest.mark.parametrize("verb", ["create acme ci", "rotate {id}"])
def test_no_key_is_made_where_it_could_not_be_shown(acme: Shell, sh: Sh, verb: str) -> None:
    key = acme.json("keys", "create", "acme", "first")
    ended = sh(f"vc-auth keys {verb.format(**key)} >&-")
    assert ended.returncode == 1
    assert ended.stderr == "Error: stdout is closed, so the new key could not be shown; nothing was changed\n"
    assert len(acme.json("keys", "list")) == 1


class Full(StringIO):
    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("as_document", [True, False])
def test_what_could_not_be_written_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, as_document: bool) -> None:
    """Python would flush stdout once more at its end, fail, and exit with 120."""

    async def create() -> NewKey:
        registry = VCAuth(Settings(store="memory://")).registry
        await registry.create_project("acme")
        return await registry.create_key("acme", "ci")

    new = asyncio.run(create())
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(Refused) as refused:
        key_views.put_secret(new, datetime.now(UTC), as_document=as_document)
    assert refused.value.message == (
        f"{new.record.id} ({new.record.display}, 'ci') of project 'acme' was made,"
        " and could not be shown: No space left on device. Revoke it."
    )
    stdout: object = sys.stdout
    assert stdout is None
    with pytest.raises(Fault, match="stdout is closed, so the new key could not be shown; nothing was changed"):
        key_views.need_stdout()


@pytest.mark.parametrize("command", ["projects list", "keys show {id}", "usage acme --since 2026-01-01"])
def test_a_table_into_a_closed_stdout_is_no_error(acme: Shell, sh: Sh, command: str) -> None:
    key = acme.json("keys", "create", "acme", "ci")
    acme.send(key["key"])
    ended = sh(f"vc-auth {command.format(**key)} >&-")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_question_is_answered_at_a_terminal(acme: Shell, sh: Sh) -> None:
    key = acme.json("keys", "create", "acme", "ci")
    ours, theirs = os.openpty()
    try:
        os.write(ours, b"y\n")
        ended = sh(f"vc-auth keys revoke {key['id']}", stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ", for ever? [y/N]: " in ended.stderr
    assert acme.json("keys", "list")[0]["status"] == "revoked"


def test_where_stdin_is_closed_nobody_can_be_asked(acme: Shell, sh: Sh) -> None:
    key = acme.json("keys", "create", "acme", "ci")
    ended = sh(f"vc-auth keys revoke {key['id']} <&-")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Error: stdin is no terminal, so nobody can be asked; add --yes.")
