"""What the servers of the matrix serve: a guarded Starlette application, and beside it a door that nobody guards.

``/control/notes`` tells what happened since it was last asked, with ``?until=word`` not before that word is there;
``/control/go`` lets `stream` go on.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Match, Mount, Route, WebSocketRoute
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from vc_auth import APIKeyMiddleware

notes: list[str] = []
noted = asyncio.Event()
go = asyncio.Event()


def note(word: str) -> None:
    notes.append(word)
    noted.set()


# -- what is guarded ---------------------------------------------------------------------------------------------------


async def health(request: Request) -> Response:
    return PlainTextResponse("healthy")


async def admin(request: Request) -> Response:
    return PlainTextResponse("administered")


async def secret(request: Request) -> Response:
    note("secret")
    return PlainTextResponse("the secret")


async def extensions(request: Request) -> Response:
    return JSONResponse(sorted(request.scope.get("extensions") or ()))


async def file(request: Request) -> Response:
    return FileResponse(Path(__file__))


async def upload(request: Request) -> Response:
    try:
        async for chunk in request.stream():
            note(chunk.decode())
    except ClientDisconnect:
        note("disconnected")
    return PlainTextResponse("uploaded")


async def stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await go.wait()
            go.clear()
            yield b"two"
        finally:
            note("ended")

    return StreamingResponse(chunks())


class HintsAndTrailers(Response):
    """For servers that offer both."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"between"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"7")]})


async def hints_and_trailers(request: Request) -> Response:
    return HintsAndTrailers()


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


site = Starlette(
    routes=[
        Route("/health", health),
        Route("/admin", admin),
        Route("/admin/{rest:path}", admin),
        Route("/extensions", extensions),
        Route("/file", file),
        Route("/upload", upload, methods=["POST"]),
        Route("/stream", stream),
        Route("/hints-and-trailers", hints_and_trailers),
        WebSocketRoute("/echo", echo),
        Route("/secret", secret, methods=["GET", "POST"]),
    ]
)
guarded = APIKeyMiddleware(site)
mount = Mount("/mounted", app=guarded)

# -- what is not -------------------------------------------------------------------------------------------------------


async def control(request: Request) -> Response:
    if request.url.path.endswith("/go"):
        go.set()
        return Response()
    until = request.query_params.get("until")
    while until is not None and until not in notes:
        noted.clear()
        await noted.wait()
    told = notes.copy()
    notes.clear()
    return JSONResponse(told)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The whole: notes what the guarded application asks of the server, and what it sends to a websocket."""
    if scope["type"] == "lifespan":
        await guarded(scope, receive, send)
        return
    if scope["type"] == "http" and "/control/" in scope["path"]:
        await (await control(Request(scope)))(scope, receive, send)
        return

    async def noted_receive() -> Message:
        note("receive")
        return await receive()

    async def noted_send(message: Message) -> None:
        if scope["type"] == "websocket":
            note(f"{message['type']} {message.get('code', '')}".strip())
        await send(message)

    if scope["query_string"] == b"without-extensions":
        scope = {**scope, "extensions": {}}
    match, child_scope = mount.matches(scope)
    await guarded({**scope, **child_scope} if match is Match.FULL else scope, noted_receive, noted_send)
