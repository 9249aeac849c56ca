"""Websockets: refused at their handshake, by an answer or by 1008, and admitted."""

from typing import Final

import pytest
from matrix.running import UNKNOWN, Keys, Server
from matrix.wire import bearer, request
from support import FORBIDDEN, INVALID, MALFORMED, MISSING

KEY: Final = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE: Final = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY)
ECHO: Final = b"\x81\x02hi" + b"\x88\x02\x03\xe8"  # a text, and a close with 1000
# What servers say of the connection beside a denial. Granian's is a 401 that upgrades nothing all the same.
OF_CONNECTION: Final = {
    "uvicorn-h11": {"connection"},
    "uvicorn-httptools": set[str](),
    "granian": {"connection", "upgrade", "sec-websocket-accept"},
    "hypercorn": set[str](),
}


@pytest.mark.parametrize(
    ("lines", "status", "body"),
    [
        ([], 401, MISSING),
        (["Sec-WebSocket-Protocol: bearer, {enterprise}"], 401, MISSING),
        ([bearer("{enterprise}"), bearer("{enterprise}")], 401, MALFORMED),
        ([bearer(UNKNOWN)], 401, INVALID),
        ([bearer("{elsewhere}")], 403, FORBIDDEN),
    ],
)
def test_a_refused_handshake_gets_the_same_answer_as_any_request(
    server: Server, keys: Keys, lines: list[str], status: int, body: bytes
) -> None:
    lines = [line.format(**keys._asdict()) for line in lines]
    answer, as_http = server.ask(request("/echo", *UPGRADE, *lines)), server.ask(request("/secret", *lines))
    assert (answer.status, answer.body) == (status, body)
    assert as_http.own_headers.items() <= answer.own_headers.items()
    assert answer.own_headers.keys() - as_http.own_headers.keys() == OF_CONNECTION[server.name]
    assert server.notes() == ["receive", "websocket.http.response.start", "websocket.http.response.body"]


def test_without_the_extension_it_is_closed_with_1008_which_every_server_makes_a_403(server: Server) -> None:
    answer = server.ask(request("/echo?without-extensions", *UPGRADE))
    assert (answer.status, answer.body) == (403, b"")
    assert server.notes() == ["receive", "websocket.close 1008"]


def test_an_admitted_websocket_says_where_the_bucket_stands_and_works(server: Server, keys: Keys) -> None:
    with server.connect() as wire:
        wire.send(request("/echo", *UPGRADE, bearer(keys.free_socket)))
        answer = wire.head()
        wire.send(b"\x81\x82\0\0\0\0hi")
        assert (answer.status, wire.read(len(ECHO))) == (101, ECHO)
    # Granian sends no headers of an application's with its 101.
    expected = None if server.name == "granian" else '"free";r=99;t=1'
    assert answer.headers.get("ratelimit") == expected
