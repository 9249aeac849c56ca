"""The README's command lines are ones that `vc-auth` has."""

import re
import shlex
from pathlib import Path

import pytest
from shell import Shell

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = [block for block in README.split("```")[1::2] if block.startswith("\n")]
COMMANDS = re.findall(r"\bvc-auth ([^)#\n]*)", "".join(BLOCKS))


def test_there_are_some() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_and_each_of_its_options_is_there(shell: Shell, command: str) -> None:
    assert "Usage: cli" in shell.done(*shlex.split(command), "--help")


def test_the_life_of_a_key_as_it_is_written(shell: Shell) -> None:
    shell.done("projects", "create", "acme", "--plan", "pro")
    shell.done("keys", "create", "acme", "ci", "--expires-in", "90d", "--network", "10.0.0.0/8")
    assert "ci" in shell.done("keys", "list", "acme")
    assert "all" in shell.done("usage", "acme", "--by", "hour", "--since", "36h")
