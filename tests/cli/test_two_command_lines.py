"""Several ``vc-auth`` at once on one file, and one that is ended at a bad moment."""

import os
import pty
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from processes import Command, Ended, contents, locked
from shell import Shell
from support import SCALE

from vc_auth.testing import TurnableClock, some_count

ROUNDS = max(1, round(2 * SCALE))
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture
def clock() -> TurnableClock:
    """Today's: processes of their own have no other."""
    return TurnableClock(datetime.now(UTC))


@pytest.fixture
def ci(acme: Shell) -> str:
    """The id of a key of acme."""
    return str(acme.json("keys", "create", "acme", "ci")["id"])


def at_once(file: Path, *commands: tuple[str, ...]) -> list[Ended]:
    """What became of these commands, which waited together for the file's write lock."""
    with ExitStack() as stack:
        running = [stack.enter_context(Command(*command)) for command in commands]
        with locked(file):
            for command in running:
                command.go()
            for command in running:
                command.wait_for_lock()
        return [command.end() for command in running]


def keys(shell: Shell) -> dict[str, Any]:
    """All keys by their ids."""
    return {key["id"]: key for key in shell.json("keys", "list")}


def files(shell: Shell) -> list[str]:
    return sorted(file.name for file in shell.file.parent.iterdir())


# -- two at once -------------------------------------------------------------------------------------------------------


def test_of_two_rotations_one_makes_the_successor_and_the_other_names_it(acme: Shell, ci: str) -> None:
    for number in range(ROUNDS):
        lost, won = sorted(at_once(acme.file, ("keys", "rotate", ci), ("keys", "rotate", ci)), reverse=True)
        assert (lost.code, lost.stdout, won.code) == (1, "", 0)
        (successor,) = (key for key in keys(acme).values() if key["replaces"] == ci)
        assert won.stdout.startswith(successor["display"].removesuffix("..."))
        assert lost.stderr == f"Error: key {ci} was rotated already; its successor is {successor['id']}\n"
        ci = successor["id"]
        assert len(keys(acme)) == number + 2


def test_a_rotation_and_a_revocation_come_one_after_the_other(acme: Shell, ci: str) -> None:
    for _ in range(ROUNDS):
        rotated, revoked = at_once(acme.file, ("keys", "rotate", ci), ("keys", "revoke", ci, "--yes"))
        successors = [key for key in keys(acme).values() if key["replaces"] == ci]
        assert (revoked.code, keys(acme)[ci]["status"]) == (0, "revoked")
        if rotated.code == 0:
            assert [key["status"] for key in successors] == ["active"]
        else:
            assert (rotated.code, rotated.stdout) == (1, "")
            assert rotated.stderr == f"Error: key {ci} is revoked and cannot be rotated\n"
            assert successors == []
        ci = acme.json("keys", "create", "acme", "next")["id"]


def test_a_rotation_that_waits_while_its_key_is_revoked_is_refused(acme: Shell, ci: str) -> None:
    with Command("keys", "rotate", ci) as rotation:
        with locked(acme.file) as connection:
            rotation.go().wait_for_lock()
            connection.execute("UPDATE keys SET revoked_at = 1")
        assert rotation.end() == (1, "", f"Error: key {ci} is revoked and cannot be rotated\n")
    assert list(keys(acme)) == [ci]


def test_a_project_is_created_once(acme: Shell) -> None:
    for number in range(ROUNDS):
        name = f"project {number}"
        lost, won = sorted(at_once(acme.file, ("projects", "create", name), ("projects", "create", name)), reverse=True)
        assert (lost.code, lost.stdout, won.code) == (1, "", 0)
        assert lost.stderr == f"Error: a project called {name!r} exists already ({won.stdout.rstrip()})\n"
        assert [project["id"] for project in acme.json("projects", "list") if project["name"] == name] == [
            won.stdout.rstrip()
        ]


def test_usage_is_told_while_its_key_is_deleted_and_stays_afterwards(acme: Shell, ci: str) -> None:
    project = acme.json("projects", "list")[0]["id"]
    acme.count([some_count(ci, project, hour=datetime.now(UTC), admitted=5, limited=2)])
    asked = ("usage", "acme", "--key", ci, "--by", "month")
    acme.done("keys", "revoke", ci, "--yes")
    told = acme.done(*asked)
    assert "7         5        2          0" in told
    with Command("keys", "delete", ci, "--yes") as deletion:
        with locked(acme.file):
            deletion.go().wait_for_lock()
            assert acme.done(*asked) == told, "it waits for nobody"
        assert deletion.end().code == 0
    assert keys(acme) == {}
    assert acme.done(*asked) == told
    assert "7         5        2          0" in acme.done("usage", "acme", "--by", "month")


