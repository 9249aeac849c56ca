"""Questions before what cannot be undone."""

import sys

import click

from vc_auth.cli.console import shown
from vc_auth.cli.session import Misused, Refused


def ask(question: str) -> None:
    """Go on if somebody at a terminal says yes. Nobody there, or another answer, ends the command."""
    if not is_answered():
        raise Misused(f"stdin is no terminal, so nobody can be asked; add --yes. The question is: {question}")
    if not click.confirm(shown(question), err=True):
        raise Refused("nothing was changed")


def is_answered() -> bool:
    """Whether somebody sits at stdin."""
    return sys.stdin is not None and sys.stdin.isatty()
