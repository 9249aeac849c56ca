"""The other two doors."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from support import FORBIDDEN, INVALID, MISSING, Answer, App, bearer, call, limited, new_key, websocket_scope

from vc_auth import APIKeyMiddleware, Forbidden, Settings, VCAuth, requires

CONNECT = {"type": "websocket.connect"}
DENIAL: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}
CLOSE = {"type": "websocket.close", "code": 1008, "reason": ""}


async def test_a_refused_handshake_gets_the_same_answer_where_the_server_can_send_one() -> None:
    auth = VCAuth(Settings(store="memory://", cost=100))
    middleware = APIKeyMiddleware(App(), auth)
    key = await new_key(auth)
    answer = await call(middleware, websocket_scope([], **DENIAL), CONNECT)
    assert [message["type"] for message in answer.messages] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert (answer.status, answer.body) == (401, MISSING)
    assert answer.headers["www-authenticate"] == 'Bearer realm="vc_auth"'
    await call(middleware, websocket_scope(bearer(key), **DENIAL), CONNECT)
    answer = await call(middleware, websocket_scope(bearer(key), **DENIAL), CONNECT)
    assert (answer.status, answer.body, answer.headers["x-ratelimit-remaining"]) == (429, limited(100), "0")


@pytest.mark.parametrize("extensions", [{}, {"extensions": None}, {"extensions": {"tls": {}}}])
async def test_elsewhere_it_is_closed_with_1008_before_it_is_accepted(extensions: dict[str, Any]) -> None:
    middleware = APIKeyMiddleware(App(), VCAuth(Settings(store="memory://")))
    assert (await call(middleware, websocket_scope([], **extensions), CONNECT)).messages == [CLOSE]


async def test_nothing_is_sent_before_the_handshake_was_received_or_after_it_is_gone() -> None:
    middleware = APIKeyMiddleware(App(), VCAuth(Settings(store="memory://")))
    answer = Answer()
    order: list[str] = []

    async def receive() -> Message:
        order.append("receive")
        return CONNECT

    async def send(message: Message) -> None:
        order.append(message["type"])

    await middleware(websocket_scope([]), receive, send)
    assert order == ["receive", "websocket.close"]
    answer = await call(middleware, websocket_scope([]), {"type": "websocket.disconnect", "code": 1006})
    assert answer.messages == []


async def test_the_inner_one_of_two_asks_a_handshake_for_its_own_project() -> None:
    app, auth = App(), VCAuth(Settings(store="memory://"))
    scope = websocket_scope(bearer(await new_key(auth)))
    for project, sent in [("acme", "websocket.accept"), ("other", "websocket.close")]:
        stack = APIKeyMiddleware(APIKeyMiddleware(app, auth, project=project), auth)
        assert [message["type"] for message in (await call(stack, scope, CONNECT)).messages] == [sent]


async def test_an_admitted_handshake_is_accepted_with_its_limit_headers() -> None:
    app, auth = App(), VCAuth(Settings(store="memory://"))
    middleware = APIKeyMiddleware(app, auth)
    answer = await call(middleware, websocket_scope(bearer(await new_key(auth))), CONNECT)
    (accept,) = answer.messages
    assert accept["type"] == "websocket.accept"
    assert dict(accept["headers"])[b"x-ratelimit-remaining"] == b"99"
    assert app.scopes[0]["user"].project.name == "acme"


async def test_an_accepted_websocket_talks_as_it_would_without_us() -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})

    auth = VCAuth(Settings(store="memory://"))
    scope = websocket_scope(bearer(await new_key(auth)))
    answer = await call(APIKeyMiddleware(echo, auth), scope, CONNECT, {"type": "websocket.receive", "text": "hello"})
    assert answer.messages[1:] == [{"type": "websocket.send", "text": "hello"}]


@pytest.mark.parametrize("received", [False, True])
async def test_a_denial_raised_before_the_accept_is_answered(received: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if received:
            assert await receive() == CONNECT
        raise Forbidden

    auth = VCAuth(Settings(store="memory://"))
    scope = websocket_scope(bearer(await new_key(auth)), **DENIAL)
    answer = await call(APIKeyMiddleware(app, auth), scope, CONNECT)
    assert (answer.status, answer.body) == (403, FORBIDDEN)


async def test_a_denial_raised_after_the_accept_is_raised_on() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        raise Forbidden

    auth = VCAuth(Settings(store="memory://"))
    with pytest.raises(Forbidden):
        await call(APIKeyMiddleware(app, auth), websocket_scope(bearer(await new_key(auth))), CONNECT)


def test_requires_refuses_a_websocket_that_lacks_the_scope() -> None:
    auth = VCAuth(Settings(store="memory://"))

    @requires("cache:write")
    async def writing(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("welcome")
        await websocket.close()

    app = Starlette(routes=[WebSocketRoute("/ws", writing)])
    app.add_middleware(APIKeyMiddleware, auth=auth)
    with TestClient(app) as client:
        assert client.portal is not None
        reader = client.portal.call(lambda: new_key(auth, scopes=["cache:read"]))
        writer = client.portal.call(lambda: new_key(auth))
        with client.websocket_connect("/ws", headers={"authorization": f"Bearer {writer}"}) as websocket:
            assert websocket.receive_text() == "welcome"
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect("/ws", headers={"authorization": f"Bearer {reader}"}),
        ):
            pass
        assert (refused.value.status_code, refused.value.content) == (403, FORBIDDEN)
        assert refused.value.headers["www-authenticate"].endswith('error="insufficient_scope", scope="cache:write"')
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws"):
            pass


# -- lifespan ----------------------------------------------------------------------------------------------------------


class Recorded(VCAuth):
    def __init__(self, events: list[str]) -> None:
        super().__init__(Settings(store="memory://"))
        self.events = events
        self.failure: Exception | None = None

    async def open(self) -> None:
        if self.failure is not None:
            raise self.failure
        await super().open()
        self.events.append("open")

    async def aclose(self) -> None:
        await super().aclose()
        self.events.append("close")


async def live(app: Any, events: list[str], *received: str) -> list[Message]:
    scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    sent: list[Message] = []
    rest = iter(received)

    async def receive() -> Message:
        return {"type": next(rest)}

    async def send(message: Message) -> None:
        events.append(message["type"])
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def test_it_opens_before_the_application_starts_and_closes_before_the_server_hears_that_it_is_down() -> None:
    events: list[str] = []
    app = Starlette()
    app.add_middleware(APIKeyMiddleware, auth=Recorded(events))
    await live(app, events, "lifespan.startup", "lifespan.shutdown")
    assert events == ["open", "lifespan.startup.complete", "close", "lifespan.shutdown.complete"]


async def test_what_cannot_be_opened_stops_the_start() -> None:
    events: list[str] = []
    auth = Recorded(events)
    auth.failure = RuntimeError("wrong schema")
    app = Starlette()
    app.add_middleware(APIKeyMiddleware, auth=auth)
    with pytest.raises(RuntimeError, match="wrong schema"):
        await live(app, events, "lifespan.startup", "lifespan.shutdown")
    assert events == ["lifespan.startup.failed"]


async def test_an_application_that_reports_our_failure_to_open_does_not_report_it_twice() -> None:
    events: list[str] = []
    auth = Recorded(events)
    auth.failure = RuntimeError("wrong schema")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await receive()
        except RuntimeError:
            await send({"type": "lifespan.startup.failed", "message": "the traceback"})

    (failed,) = await live(APIKeyMiddleware(app, auth), events, "lifespan.startup")
    assert failed == {"type": "lifespan.startup.failed", "message": "wrong schema"}


async def test_an_application_that_fails_to_start_leaves_nothing_open() -> None:
    events: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    await live(APIKeyMiddleware(app, Recorded(events)), events, "lifespan.startup")
    assert events == ["open", "close", "lifespan.startup.failed"]


async def test_an_application_that_knows_no_lifespan_is_called_all_the_same() -> None:
    events: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        await live(APIKeyMiddleware(app, Recorded(events)), events)
    assert events == []


async def test_an_application_that_dies_while_it_is_up_leaves_nothing_open() -> None:
    events: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        await live(APIKeyMiddleware(app, Recorded(events)), events, "lifespan.startup")
    assert events == ["open", "lifespan.startup.complete", "close"]


def test_a_test_client_that_makes_a_loop_for_every_request_is_served() -> None:
    auth = VCAuth(Settings(store="memory://"))
    app = Starlette(routes=[Route("/", App())])
    app.add_middleware(APIKeyMiddleware, auth=auth)
    client = TestClient(app)
    for _ in range(3):
        answer = client.get("/", headers={"authorization": "Bearer vc_" + "0" * 32})
        assert answer.content == INVALID
