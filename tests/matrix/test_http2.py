"""HTTP/2, from the servers that speak it without TLS: the same answers, and what HTTP/1.1 has not."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import h2.config
import h2.connection
import h2.events
import pytest
from matrix.running import Keys, Server
from support import MALFORMED, MISSING

Line = tuple[str, str]

REQUEST: Final = [(":scheme", "http"), (":authority", "x")]
GET: Final = [*REQUEST, (":method", "GET"), (":path", "/secret")]
WEBSOCKET: Final = [*REQUEST, (":method", "CONNECT"), (":protocol", "websocket"), (":path", "/echo")]  # RFC 8441
HINTS_AND_TRAILERS: Final = [*REQUEST, (":method", "GET"), (":path", "/hints-and-trailers")]

both = pytest.mark.parametrize("server", ["granian", "hypercorn"], indirect=True)
only_hypercorn = pytest.mark.parametrize("server", ["hypercorn"], indirect=True)


class Answer(NamedTuple):
    """Every block of headers that came: of hints, of the answer, of trailers; and the body."""

    blocks: list[dict[str, str]]
    body: bytes


def ask(server: Server, lines: list[Line]) -> Answer:
    blocks, body = [], b""
    for event in events(server, lines):
        if isinstance(event, h2.events.DataReceived):
            body += event.data or b""
        elif (headers := getattr(event, "headers", None)) is not None:
            blocks.append(dict(headers))
            assert len(blocks[-1]) == len(headers), "a header is there twice"
    return Answer(blocks, body)


def events(server: Server, lines: list[Line]) -> Iterator[h2.events.Event]:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="ascii"))
    connection.initiate_connection()
    connection.send_headers(1, lines, end_stream=(":method", "CONNECT") not in lines)
    with server.connect() as wire:
        while True:
            wire.send(connection.data_to_send())
            data = wire.some()
            assert data, "the server closed"
            for event in connection.receive_data(data):
                yield event
                if isinstance(event, h2.events.StreamEnded):
                    return


def assert_is_refused(server: Server, lines: list[Line], body: bytes, challenge: str) -> None:
    (headers,), text = ask(server, lines)
    assert text == body
    said = (headers[":status"], headers["content-length"], headers["cache-control"], headers["www-authenticate"])
    assert said == ("401", str(len(body)), "no-store", challenge)


@both
def test_a_401_is_the_documented_one(server: Server) -> None:
    assert_is_refused(server, GET, MISSING, 'Bearer realm="vc_auth"')


@both
def test_two_authorization_lines_are_no_credentials(server: Server, keys: Keys) -> None:
    lines = 2 * [("authorization", f"Bearer {keys.enterprise}")]
    assert_is_refused(server, GET + lines, MALFORMED, 'Bearer realm="vc_auth", error="invalid_request"')


@only_hypercorn
def test_a_websocket_in_a_stream_is_refused_with_the_same_answer(server: Server) -> None:
    version = ("sec-websocket-version", "13")
    assert_is_refused(server, [*WEBSOCKET, version], MISSING, 'Bearer realm="vc_auth"')
    assert server.notes() == ["receive", "websocket.http.response.start", "websocket.http.response.body"]


@only_hypercorn
def test_an_early_hint_and_trailers_are_passed_on(server: Server, keys: Keys) -> None:
    lines = [("authorization", f"Bearer {keys.enterprise}"), ("te", "trailers")]
    (hint, answer, trailers), body = ask(server, HINTS_AND_TRAILERS + lines)
    assert (hint[":status"], hint["link"]) == ("103", "</style.css>; rel=preload")
    assert (answer[":status"], body, trailers) == ("200", b"between", {"x-sum": "7"})
    assert [name for name in hint | trailers if "ratelimit" in name] == []
    assert answer["ratelimit"].startswith('"enterprise"')
