"""The demo's server, and one request to it over a socket."""

import re
import socket
from contextlib import closing
from threading import Thread
from unittest.mock import Mock

import pytest
from starlette.types import Receive, Scope, Send

from vc_auth.cli.demo import server
from vc_auth.cli.demo.server import CannotListen, DemoServer, address_of, listen
from vc_auth.cli.demo.wire import Request, send
from vc_auth.keys import KeyFormat

GET = Request("GET", "/api/v1/usage")


# -- server ------------------------------------------------------------------------------------------------------------


async def living(scope: Scope, receive: Receive, send: Send) -> None:
    for _ in range(2):
        await send({"type": f"{(await receive())['type']}.complete"})


async def still_born(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "lifespan.startup.failed"})


def test_a_server_that_cannot_start_says_so_at_once() -> None:
    with listen("127.0.0.1", 0) as listener, pytest.raises(SystemExit):
        DemoServer(still_born, listener).__enter__()


def test_waiting_ends_when_the_server_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WAIT_SLICE", 0.001)
    with listen("127.0.0.1", 0) as listener:
        with DemoServer(living, listener) as running:
            waiter = Thread(target=running.wait)
            waiter.start()
        waiter.join()
        with pytest.raises(OSError, match="Bad file descriptor"):
            listener.getsockname()


def test_answers_on_one_connection_do_not_wait_for_each_other() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert client.getpeername() == listener.getsockname()


@pytest.mark.parametrize(
    ("bound", "url"),
    [
        (("127.0.0.1", 8000), "http://127.0.0.1:8000"),
        (("0.0.0.0", 8000), "http://127.0.0.1:8000"),
        (("::1", 8000, 0, 0), "http://[::1]:8000"),
        (("::", 8000, 0, 0), "http://[::1]:8000"),
    ],
)
def test_the_url_is_one_that_a_client_on_this_machine_can_use(bound: tuple[object, ...], url: str) -> None:
    listener = Mock(spec=socket.socket)
    listener.getsockname.return_value = bound
    assert address_of(listener).url == url


def test_a_port_that_needs_more_rights_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied (while attempting to bind on address ('127.0.0.1', 80))")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(CannotListen, match=re.escape("Cannot listen on 127.0.0.1, port 80: Permission denied.") + "$"):
        listen("127.0.0.1", 80)


# -- wire --------------------------------------------------------------------------------------------------------------


def test_a_key_is_sent_whole_and_shown_masked() -> None:
    secret = KeyFormat().generate()
    request = Request("GET", "/", secret)
    assert request.authorization == f"Bearer {secret.display}"
    assert secret.reveal() not in repr(request)


def test_nobody_who_answers_is_an_answer_of_status_0() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    exchange = send("127.0.0.1", port, GET)
    assert exchange.answer.status == 0
    assert "ConnectionRefusedError" in exchange.answer.body
    assert exchange.sent <= exchange.received


def test_what_is_no_http_is_an_answer_of_status_0() -> None:
    def babble() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"220 mail.example.com ESMTP\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=babble)
        thread.start()
        answer = send("127.0.0.1", listener.getsockname()[1], GET).answer
        thread.join()
    assert (answer.status, answer.headers) == (0, ())
    assert "BadStatusLine" in answer.body
