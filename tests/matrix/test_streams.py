"""Bodies: what streams is passed on as it comes, what is refused is never read, and who leaves is let go."""

import pytest
from matrix.running import HERE, UNKNOWN, Keys, Server
from matrix.wire import bearer, request
from support import INVALID, MISSING

GIGABYTE = 1_073_741_824


def upload(size: int, *lines: str) -> bytes:
    return request("/upload", f"Content-Length: {size}", *lines, method="POST")


def test_an_answer_that_streams_is_not_held_back(server: Server, keys: Keys) -> None:
    with server.connect() as wire:
        wire.send(request("/stream", bearer(keys.enterprise)))
        assert wire.head().headers["ratelimit"].startswith('"enterprise"')
        assert wire.chunk() == b"one"
        server.go()  # the second chunk does not exist before this
        assert (wire.chunk(), wire.chunk()) == (b"two", b"")


def test_an_upload_is_passed_on_as_it_comes(server: Server, keys: Keys) -> None:
    with server.connect() as wire:
        wire.send(upload(6, bearer(keys.enterprise)) + b"one")
        assert "one" in server.notes(until="one")
        wire.send(b"two")
        assert wire.answer().body == b"uploaded"
    assert "two" in server.notes()


def test_a_client_that_leaves_during_a_download_ends_it(server: Server, keys: Keys) -> None:
    with server.connect() as wire:
        wire.send(request("/stream", bearer(keys.enterprise)))
        wire.head()
        assert wire.chunk() == b"one"
    assert "ended" in server.notes(until="ended")


def test_a_client_that_leaves_during_an_upload_is_told_of(server: Server, keys: Keys) -> None:
    with server.connect() as wire:
        wire.send(upload(6, bearer(keys.enterprise)) + b"one")
        assert "one" in server.notes(until="one")
    assert "disconnected" in server.notes(until="disconnected")


@pytest.mark.parametrize(("lines", "body"), [([], MISSING), ([bearer(UNKNOWN)], INVALID)])
def test_a_gigabyte_that_is_refused_is_never_read(server: Server, lines: list[str], body: bytes) -> None:
    with server.connect() as wire:
        wire.send(upload(GIGABYTE, *lines) + b"the first of it")
        assert wire.answer().body == body
    assert server.notes() == []


def test_a_client_that_waits_for_100_before_it_sends_a_gigabyte_is_refused_without(server: Server) -> None:
    with server.connect() as wire:
        wire.send(upload(GIGABYTE, "Expect: 100-continue"))
        if server.name == "hypercorn":  # which says 100 to everyone, before any application is asked
            assert wire.head().status == 100
        assert wire.answer().body == MISSING
    assert server.notes() == []


def test_a_client_that_waits_for_100_gets_it_when_the_application_reads(server: Server, keys: Keys) -> None:
    with server.connect() as wire:
        wire.send(upload(3, "Expect: 100-continue", bearer(keys.enterprise)))
        assert wire.head().status == 100
        wire.send(b"one")
        assert wire.answer().body == b"uploaded"


def test_a_file_is_sent_whole_also_where_the_server_itself_opens_it(server: Server, keys: Keys) -> None:
    answer = server.ask(request("/file", bearer(keys.enterprise)))
    assert (answer.status, answer.body) == (200, (HERE / "app.py").read_bytes())
    assert answer.headers["ratelimit"].startswith('"enterprise"')


def test_hints_and_trailers_are_offered_by_nobody_over_http_1(server: Server, keys: Keys) -> None:
    granians = b'["http.response.pathsend","websocket.http.response"]'
    answer = server.ask(request("/extensions", bearer(keys.enterprise)))
    assert answer.body == (granians if server.name == "granian" else b"[]")
