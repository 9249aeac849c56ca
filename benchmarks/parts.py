"""The parts of vc_auth's hot path, each on its own, called as the middleware and the guard call them.

A part that was renamed breaks this on purpose: a breakdown of what is not there any more would be worse than none.
"""

import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from contenders import GENEROUS, Field
from harness import BATCH, Contender
from starlette._utils import get_route_path
from starlette.types import Message

from vc_auth.answer import Answer
from vc_auth.keys import KeyFormat
from vc_auth.paths import PublicPaths
from vc_auth.policy import check
from vc_auth.records import Grant
from vc_auth.responses import LimitHeaders
from vc_auth.users import APIKeyUser, credentials_with

DIGEST: Final = "SHA-256 of a key, as hex"


async def parts_of(field: Field) -> tuple[list[Contender], list[Contender]]:
    """What everything on consists of; and, for scale, what some of these consist of."""
    grants = [await field.auth.guard.admit(scope["headers"]) for scope in field.scopes]
    parts = [_scope(field, grants), _public(field), _glance(field), _peek(field, grants), _check(grants)]
    parts += [_hit(field, grants), _limit_headers(field, grants), _answer(field, grants)]
    return parts, [_digest(field), _coroutine(), _clock()]


def _scope(field: Field, grants: Sequence[Grant]) -> Contender:
    requests = list(zip(field.scopes, grants, strict=True))

    async def batch() -> None:
        for scope, grant in requests:
            inner = dict(scope)
            inner["user"] = APIKeyUser(grant)
            inner["auth"] = credentials_with(grant.record.scopes)
            inner["vc_auth.grant"] = grant

    return Contender("copy of the scope, user, credentials", batch, _loop)


def _public(field: Field) -> Contender:
    public = PublicPaths(field.auth.settings.public_paths)

    async def batch() -> None:
        for scope in field.scopes:
            get_route_path(scope) in public  # noqa: B015  # only the time counts

    return Contender("is the path public?", batch, _loop)


def _glance(field: Field) -> Contender:
    glance = KeyFormat(field.auth.settings.key_prefixes).glance
    lines = [scope["headers"] for scope in field.scopes]

    async def batch() -> None:
        for headers in lines:
            glance(headers)

    return Contender("find the header, digest the key", batch, _loop)


def _peek(field: Field, grants: Sequence[Grant]) -> Contender:
    peek = field.auth.store.peek
    digests = [grant.record.digest for grant in grants]

    async def batch() -> None:
        for digest in digests:
            peek(digest)

    return Contender("look the digest up in the cache", batch, _loop)


def _check(grants: Sequence[Grant]) -> Contender:
    def now() -> object:
        raise AssertionError("asked only if a key can expire")

    records = [grant.record for grant in grants]

    async def batch() -> None:
        for record in records:
            check(record, now, "127.0.0.1", None)  # type: ignore[arg-type]  # it never returns

    return Contender("revoked, expired, suspended, project, address", batch, _loop)


def _hit(field: Field, grants: Sequence[Grant]) -> Contender:
    limiter = field.auth.limiter
    families = [grant.record.family for grant in grants]

    async def batch() -> None:
        assert limiter is not None
        for family in families:
            await limiter.hit(family, GENEROUS.rate, 1)

    return Contender("spend a token of the bucket", batch, _loop)


def _limit_headers(field: Field, grants: Sequence[Grant]) -> Contender:
    headers = LimitHeaders(GENEROUS, field.auth.settings.rate_limit_headers)
    decisions = [grant.decision for grant in grants if grant.decision is not None]

    async def batch() -> None:
        for decision in decisions:
            headers.after(decision, time.time_ns())

    return Contender("write the limit headers", batch, _loop)


def _answer(field: Field, grants: Sequence[Grant]) -> Contender:
    headers = LimitHeaders(GENEROUS, field.auth.settings.rate_limit_headers)
    limits = [headers.after(grant.decision, time.time_ns()) for grant in grants if grant.decision is not None]

    async def batch() -> None:
        for ours in limits:
            answer = Answer(_send, ours)
            await answer.send(_start())
            await answer.send({"type": "http.response.body", "body": b"ok"})

    return Contender("put them on the answer, watch for denials", batch, _two_sends)


def _digest(field: Field) -> Contender:
    keys = [dict(scope["headers"])[b"authorization"].removeprefix(b"Bearer ") for scope in field.scopes]

    async def batch() -> None:
        for key in keys:
            sha256(key).hexdigest()

    return Contender(DIGEST, batch, _loop)


def _coroutine() -> Contender:
    async def nothing() -> None:
        pass

    async def batch() -> None:
        for _ in range(BATCH):
            await nothing()

    return Contender("one coroutine that does nothing", batch, _loop)


def _clock() -> Contender:
    read = time.monotonic_ns

    async def batch() -> None:
        for _ in range(BATCH):
            read()

    return Contender("one reading of the clock", batch, _loop)


async def _loop() -> None:
    for _ in range(BATCH):
        pass


async def _two_sends() -> None:
    for _ in range(BATCH):
        await _send(_start())
        await _send({"type": "http.response.body", "body": b"ok"})


def _start() -> Message:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"2")]
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def _send(_message: Message) -> None:
    pass
