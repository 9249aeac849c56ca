"""Who is driven, with which requests, and the proof that each does its work."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness import BATCH, Batch, Contender
from peers import DictBackend, LimitsMiddleware, PassThrough, slowapi_app, starlette_app
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vc_auth import APIKeyMiddleware, Plan, Settings, VCAuth
from vc_auth.stores import MemoryKeyStore

PASS_THROUGH: Final = "pass-through"
AUTH_ONLY: Final = "vc_auth: auth only"
EVERYTHING: Final = "vc_auth: everything on"
MISSING: Final = "vc_auth: 401, no header"
MALFORMED: Final = "vc_auth: 401, malformed"
NO_KEY: Final = "vc_auth: 401, not a key"
UNKNOWN: Final = "vc_auth: 401, unknown key"
REFUSED: Final = "vc_auth: 429"
STARLETTE_AUTH: Final = "Starlette auth + dict"
STARLETTE_LIMITS: Final = "Starlette auth + limits"
EVERYTHING_TURNING: Final = "vc_auth: everything on, loop turns"
LIMITS_TURNING: Final = "Starlette auth + limits, loop turns"
SLOWAPI: Final = "slowapi, on a Starlette app"

PATH: Final = "/v1/items"
GENEROUS: Final = Plan("free", rate="100000/second", burst=10_000)  # refuses nobody; a burst as `ENTERPRISE` has it
STINGY: Final = Plan("free", rate="1/day", burst=1)
FAR: Final = 3_600.0  # seconds; no deadline falls into a batch, though every request looks at it

NEW_HEADERS: Final = frozenset((b"ratelimit-policy", b"ratelimit"))
OLD_HEADERS: Final = frozenset((b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset"))
CHALLENGE: Final = frozenset((b"www-authenticate",))


async def bare_app(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers 200 in two messages, with two headers."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


@dataclass(frozen=True, slots=True)
class Driven:
    """An application under a name, the requests it gets, and the answer that shows that it did its work."""

    name: str
    app: ASGIApp
    scopes: Sequence[Scope]
    bare: ASGIApp = bare_app
    """The same without what is measured."""
    status: int = 200
    headers: frozenset[bytes] = frozenset()
    loop_turns: bool = False
    """The event loop turns after each request, as it does in a server; otherwise once a batch."""
    turns: int = 1

    def contender(self) -> Contender:
        """The same, to be timed."""
        drive = _drive_and_turn if self.loop_turns else _drive
        return Contender(self.name, drive(self.app, self.scopes), drive(self.bare, self.scopes), self.turns)

    def yardstick(self) -> Batch:
        """What the bare app takes for the same requests."""
        return _drive(bare_app, self.scopes)

    async def check(self) -> None:
        """Raise RuntimeError unless the answer to each request is the expected one, with its headers."""
        for scope in self.scopes:
            start, *_ = await _answer(self.app, scope)
            names = {name for name, _ in start["headers"]}
            if start["status"] != self.status or not names >= self.headers:
                raise RuntimeError(f"{self.name} answered {start}")


def _drive(app: ASGIApp, scopes: Sequence[Scope]) -> Batch:
    async def batch() -> None:
        for scope in scopes:
            await app(dict(scope), _receive, _send)

    return batch


def _drive_and_turn(app: ASGIApp, scopes: Sequence[Scope]) -> Batch:
    async def batch() -> None:
        for scope in scopes:
            await app(dict(scope), _receive, _send)
            await asyncio.sleep(0)

    return batch


def scope_with(authorization: str | None) -> Scope:
    """A request as uvicorn hands it over (less ``state``, which a shallow copy would share between requests)."""
    headers = [
        (b"host", b"api.example.com"),
        (b"user-agent", b"python-httpx/0.28.1"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip, deflate, br"),
        (b"connection", b"keep-alive"),
        (b"x-request-id", b"0b5a2a8e-6f0c-4a53-9d0c-5f8c1f6d3c11"),
    ]
    if authorization is not None:
        headers.append((b"authorization", authorization.encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"page=2",
        "headers": headers,
    }


def _scopes(authorizations: Sequence[str | None]) -> list[Scope]:
    """One batch of requests that takes the credentials in turn, in an order that is always the same."""
    scopes = [scope_with(authorization) for authorization in authorizations]
    random.Random(2).shuffle(scopes)
    return [scopes[number % len(scopes)] for number in range(BATCH)]


@dataclass(frozen=True, slots=True)
class Field:
    """All who take part, and what the parts of vc_auth are measured with."""

    driven: tuple[Driven, ...]
    auth: VCAuth
    scopes: Sequence[Scope]


async def line_up(number_of_keys: int) -> Field:
    """Build everybody, with as many keys as that. All know the same keys."""
    store = MemoryKeyStore()
    full = _auth(store)
    keys = await _issue(full, number_of_keys)
    scopes = _scopes([f"Bearer {key}" for key in keys])
    ours = APIKeyMiddleware(bare_app, auth=full)
    theirs = AuthenticationMiddleware(bare_app, DictBackend(keys))
    limited = AuthenticationMiddleware(LimitsMiddleware(bare_app), DictBackend(keys))
    everything = NEW_HEADERS | OLD_HEADERS
    starlette = starlette_app(PATH)
    driven = (
        Driven(PASS_THROUGH, PassThrough(bare_app), scopes, turns=5),
        Driven(AUTH_ONLY, APIKeyMiddleware(bare_app, auth=_auth(store, limiter="none")), scopes),
        Driven(EVERYTHING, ours, scopes, headers=everything),
        *await _refusals(store, ours, keys),
        Driven(STARLETTE_AUTH, theirs, scopes),
        Driven(STARLETTE_LIMITS, limited, scopes, headers=OLD_HEADERS),
        Driven(EVERYTHING_TURNING, ours, scopes, headers=everything, loop_turns=True),
        Driven(LIMITS_TURNING, limited, scopes, headers=OLD_HEADERS, loop_turns=True),
        Driven(SLOWAPI, slowapi_app(PATH), scopes, starlette, headers=OLD_HEADERS),
    )
    return Field(driven, full, scopes)


async def _refusals(store: MemoryKeyStore, ours: ASGIApp, keys: Sequence[str]) -> tuple[Driven, ...]:
    known = [f"Bearer {key}" for key in keys]
    strangers = [f"Bearer vc_{number:032x}" for number in range(len(keys))]
    stingy = APIKeyMiddleware(bare_app, auth=_auth(store, plan=STINGY))
    for scope in _scopes(known):
        await _answer(stingy, scope)  # takes the one token of the day
    waiting = frozenset((b"retry-after",)) | NEW_HEADERS | OLD_HEADERS
    return (
        Driven(MISSING, ours, _scopes([None]), status=401, headers=CHALLENGE),
        Driven(MALFORMED, ours, _scopes([f"{line} again" for line in known]), status=401, headers=CHALLENGE),
        Driven(NO_KEY, ours, _scopes([f"{line}0" for line in known]), status=401, headers=CHALLENGE),
        Driven(UNKNOWN, ours, _scopes(strangers), status=401, headers=CHALLENGE),
        Driven(REFUSED, stingy, _scopes(known), status=429, headers=waiting),
    )


def _auth(store: MemoryKeyStore, *, limiter: str = "memory://", plan: Plan = GENEROUS) -> VCAuth:
    settings = Settings(
        store="memory://", limiter=limiter, plans=(plan,), public_paths=("/health",), cache_ttl=FAR, negative_ttl=FAR
    )
    return VCAuth(settings, store=store)


async def _issue(auth: VCAuth, number: int) -> list[str]:
    project = await auth.registry.create_project("acme", plan=GENEROUS.name)
    return [(await auth.registry.create_key(project, f"key {n}")).secret.reveal() for n in range(number)]


async def _answer(app: ASGIApp, scope: Scope) -> list[Message]:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await app(dict(scope), _receive, send)
    return messages


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(_message: Message) -> None:
    pass
