"""``vc-auth demo`` with a server whose answers are not those of the contract: the tour must find out."""

import re
from collections.abc import Callable

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vc_auth import VCAuth
from vc_auth.cli import demo
from vc_auth.cli.demo import beside, crew
from vc_auth.cli.demo.app import create_app
from vc_auth.cli.demo.wire import Exchange, Request, send

Tour = Callable[[], tuple[int, str]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a wrong server never says is not waited for."""
    monkeypatch.setattr(beside, "PATIENCE", 0.1)


class Falsified:
    """The demo's application, whose messages ``falsify`` changes on their way out."""

    def __init__(self, falsify: Callable[[Message], Message]) -> None:
        self.falsify = falsify

    def create_app(self, auth: VCAuth) -> ASGIApp:
        app = create_app(auth)

        async def falsified(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_falsified(message: Message) -> None:
                await send(self.falsify(message) if scope["type"] == "http" else message)

            await app(scope, receive, send_falsified)

        return falsified


def drop_header(message: Message) -> Message:
    headers = [header for header in _headers(message) if header[0] != b"ratelimit"]
    return {**message, "headers": headers} if headers else message


def add_header(message: Message) -> Message:
    return {**message, "headers": [*_headers(message), (b"x-powered-by", b"vc_auth")]} if _headers(message) else message


def spend_double(message: Message) -> Message:
    headers = [
        (name, b"%d" % max(0, int(value) - 1) if name == b"x-ratelimit-remaining" else value)
        for name, value in _headers(message)
    ]
    return {**message, "headers": headers} if headers else message


def reword(message: Message) -> Message:
    body = message.get("body", b"").replace(b"revoked", b"retired")
    return {**message, "body": body} if body else message


def teapot(message: Message) -> Message:
    return {**message, "status": 299} if message.get("status") == 403 else message


def _headers(message: Message) -> list[tuple[bytes, bytes]]:
    return list(message.get("headers", ()))


@pytest.mark.parametrize(
    ("falsify", "told"),
    [
        (drop_header, 'ratelimit: "free";r=99;t=1 is documented, nothing came'),
        (add_header, "x-powered-by: nothing is documented, vc_auth came"),
        (spend_double, "x-ratelimit-remaining: 99 is documented, 98 came"),
        (reword, 'body: {"error":"Invalid API key",'),
        (teapot, "status: 403 is documented, 299 came"),
    ],
)
def test_an_answer_that_is_not_as_documented_ends_it_with_1(
    tour: Tour, monkeypatch: pytest.MonkeyPatch, falsify: Callable[[Message], Message], told: str
) -> None:
    monkeypatch.setattr(crew, "create_app", Falsified(falsify).create_app)
    code, out = tour()
    assert code == 1
    assert "\n \N{BALLOT X}  " in out
    assert told in out
    count = re.search(r"^(\d+) of (\d+) answers as documented", out, re.MULTILINE)
    assert count is not None
    assert int(count[1]) < int(count[2])


def test_a_server_that_limits_nobody_is_found_out_at_the_burst(tour: Tour, monkeypatch: pytest.MonkeyPatch) -> None:
    last: list[Message] = []

    def never_refuse(message: Message) -> Message:
        """Answer whatever comes after the good answers of the burst as the last of those."""
        if message["type"] == "http.response.start":
            if message["status"] == 200:
                last[:] = [message]
            elif message["status"] == 429:
                return last[0]
        elif last and last[0] and b'"hit":true' in message["body"]:
            last[1:] = [message]
        elif b"Rate limit" in message["body"]:
            return last[1]
        return message

    monkeypatch.setattr(crew, "create_app", Falsified(never_refuse).create_app)
    code, out = tour()
    assert code == 1
    assert "\n \N{BALLOT X}  200 OK" in out
    assert "that came back meanwhile" not in out, "there is no sum to be made of it"


def test_a_server_that_does_not_answer_is_told_and_ends_it_with_1(tour: Tour, monkeypatch: pytest.MonkeyPatch) -> None:
    def send_to_nobody(host: str, port: int, request: Request) -> Exchange:
        return send(host, 0 if request.path == "/health" else port, request)

    monkeypatch.setattr(demo, "send", send_to_nobody)
    code, out = tour()
    assert code == 1
    assert "\n \N{BALLOT X}  no answer" in out
    assert "status: 200 is documented, nothing came" in out
