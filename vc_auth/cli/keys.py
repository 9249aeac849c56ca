"""``vc-auth keys``."""

from datetime import datetime, timedelta

import click

from vc_auth import NewKey, VCAuth
from vc_auth.cli.asking import ask
from vc_auth.cli.console import moment, put_facts, put_json, put_table, say
from vc_auth.cli.durations import read_duration
from vc_auth.cli.groups import InOrder
from vc_auth.cli.key_views import COLUMNS, KeyView, as_json, facts, named, need_stdout, news, put_secret, row
from vc_auth.cli.lookup import find_key, find_project, view_key, view_keys
from vc_auth.cli.session import Session, on_a_store
from vc_auth.clock import utcnow
from vc_auth.errors import Conflict
from vc_auth.records import KeyRecord

without_asking = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.group(cls=InOrder)
def keys() -> None:
    """API keys, from creation to deletion.

    \b
    KEY=$(vc-auth keys create acme ci)   make a key and keep it; it is shown once
    vc-auth keys list acme               what there is, without the keys themselves
    vc-auth keys rotate 3f9a             a successor; the old key works for 24 hours more
    vc-auth keys revoke 3f9a             refuse it from now on, for ever

    ID is a key's id or the beginning of it: at least 4 characters, with or without key_. PROJECT is a project's name,
    its id, or the beginning of its id, with prj_.
    """  # noqa: D301  # the backspace is click's sign for lines that stay as they are


@keys.command()
@click.argument("project")
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, metavar="SCOPE", help="What it may do; several times for several.")
@click.option("--no-scopes", is_flag=True, help="It may do nothing that needs a scope.")
@click.option(
    "--expires-in",
    metavar="DURATION",
    callback=read_duration,
    help="How long it works, such as 90m, 12h, 30d or 2w.  [default: for ever]",
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="CIDR",
    help="Where it may be used from; several times for several.  [default: anywhere]",
)
@on_a_store
def create(
    session: Session,
    project: str,
    name: str,
    scopes: tuple[str, ...],
    no_scopes: bool,
    expires_in: timedelta | None,
    networks: tuple[str, ...],
) -> None:
    """Make a key; it alone goes to stdout, this once.

    Without --scope it gets the default scopes of the settings.
    """
    if scopes and no_scopes:
        raise click.UsageError("--scope and --no-scopes contradict each other.")
    need_stdout()

    async def work(auth: VCAuth) -> tuple[NewKey, datetime]:
        new = await auth.registry.create_key(
            await find_project(auth, project),
            name,
            scopes=scopes if scopes or no_scopes else None,
            expires_in=expires_in,
            allowed_networks=networks or None,
        )
        return new, utcnow(auth.clock)

    new, now = session.run(work)
    put_secret(new, now, as_document=session.as_json)
    if not session.as_json:
        say(news(new))


@keys.command("list")
@click.argument("project", required=False)
@on_a_store
def list_(session: Session, project: str | None) -> None:
    """List the keys of a project, or of all, the oldest first."""

    async def work(auth: VCAuth) -> list[KeyView]:
        if project is None:
            return await view_keys(auth, await auth.registry.list_projects())
        return await view_keys(auth, [await find_project(auth, project)])

    views = session.run(work)
    if session.as_json:
        put_json([as_json(view) for view in views])
    elif views:
        put_table(COLUMNS, [row(view) for view in views], numbers=("requests",))
    else:
        say("There are no keys yet. `vc-auth keys create PROJECT NAME` makes one.")


@keys.command()
@click.argument("key_id", metavar="ID")
@on_a_store
def show(session: Session, key_id: str) -> None:
    """Show all that is known of a key; the key itself is stored nowhere."""
    view = session.run(lambda auth: view_key(auth, key_id))
    if session.as_json:
        put_json(as_json(view))
    else:
        put_facts(facts(view))


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option(
    "--grace",
    metavar="DURATION",
    callback=read_duration,
    default="24h",
    show_default=True,
    help="How long the old key works on; 0: not at all.",
)
@on_a_store
def rotate(session: Session, key_id: str, grace: timedelta) -> None:
    """Make a key's successor; it alone goes to stdout, this once.

    It has the same name, project, scopes, networks and bucket, and lives as long as the old key was made to live.
    """
    need_stdout()

    async def work(auth: VCAuth) -> tuple[KeyRecord, NewKey, datetime]:
        old = await find_key(auth, key_id)
        return old, await auth.registry.rotate_key(old.id, grace=grace), utcnow(auth.clock)

    old, new, now = session.run(work)
    put_secret(new, now, as_document=session.as_json)
    if not session.as_json:
        dies_at = (new.record.created_at or now) + grace
        dies_at = min(dies_at, old.expires_at or dies_at)
        say(news(new))
        say(f"It replaces {old.id} ({old.display}), which {_until(dies_at, now)}.")


@keys.command()
@click.argument("key_id", metavar="ID")
@without_asking
@on_a_store
def revoke(session: Session, key_id: str, yes: bool) -> None:
    """Refuse a key from now on, for ever. Revoking twice changes nothing."""
    view = session.run(lambda auth: view_key(auth, key_id))
    if view.record.revoked_at is None and not yes:
        ask(f"{view.last_use} Revoke {named(view.record)}, for ever?")
    revoked = session.run(lambda auth: auth.registry.revoke_key(view.record.id))
    if session.as_json:
        put_json(as_json(view._replace(record=revoked)))
    else:
        say(f"Revoked since {moment(revoked.revoked_at)}, and for ever: {named(revoked)}. {view.last_use}")


@keys.command()
@click.argument("key_id", metavar="ID")
@without_asking
@on_a_store
def delete(session: Session, key_id: str, yes: bool) -> None:
    """Remove a revoked or expired key. Its usage stays with the project."""
    view = session.run(lambda auth: view_key(auth, key_id))
    record, status = view.record, view.record.status(view.now)
    if status == "active":
        raise Conflict(f"key {record.id} is active; revoke it first")
    if not yes:
        ask(f"{view.last_use} Delete {named(record)}, which is {status}?")
    session.run(lambda auth: auth.registry.delete_key(record.id))
    if session.as_json:
        put_json({**as_json(view), "status": "deleted"})
    else:
        say(f"Deleted {named(record)}. {view.last_use}")


def _until(dies_at: datetime, now: datetime) -> str:
    return f"works until {moment(dies_at)}" if dies_at > now else "works no more"
