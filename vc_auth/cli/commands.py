"""The commands of ``vc-auth``."""

import click
from rich.console import Console

from vc_auth.cli.check import check
from vc_auth.cli.console import shown
from vc_auth.cli.groups import InOrder
from vc_auth.cli.keys import keys
from vc_auth.cli.projects import projects
from vc_auth.cli.usage import usage
from vc_auth.urls import BadURL, is_redis, parse_redis


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """API keys and plans for Starlette and FastAPI.

    Commands that read or change keys work on the store that the servers use: --store URL, or VC_AUTH_STORE, or
    keys.db in this folder. What a program may read goes to stdout, sentences go to stderr. Exit codes: 0 done,
    1 failed, 2 not understood.
    """


cli.add_command(projects)
cli.add_command(keys)
cli.add_command(usage)
cli.add_command(check)


def _read_redis(_: click.Context, __: click.Parameter, url: str | None) -> str | None:
    """The URL of a Redis. What is none is not repeated: nobody knows where in it a password would be."""
    if url is None:
        return None
    if not is_redis(url):
        examples = "'redis://host:6379', 'redis+cluster://h:p,h:p' or 'redis+sentinel://h:p,h:p/service'"
        raise click.BadParameter(f"this is no URL of a Redis; give {examples}")
    try:
        parse_redis(url)
    except BadURL as error:
        raise click.BadParameter(shown(str(error))) from None
    return url


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65_535), help="Port to listen on; 0: a free one."
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 32), help="Processes that share the SQLite file."
)
@click.option(
    "--redis",
    metavar="URL",
    callback=_read_redis,
    help="Keep the buckets on this Redis, so that all workers share them: redis://, rediss://, unix://, redis+cluster://"
    " or redis+sentinel://. It leaves a few keys there, which expire by themselves in under two minutes.",
)
@click.option("--once", is_flag=True, help="End after the tour: with 0 if every answer was as documented, else with 1.")
@click.pass_context
def demo(context: click.Context, host: str, port: int, workers: int, redis: str | None, once: bool) -> None:
    """Start a guarded server, send it real requests, and show what comes back.

    Afterwards it stays up, with curl lines to try by hand, until Ctrl+C.
    """
    try:
        from vc_auth.cli.demo import CannotListen, NoRedis, run  # noqa: PLC0415  # uvicorn is an extra of its own
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "uvicorn":
            raise
        message = "`vc-auth demo` needs uvicorn. Add it with:\n\n    pip install 'vc-auth[server]'"
        raise click.ClickException(message) from None
    try:
        context.exit(run(Console(highlight=False), host, port, once=once, workers=workers, redis=redis))
    except (CannotListen, NoRedis) as problem:
        raise click.ClickException(str(problem)) from None
