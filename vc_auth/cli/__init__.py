"""``vc-auth``: the command line. It needs the extra ``cli``, so nothing here imports click before `main` has looked."""

import sys


def main() -> None:
    """Run ``vc-auth`` with the arguments of the process. Without click or rich, say which pip line adds them."""
    try:
        from vc_auth.cli.commands import cli  # noqa: PLC0415  # a plain install has no click
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        sys.exit("The command line of vc-auth needs click and rich. Add them with:\n\n    pip install 'vc-auth[cli]'")
    cli(prog_name="vc-auth")
