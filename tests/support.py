"""Driving an ASGI application by hand: a scope, its messages in, its messages out."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vc_auth import VCAuth
from vc_auth.keys import Headers

SCALE: Final = float(os.environ.get("VC_AUTH_TEST_SCALE", "1"))

MISSING: Final = b'{"error":"Missing API key","message":"Authorization header is required","status":401}'
MALFORMED: Final = (
    b'{"error":"Invalid authorization format",'
    b'"message":"Authorization header must be in format: Bearer YOUR_API_KEY","status":401}'
)
INVALID: Final = (
    b'{"error":"Invalid API key","message":"The provided API key is invalid or has been revoked","status":401}'
)
FORBIDDEN: Final = b'{"error":"Forbidden","message":"API key doesn\'t have permission for this request","status":403}'
UNAVAILABLE: Final = (
    b'{"error":"Service unavailable",'
    b'"message":"The API key could not be verified. Please try again later.","retry_after":1,"status":503}'
)


def limited(retry_after: int) -> bytes:
    return (
        b'{"error":"Rate limit exceeded","message":"You have exceeded your rate limit. Please try again later.",'
        b'"retry_after":%d,"status":429}' % retry_after
    )


@dataclass
class Answer:
    """What an application sent."""

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self._start["status"])

    @property
    def headers(self) -> dict[str, str]:
        pairs = [(name.decode(), value.decode()) for name, value in self._start["headers"]]
        assert len(dict(pairs)) == len(pairs), "a header is there twice"
        return dict(pairs)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages if message["type"].endswith(".body"))

    @property
    def _start(self) -> Message:
        (start,) = (message for message in self.messages if message["type"].endswith(".start"))
        return start


def bearer(key: str) -> Headers:
    return [(b"host", b"example.com"), (b"authorization", b"Bearer " + key.encode())]


def http_scope(headers: Iterable[Any] = (), path: str = "/", method: str = "GET", **more: Any) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("203.0.113.7", 50_000),
        "server": ("127.0.0.1", 8000),
        **more,
    }


def websocket_scope(headers: Iterable[Any] = (), **more: Any) -> Scope:
    scope = http_scope(headers, **more)
    del scope["method"]
    return {**scope, "type": "websocket", "subprotocols": []}


async def nothing_more() -> Message:
    return {"type": "http.disconnect"}


async def call(app: ASGIApp, scope: Scope, *received: Message) -> Answer:
    """Run ``app``; it receives the messages given, then that the client is gone."""
    answer = Answer()
    rest = iter(received)

    async def receive() -> Message:
        return next(rest, {"type": f"{scope['type']}.disconnect"})

    async def send(message: Message) -> None:
        answer.messages.append(message)

    await app(scope, receive, send)
    return answer


async def get(app: ASGIApp, key: str | None = None, path: str = "/", **more: Any) -> Answer:
    """One request with this key, or with none."""
    return await call(app, http_scope(bearer(key) if key is not None else [], path, **more))


class App:
    """An application that answers everything, and remembers the scopes that it was called with."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


async def new_key(auth: VCAuth, project: str = "acme", plan: str = "free", **options: Any) -> str:
    """A key of a project, which is made if it is not there."""
    names = {known.name for known in await auth.registry.list_projects()}
    if project not in names:
        await auth.registry.create_project(project, plan=plan)
    return (await auth.registry.create_key(project, "ci", **options)).secret.reveal()
