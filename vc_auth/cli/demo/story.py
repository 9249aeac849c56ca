"""What the tour shows, in its order: deeds behind the counter, and requests with what is documented to come back."""

from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from vc_auth import NewKey, Registry
from vc_auth.cli.demo.bucket import Bucket
from vc_auth.cli.demo.documents import (
    FORBIDDEN,
    HEALTHY,
    HIT,
    INSUFFICIENT_SCOPE,
    INVALID_KEY,
    MALFORMED,
    MISS,
    MISSING_KEY,
    RATE_LIMITED,
    Documented,
    usage_of,
)
from vc_auth.cli.demo.wire import Request
from vc_auth.keys import Secret

T = TypeVar("T")

CONVERSATION: Final = '{"messages":[{"role":"user","content":"What is a token bucket?"}]}'
ANOTHER_CONVERSATION: Final = '{"messages":[{"role":"user","content":"What is a rate plan?"}]}'
NEVER_ISSUED: Final = "Bearer vc_00000000000000000000000000000000"

HEALTH: Final = Request("GET", "/health")

CHALLENGE: Final = ("www-authenticate",)
LIMIT: Final = ("ratelimit",)
ALL_LIMITS: Final = (
    "retry-after",
    "ratelimit-policy",
    "ratelimit",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
)


class Call(Protocol):
    """Runs a coroutine where the stores live, and returns its result."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> T: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Deed:
    """Lines of Python that were just run. ``secret`` is a key that the last one made, to be shown this once."""

    code: tuple[str, ...]
    secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One request, and the answers that are right. ``bucket`` is what it is charged to, None if nothing is."""

    title: str
    request: Request
    documented: tuple[Documented, ...]
    bucket: Bucket | None = None
    shows: tuple[str, ...] = ()
    """The headers that are worth a look; all of them are checked."""
    until_refused: bool = False
    """Send it again and again until the answer is 429, from each of the workers."""
    at: tuple[int, ...] = (0,)
    """The workers that it is sent to, in turn."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """``vc-auth keys revoke`` beside the running servers: every worker must refuse the key within a second."""

    title: str
    key: NewKey


@dataclass(frozen=True, slots=True)
class Reckoning:
    """``vc-auth usage`` of the project: it must say what the tour has sent."""

    title: str
    project: str


Scene = Deed | Step | Revocation | Reckoning


def story(registry: Registry, call: Call, workers: int = 1, *, on_redis: bool = False) -> Iterator[Scene]:
    """All scenes. What a deed tells has happened when it is yielded, and not before the scene ahead of it is over.

    ``on_redis``: all workers share the buckets. Otherwise a burst is for one of them.
    """
    call(registry.create_project("acme", plan="free"))
    ci = call(registry.create_key("acme", "ci"))
    code = 'await registry.create_project("acme", plan="free")', 'await registry.create_key("acme", "ci")'
    yield Deed(code, ci.secret)
    bucket = Bucket(on_redis=on_redis)
    yield from _strangers()
    yield from _a_good_key(ci, bucket)
    spenders = workers if on_redis else 1
    if spenders > 1:
        yield _elsewhere(ci, bucket, spenders)
    yield from _forbidden(registry, call)
    yield _burst(ci, bucket, spenders)
    yield from _rotation(registry, call)
    laptop = call(registry.create_key("acme", "laptop"))
    yield Deed(('await registry.create_key("acme", "laptop")',))
    who = "the server" if workers == 1 else f"all {workers} workers"
    yield Revocation(f"A key that the command line revokes, refused by {who}", laptop)
    yield Reckoning("All of it was counted", "acme")


def key_to_try(registry: Registry, call: Call) -> Secret:
    """A key of its own for whoever tries the curl lines; what the tour has spent is not missing from it."""
    return call(registry.create_key("acme", "yours")).secret


def _strangers() -> Iterator[Scene]:
    yield Step("A public path needs no key", HEALTH, (HEALTHY,))
    yield Step("No key", _usage(), (MISSING_KEY,), shows=CHALLENGE)
    yield Step("A malformed header: no `Bearer`", _usage("YOUR_API_KEY"), (MALFORMED,), shows=CHALLENGE)
    yield Step("An invalid key: well-formed, never issued", _usage(NEVER_ISSUED), (INVALID_KEY,), shows=CHALLENGE)


def _a_good_key(ci: NewKey, bucket: Bucket) -> Iterator[Scene]:
    asked = check(ci.secret)
    yield Step("A good request, with its limit headers", asked, (MISS,), bucket, ALL_LIMITS)
    yield Step("The same conversation again comes from the cache", asked, (HIT,), bucket, LIMIT)
    told = usage_of(ci.record.display, admitted=3)
    yield Step("What the key has left, and how often it was used", _usage(ci.secret), (told,), bucket, LIMIT)


def _elsewhere(ci: NewKey, bucket: Bucket, workers: int) -> Step:
    """Each worker has a cache of its own, and the bucket is everybody's."""
    title = "The other worker goes" if workers == 2 else f"The {workers - 1} other workers go"
    others = tuple(range(1, workers))
    return Step(f"{title} on with the same bucket", check(ci.secret), (MISS,), bucket, LIMIT, at=others)


