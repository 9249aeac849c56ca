"""``vc-auth usage``."""

from datetime import datetime, timedelta
from functools import reduce
from operator import add
from typing import Any, Final

import click
from rich.text import Text

from vc_auth import VCAuth
from vc_auth.cli.console import can_write, put_json, put_table, say, timestamp
from vc_auth.cli.durations import read_moment
from vc_auth.cli.lookup import find_key, find_project
from vc_auth.cli.session import Session, on_a_store
from vc_auth.clock import utcnow
from vc_auth.errors import InvalidInput, NotFound
from vc_auth.periods import PERIODS, Period
from vc_auth.records import Project, Usage

WIDTH: Final = 24  # cells of the longest bar
COLUMNS: Final = ("requests", "admitted", "limited", "forbidden", "")
FORMATS: Final = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "month": "%Y-%m"}
STYLES: Final = ("green", "yellow", "red")


@click.command()
@click.argument("project", required=False)
@click.option("--key", "key_id", metavar="ID", help="Of this key alone.")
@click.option(
    "--by", "period", type=click.Choice(PERIODS), default="day", show_default=True, help="One line for each, in UTC."
)
@click.option("--since", metavar="TIME", callback=read_moment, help="As in 2026-11-22, 2026-11-22T14:00 or 30d (ago).")
@click.option("--until", metavar="TIME", callback=read_moment, help="Up to this time.  [default: now]")
@on_a_store
def usage(
    session: Session,
    project: str | None,
    key_id: str | None,
    period: Period,
    since: datetime | timedelta | None,
    until: datetime | timedelta | None,
) -> None:
    """Show how often the keys of a project were used, or one of them: in the last 24 hours, 30 days or 12 months.

    limited: answered 429. forbidden: answered 403 at the door, for another project or address. Servers write what they
    count once a second.
    """
    if project is None and key_id is None:
        raise click.UsageError("Name a project, or a key with --key ID.")

    async def work(auth: VCAuth) -> tuple[Project, str | None, list[Usage]]:
        owner, key = await _meant(auth, project, key_id)
        now = utcnow(auth.clock)
        told = await auth.registry.usage(owner, key_id=key, by=period, since=_at(since, now), until=_at(until, now))
        return owner, key, told

    owner, key, told = session.run(work)
    if session.as_json:
        put_json({"project": {"id": owner.id, "name": owner.name}, "key": key, "by": period, "usage": _as_json(told)})
        return
    put_table((f"{period} (UTC)", *COLUMNS), [*_rows(told, period)], numbers=COLUMNS[:4])
    if not any(one.requests for one in told):
        say(f"No requests of {key or f'project {owner.name!r}'} in this time.")


async def _meant(auth: VCAuth, project: str | None, key_id: str | None) -> tuple[Project, str | None]:
    """The project and the key. A key that was deleted is known by its whole id, and by its project."""
    owner = await find_project(auth, project) if project is not None else None
    if key_id is None:
        assert owner is not None  # noqa: S101  # one of both is given
        return owner, None
    try:
        record = await find_key(auth, key_id)
    except NotFound:
        if owner is not None and key_id in await auth.registry.key_totals(owner, key_id=key_id):
            return owner, key_id
        raise
    if owner is not None and record.project.id != owner.id:
        raise InvalidInput(f"key {record.id} is of project {record.project.name!r}, not of {owner.name!r}")
    return record.project, record.id


def _at(time: datetime | timedelta | None, now: datetime) -> datetime | None:
    if not isinstance(time, timedelta):
        return time
    try:
        return now - time
    except OverflowError:
        raise InvalidInput(f"{time} ago is in no calendar; give a shorter time") from None


def _rows(told: list[Usage], period: Period) -> list[tuple[str | Text, ...]]:
    most = max(one.requests for one in told)
    rows = [_row(f"{one.start:{FORMATS[period]}}", one, _bar(one, most)) for one in told]
    return [*rows, _row("all", reduce(add, told), Text())]


def _row(title: str, one: Usage, bar: Text) -> tuple[str | Text, ...]:
    return title, str(one.requests), *map(str, one.counts), bar


def _bar(one: Usage, most: int) -> Text:
    """Cells in proportion to the busiest period; whatever is not nothing has one at least."""
    block = "█" if can_write("█") else "#"
    bar = Text()
    for count, style in zip(one.counts, STYLES, strict=True):
        bar.append(block * -(-count * WIDTH // most) if count else "", style)
    return bar


def _as_json(told: list[Usage]) -> list[dict[str, Any]]:
    return [
        {
            "start": timestamp(one.start),
            "requests": one.requests,
            "admitted": one.admitted,
            "limited": one.limited,
            "forbidden": one.forbidden,
        }
        for one in told
    ]
