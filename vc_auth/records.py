"""What is known of projects and keys. Frozen: a change is a new record, never a surprise in somebody's hands."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Literal, NamedTuple

from vc_auth.plans import Plan
from vc_auth.rates import Decision

Network = IPv4Network | IPv6Network
Status = Literal["active", "expired", "revoked"]

KNOWN_SCOPES: Final = ("cache:read", "cache:write", "cache:*", "analytics:read", "keys:manage")
DEFAULT_SCOPES: Final = ("cache:*", "analytics:read")


def is_scope(scope: object) -> bool:
    """Whether this is one scope as RFC 6749, 3.3 allows it, so that it needs no escaping in a challenge."""
    return isinstance(scope, str) and re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", scope) is not None


class Scopes(frozenset[str]):
    """Granted scopes. ``"cache:read" in Scopes({"cache:*"})`` is true; an empty set allows nothing."""

    __slots__ = ()

    def __contains__(self, scope: object) -> bool:
        if super().__contains__(scope):
            return True
        return isinstance(scope, str) and ":" in scope and super().__contains__(scope[: scope.index(":")] + ":*")


_DEFAULT_SCOPES: Final = Scopes(DEFAULT_SCOPES)


@dataclass(frozen=True, slots=True)
class Project:
    """Who keys belong to. All times are aware and UTC; ``suspended_at`` is None while its keys work."""

    id: str
    name: str
    plan: str
    """The plan's name; what it allows stands in the settings."""
    created_at: datetime | None = None
    suspended_at: datetime | None = None

    def __post_init__(self) -> None:
        _refuse_naive(self.created_at, self.suspended_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """One key as a store knows it: all but the key itself. Its project is embedded, so one look-up answers everything.

    ``id``, ``digest`` and ``project`` are all that the guard needs from a store of your own. Raises ValueError for a
    time without a zone.
    """

    id: str
    """Random; never derived from the key or its digest."""
    digest: str = field(repr=False)
    """SHA-256 of the whole key in lower-case hex, from `vc_auth.keys.digest`."""
    project: Project
    name: str = ""
    display: str = ""
    """What may be shown of the key: ``vc_1234...``."""
    scopes: Scopes = _DEFAULT_SCOPES
    allowed_networks: tuple[Network, ...] | None = None
    """Where the key may be used from; None is anywhere."""
    created_at: datetime | None = None
    expires_at: datetime | None = None
    """The first moment at which the key is dead; None is never."""
    revoked_at: datetime | None = None
    replaces: str | None = None
    """The id of the key that this one was rotated from."""
    family: str = ""
    """The id of the first key of this line of rotations; they share one bucket. Empty means the key's own id."""

    def __post_init__(self) -> None:
        _refuse_naive(self.created_at, self.expires_at, self.revoked_at)
        if type(self.scopes) is not Scopes:  # a plain set would not know wildcards
            object.__setattr__(self, "scopes", Scopes(self.scopes))
        if not self.family:
            object.__setattr__(self, "family", self.id)

    def status(self, now: datetime) -> Status:
        """What the key is by itself at ``now``; a suspended project is another matter."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "active"


class Grant(NamedTuple):
    """An admitted request: whose it is, and what its bucket said (None without a limiter)."""

    record: KeyRecord
    plan: Plan
    decision: Decision | None

    @property
    def project(self) -> Project:
        """The key's project."""
        return self.record.project


new_grant: Final = partial(tuple.__new__, Grant)
"""``Grant(*fields)`` from a tuple of its fields, in half the time."""


def _refuse_naive(*times: datetime | None) -> None:
    if any(time is not None and time.tzinfo is None for time in times):
        raise ValueError("a time without a zone cannot be compared; use aware datetimes, such as datetime.now(UTC)")
