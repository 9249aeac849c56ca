"""What is known of projects and keys. Frozen: a change is a new record, never a surprise in somebody's hands."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from operator import add
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


# -- usage: apart from the records, so that counting can never change what a key may do --------------------------------


class _Counts:
    """Requests by what became of them."""

    __slots__ = ()

    admitted: int
    limited: int
    forbidden: int

    @property
    def counts(self) -> tuple[int, int, int]:
        """Admitted, limited, forbidden."""
        return self.admitted, self.limited, self.forbidden

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Usage(_Counts):
    """Requests of known keys in one span of time that begins at ``start`` (UTC), by what became of them."""

    start: datetime
    admitted: int = 0
    """Let through to the application, which may still have refused them."""
    limited: int = 0
    """Answered 429."""
    forbidden: int = 0
    """Answered 403 at the door: another project's, or from an address that is not allowed."""

    def __add__(self, other: "Usage | UsageCount") -> "Usage":
        """The requests of both, from the start of this one."""
        return Usage(self.start, *map(add, self.counts, other.counts))


@dataclass(frozen=True, slots=True)
class KeyTotals:
    """What a key was used for so far: every request that presented it while it was alive, whatever became of it."""

    requests: int = 0
    last_used_at: datetime | None = None
    """None: never. It only ever moves forward."""


@dataclass(frozen=True, slots=True)
class UsageCount(_Counts):
    """What one key's requests add to one hour. ``hour`` is its first moment."""

    key_id: str
    project_id: str
    hour: datetime
    admitted: int
    limited: int
    forbidden: int
    last_used_at: datetime


@dataclass(frozen=True, slots=True)
class UsageBatch:
    """Counts that are added wholly and once. A batch that may have been added already is sent again unchanged.

    ``worker`` names who counted; each numbers its own batches from 1 in ``seq``, and sends them in that order.
    """

    worker: str
    seq: int
    counts: tuple[UsageCount, ...]


def _refuse_naive(*times: datetime | None) -> None:
    if any(time is not None and time.tzinfo is None for time in times):
        raise ValueError("a time without a zone cannot be compared; use aware datetimes, such as datetime.now(UTC)")