def test_eight_that_use_a_new_file_at_once_make_one_schema(shell: Shell, tmp_path: Path) -> None:
    with ExitStack() as stack:
        names = [f"project {number}" for number in range(8)]
        started = [stack.enter_context(Command("projects", "create", name)) for name in names]
        ended = [command.end() for command in [command.go() for command in started]]
    for command in ended:
        assert (
            command.code == 0 or command.stderr == f"Error: the key store '{shell.file}' is locked by another process\n"
        )
    made = [name for name, command in zip(names, ended, strict=True) if command.code == 0]
    assert [project["name"] for project in shell.json("projects", "list")] == made != []
    alone = Shell(tmp_path / "alone.db", shell.clock)
    alone.done("projects", "create", "acme", "--store", alone.url)
    assert schema(shell.file) == schema(alone.file)


def schema(file: Path) -> list[str]:
    return [line for line in contents(file) if line.startswith("CREATE")]


# -- ended at a bad moment ---------------------------------------------------------------------------------------------


@contextmanager
def full_pipe() -> Iterator[tuple[int, Callable[[], bytes]]]:
    """The end of a pipe that blocks whoever writes to it, and what was written to it beyond that."""
    out, into = os.pipe()
    os.set_blocking(into, False)
    filled = 0
    with suppress(BlockingIOError):
        while True:
            filled += os.write(into, b"." * 4096)
    os.set_blocking(into, True)

    def rest() -> bytes:
        os.close(into)
        with os.fdopen(out, "rb") as file:
            return file.read()[filled:]

    yield into, rest


def test_a_key_that_nobody_saw_since_the_process_was_killed_is_listed_and_can_be_revoked(acme: Shell) -> None:
    with full_pipe() as (stdout, rest):
        with Command("keys", "create", "acme", "ci", stdout=stdout).go() as creation:
            while not acme.json("keys", "list"):
                assert creation.process.poll() is None, creation.end()
            creation.send(signal.SIGKILL).end()
        assert rest() == b""
    (unseen,) = keys(acme)
    acme.done("keys", "revoke", unseen, "--yes")
    assert keys(acme)[unseen]["status"] == "revoked"
    assert files(acme) == ["keys.db"]


@pytest.mark.parametrize(
    ("halt", "number"),
    [
        ("INSERT INTO keys", signal.SIGKILL),
        ("UPDATE keys", signal.SIGINT),
        ("UPDATE keys", signal.SIGTERM),
        ("UPDATE keys", signal.SIGKILL),
        ("COMMIT", signal.SIGINT),
        ("COMMIT", signal.SIGKILL),
    ],
)
def test_a_rotation_that_is_ended_before_its_end_did_nothing(
    acme: Shell, ci: str, halt: str, number: signal.Signals
) -> None:
    before = contents(acme.file)
    with Command("keys", "rotate", ci, halt=halt) as rotation:
        assert rotation.wait_for_halt().send(number).end() == (-number, "", "")
    assert contents(acme.file) == before
    acme.done("keys", "rotate", ci)


@pytest.mark.parametrize("halt", ["PRAGMA journal_mode", "CREATE TABLE projects", "PRAGMA user_version =", "COMMIT"])
def test_a_file_whose_making_was_interrupted_is_made_by_the_next(shell: Shell, halt: str) -> None:
    with Command("projects", "create", "acme", halt=halt) as creation:
        assert creation.wait_for_halt().send(signal.SIGKILL).end().code == -signal.SIGKILL
    shell.done("projects", "create", "acme")
    assert [project["name"] for project in shell.json("projects", "list")] == ["acme"]


@SIGNALS
@pytest.mark.parametrize(
    "command",
    [
        "projects create other",
        "projects suspend acme",
        "keys create acme other",
        "keys rotate {ci}",
        "keys revoke {ci} --yes",
    ],
)
def test_who_is_called_off_while_he_waits_for_a_lock_does_not_do_it_later(
    acme: Shell, ci: str, command: str, number: signal.Signals
) -> None:
    before = contents(acme.file)
    with Command(*command.format(ci=ci).split()) as waiting:
        with locked(acme.file):
            ended = waiting.go().wait_for_lock().send(number).end()  # at once: the lock is still held
        assert ended == (-number, "", "")
    assert contents(acme.file) == before
    acme.done(*command.format(ci=ci).split())
    assert files(acme) == ["keys.db"]


@SIGNALS
@pytest.mark.parametrize("verb", ["revoke", "delete"])
def test_a_question_holds_nothing_and_can_be_called_off(
    acme: Shell, ci: str, verb: str, number: signal.Signals
) -> None:
    if verb == "delete":
        acme.done("keys", "revoke", ci, "--yes")
    before = contents(acme.file)
    terminal, stdin = pty.openpty()
    with Command("keys", verb, ci, stdin=stdin).go() as asking:
        assert f"{verb.capitalize()} {ci} " in asking.wait_for_question()
        assert files(acme) == ["keys.db"]
        ended = asking.send_until_it_ends(number).end()
    assert ended.stdout.strip() == ""
    assert (ended.code, ended.stderr.strip()) == ((1, "Aborted!") if number == signal.SIGINT else (-number, ""))
    assert contents(acme.file) == before
    os.close(terminal)
    os.close(stdin)
