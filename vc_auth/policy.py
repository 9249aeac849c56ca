"""May this key do this? One question each, asked in the contract's order."""

from collections.abc import Callable
from datetime import datetime

from vc_auth.addresses import is_within, parse_address
from vc_auth.errors import Forbidden, InvalidKey
from vc_auth.records import KeyRecord


def check(record: KeyRecord, now: Callable[[], datetime], address: str | None, project: str | None) -> None:
    """Raise what stands in the way of this key for a request from ``address`` to ``project`` (None: to no one's).

    ``now`` is asked only if the key can expire. Raises InvalidKey, then Forbidden.
    """
    if record.revoked_at is not None or record.project.suspended_at is not None:
        raise InvalidKey
    if record.expires_at is not None and record.expires_at <= now():
        raise InvalidKey
    if project is not None:
        check_project(record, project)
    if record.allowed_networks is not None and not is_within(parse_address(address), record.allowed_networks):
        raise Forbidden


def check_project(record: KeyRecord, project: str) -> None:
    """Raise Forbidden unless ``project`` is the id or the name of the key's project; no name looks like an id."""
    if project != record.project.id and project != record.project.name:
        raise Forbidden
