"""Denials as HTTP: status, headers and body. Whatever never changes is built once."""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vc_auth.errors import (
    Denied,
    Forbidden,
    InsufficientScope,
    InvalidKey,
    MalformedHeader,
    MissingKey,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from vc_auth.plans import Plan
from vc_auth.rates import ALMOST_A_SECOND, SECOND, Decision, whole_seconds

Header = tuple[bytes, bytes]

REALM: Final = "vc_auth"
POLICY_VIOLATION: Final = 1008  # RFC 6455, 7.4.1


class Reply(NamedTuple):
    """A whole answer, ready to be sent. Header names are lower case."""

    status: int
    headers: list[Header]
    body: bytes


def reply_to(denied: Denied) -> Reply:
    """What a client is told; nothing of the token, the store or Python is in it."""
    if type(denied) is RateLimited:
        return _rate_limited(denied.decision.retry_after)
    if isinstance(denied, RateLimited):
        return _reply(type(denied), retry_after=denied.decision.retry_after)
    if isinstance(denied, InsufficientScope):
        scopes = " ".join(denied.scopes)
        return _reply(type(denied), challenge=f'Bearer realm="{REALM}", error="insufficient_scope", scope="{scopes}"')
    return _CONSTANTS.get(type(denied)) or _constant_reply(type(denied))


@lru_cache(maxsize=1_024)
def _rate_limited(retry_after: int) -> Reply:
    return _reply(RateLimited, retry_after=retry_after)


def _constant_reply(kind: type[Denied]) -> Reply:
    if issubclass(kind, Unavailable):
        return _reply(kind, retry_after=1)
    if issubclass(kind, Unauthorized):
        code = f', error="{kind.code}"' if kind.code else ""
        return _reply(kind, challenge=f'Bearer realm="{REALM}"{code}')
    return _reply(kind)


def _reply(kind: type[Denied], *, challenge: str | None = None, retry_after: int | None = None) -> Reply:
    words: dict[str, str | int] = {"error": kind.error, "message": kind.message}
    extra: list[tuple[str, str]] = []
    if retry_after is not None:
        words["retry_after"] = retry_after
        extra.append(("retry-after", str(retry_after)))
    if challenge is not None:
        extra.append(("www-authenticate", challenge))
    words["status"] = kind.status
    body = json.dumps(words, separators=(",", ":")).encode()
    common = [("content-type", "application/json"), ("content-length", str(len(body))), ("cache-control", "no-store")]
    return Reply(kind.status, [(name.encode(), value.encode()) for name, value in common + extra], body)


_CONSTANTS: Final[dict[type[Denied], Reply]] = {
    kind: _constant_reply(kind) for kind in (MissingKey, MalformedHeader, InvalidKey, Forbidden, Unavailable)
}


class LimitHeaders:
    """One plan's limit headers: the IETF draft's (draft-ietf-httpapi-ratelimit-headers-10) and the older X- ones."""

    def __init__(self, plan: Plan, families: Sequence[str]) -> None:
        name, rate, burst = plan.name, plan.rate, plan.rate.burst
        window = whole_seconds(-(-burst * rate.period_us // rate.amount))  # 7 a minute: 60; its emissions are rounded
        self._policy = (b"ratelimit-policy", f'"{name}";q={burst};w={window}'.encode())
        self._limit = (b"x-ratelimit-limit", str(burst).encode())
        self._state = f'"{name}";r=%d;t=%d'.encode()
        self._new = "RateLimit" in families
        self._old = "X-RateLimit" in families
        self._headers_but_reset = lru_cache(maxsize=1_024)(self._make_headers_but_reset)
        self._full_at = -1
        self._reset = (b"x-ratelimit-reset", b"")

    def after(self, decision: Decision, now_ns: int) -> list[Header]:
        """The headers after a decision made at ``now_ns`` (UTC, nanoseconds since 1970)."""
        _, _, remaining, _, refill_after_us, reset_after_us = decision
        headers = [*self._headers_but_reset(remaining, (refill_after_us + ALMOST_A_SECOND) // SECOND)]
        if self._old:
            full_at = (now_ns // 1_000 + reset_after_us + ALMOST_A_SECOND) // SECOND
            if full_at != self._full_at:  # it changes once a second or so, however many requests there are
                self._full_at, self._reset = full_at, (b"x-ratelimit-reset", b"%d" % full_at)
            headers.append(self._reset)
        return headers

    def _make_headers_but_reset(self, remaining: int, until_next: int) -> tuple[Header, ...]:
        new = (self._policy, (b"ratelimit", self._state % (remaining, until_next)))
        old = (self._limit, (b"x-ratelimit-remaining", b"%d" % remaining))
        return (*(new if self._new else ()), *(old if self._old else ()))


LIMIT_HEADER_NAMES: Final = frozenset(
    (b"ratelimit-policy", b"ratelimit", b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")
)


async def refuse(denied: Denied, scope: Scope, receive: Receive, send: Send, extra: Iterable[Header] = ()) -> None:
    """Send the answer to a request or a websocket handshake of which nothing has been answered yet."""
    reply = reply_to(denied)
    kind = "http.response"
    body = reply.body
    if scope["type"] == "websocket":
        if (await receive())["type"] != "websocket.connect":
            return  # it is gone; and before it came, nothing may be sent
        if "websocket.http.response" not in (scope.get("extensions") or ()):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
            return
        kind = "websocket.http.response"
    elif scope["method"] == "HEAD":
        body = b""
    await send({"type": f"{kind}.start", "status": reply.status, "headers": [*reply.headers, *extra]})
    await send({"type": f"{kind}.body", "body": body})


class DeniedResponse(Response):
    """A denial as a Starlette response, the same to the byte as what the middleware sends."""

    def __init__(self, denied: Denied) -> None:
        self.denied = denied
        reply = reply_to(denied)
        super().__init__(reply.body, reply.status)
        self.raw_headers = list(reply.headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, to a request or a websocket handshake."""
        await refuse(self.denied, scope, receive, send)


def denied_handler(_request: Request, denied: Exception) -> Response:
    """For ``exception_handlers={Denied: denied_handler}``, where an app answers its exceptions itself."""
    if not isinstance(denied, Denied):
        raise denied
    return DeniedResponse(denied)
