"""How keys look: as a row, as facts, as JSON, in a sentence, and, once, whole."""

import sys
from datetime import datetime
from typing import Any, Final, NamedTuple

from vc_auth import NewKey
from vc_auth.cli.console import minute, moment, put, put_json, timestamp
from vc_auth.cli.session import Refused
from vc_auth.errors import Fault
from vc_auth.records import KeyRecord, KeyTotals

COLUMNS: Final = (
    "key",
    "name",
    "id",
    "project",
    "created (UTC)",
    "expires (UTC)",
    "last used (UTC)",
    "requests",
    "status",
    "scopes",
)


class KeyView(NamedTuple):
    """A key as it was at one moment, and what it had been used for."""

    record: KeyRecord
    totals: KeyTotals
    now: datetime

    @property
    def status(self) -> str:
        """active, expired, revoked; or suspended, if that is all that keeps the key from working."""
        of_key = self.record.status(self.now)
        return "suspended" if of_key == "active" and self.record.project.suspended_at is not None else of_key

    @property
    def last_use(self) -> str:
        """A sentence, for who is about to end the key."""
        if self.totals.last_used_at is None:
            return "It was never used."
        return f"It was last used {moment(self.totals.last_used_at)}; requests so far: {self.totals.requests}."


def row(view: KeyView) -> tuple[str, ...]:
    """The cells below `COLUMNS`."""
    record, totals, _ = view
    return (
        record.display or "-",
        record.name or "-",
        record.id,
        record.project.name,
        minute(record.created_at),
        minute(record.expires_at, "never"),
        minute(totals.last_used_at, "never"),
        str(totals.requests),
        view.status,
        _scopes(record),
    )


def facts(view: KeyView) -> list[tuple[str, str]]:
    """All that is known of a key, less its digest."""
    record, totals, _ = view
    project, networks = record.project, record.allowed_networks
    return [
        ("key", record.display or "-"),
        ("name", record.name or "-"),
        ("id", record.id),
        ("project", f"{project.name} ({project.id}), plan {project.plan}"),
        ("status", view.status),
        ("scopes", _scopes(record)),
        ("networks", "anywhere" if networks is None else ", ".join(map(str, networks))),
        ("created", moment(record.created_at)),
        ("expires", moment(record.expires_at, "never")),
        ("revoked", moment(record.revoked_at)),
        ("last used", moment(totals.last_used_at, "never")),
        ("requests", str(totals.requests)),
        ("replaces", record.replaces or "-"),
        ("family", record.family),
    ]


def as_json(view: KeyView) -> dict[str, Any]:
    """All that is known of a key, less its digest, for programs. ``allowed_networks``: null is anywhere."""
    record, totals, _ = view
    project, networks = record.project, record.allowed_networks
    return {
        "id": record.id,
        "display": record.display,
        "name": record.name,
        "project": {"id": project.id, "name": project.name, "plan": project.plan},
        "status": view.status,
        "scopes": sorted(record.scopes),
        "allowed_networks": None if networks is None else [str(network) for network in networks],
        "created_at": timestamp(record.created_at),
        "expires_at": timestamp(record.expires_at),
        "revoked_at": timestamp(record.revoked_at),
        "last_used_at": timestamp(totals.last_used_at),
        "requests": totals.requests,
        "replaces": record.replaces,
        "family": record.family,
    }


def named(record: KeyRecord) -> str:
    """The key in a sentence."""
    return f"{record.id} ({record.display}, {record.name!r}) of project {record.project.name!r}"


def news(new: NewKey) -> str:
    """What to say beside a new key."""
    expires = "never expires" if new.record.expires_at is None else f"expires {moment(new.record.expires_at)}"
    return f"Made {named(new.record)}; it {expires}. It is shown this once: only its SHA-256 digest is kept."


def need_stdout() -> None:
    """Raise Fault if there is nothing to write a new key to, before it is made."""
    if sys.stdout is None:
        raise Fault("stdout is closed, so the new key could not be shown; nothing was changed")


def put_secret(new: NewKey, now: datetime, *, as_document: bool) -> None:
    """The new key on stdout: alone, or as the member ``key`` of a JSON document."""
    try:
        if as_document:
            put_json({"key": new.secret.reveal(), **as_json(KeyView(new.record, KeyTotals(), now))})
        else:
            put(new.secret.reveal())
    except OSError as error:
        sys.stdout = None  # None is what Python has for a closed one: no flush at the end
        sentence = f"{named(new.record)} was made, and could not be shown: {error.strerror}. Revoke it."
        raise Refused(sentence) from None


def _scopes(record: KeyRecord) -> str:
    return ", ".join(sorted(record.scopes)) or "none"