def _burst(ci: NewKey, bucket: Bucket, workers: int) -> Step:
    title = "The burst, spent" + (f" at all {workers} workers together" if workers > 1 else "")
    at, documented = tuple(range(workers)), (HIT, RATE_LIMITED)
    return Step(title, check(ci.secret), documented, bucket, ALL_LIMITS, until_refused=True, at=at)


def _forbidden(registry: Registry, call: Call) -> Iterator[Scene]:
    call(registry.create_project("globex", plan="pro"))
    other = call(registry.create_key("globex", "ci")).secret
    yield Deed(('await registry.create_project("globex", plan="pro")', 'await registry.create_key("globex", "ci")'))
    yield Step("A second project's key is refused here", check(other), (FORBIDDEN,))
    reader = call(registry.create_key("acme", "reader", scopes=["analytics:read"])).secret
    yield Deed(('await registry.create_key("acme", "reader", scopes=["analytics:read"])',))
    title = "A key without the scope that the route needs"
    yield Step(title, check(reader), (INSUFFICIENT_SCOPE,), Bucket(), CHALLENGE)


def _rotation(registry: Registry, call: Call) -> Iterator[Scene]:
    old, bucket = call(registry.create_key("acme", "deploy")), Bucket()
    yield Deed(('old = await registry.create_key("acme", "deploy")',))

    def told(key: NewKey, admitted: int) -> tuple[Documented]:
        return (usage_of(key.record.display, admitted),)

    yield Step("A key that is about to be rotated", _usage(old.secret), told(old, 1), bucket, LIMIT)
    new = call(registry.rotate_key(old.record.id))
    yield Deed(("new = await registry.rotate_key(old.record.id)  # 24 hours of grace",), new.secret)
    yield Step("Its successor goes on with what was left", _usage(new.secret), told(new, 1), bucket, LIMIT)
    yield Step("The old key works on for a day, from the same bucket", _usage(old.secret), told(old, 2), bucket, LIMIT)
    call(registry.revoke_key(new.record.id))
    yield Deed(("await registry.revoke_key(new.record.id)",))
    yield Step("A revoked key is refused on the next request", _usage(new.secret), (INVALID_KEY,), shows=CHALLENGE)
    yield Step("The key that it replaced was not revoked", _usage(old.secret), told(old, 3), bucket, LIMIT)


def _usage(credentials: Secret | str | None = None) -> Request:
    return Request("GET", "/api/v1/usage", credentials)


def check(credentials: Secret) -> Request:
    """The request that the demo is about: it asks for the response to a conversation."""
    return Request("POST", "/api/v1/check", credentials, CONVERSATION)
