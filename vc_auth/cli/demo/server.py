"""A real uvicorn in a thread of this process, so that whoever gives the tour can also manage keys."""

import asyncio
import errno
import socket
from collections.abc import Coroutine
from concurrent.futures import Future
from ipaddress import ip_address
from threading import Event, Thread
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

import uvicorn
from starlette.types import ASGIApp

T = TypeVar("T")

WAIT_SLICE: Final = 1.0  # seconds; on Windows, a wait without end would not be interrupted by Ctrl+C


class CannotListen(Exception):
    """The address cannot be listened on. The message is a sentence for the user."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens already, so that its port is known (0: a free one) and nobody else can take it."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address, family=family)
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise CannotListen(
                f"Port {port} on {host} is taken. Try `vc-auth demo --port 0`, which picks a free one."
            ) from None
        reason, _, _ = str(getattr(error, "strerror", error)).partition(" (while")  # what create_server adds
        raise CannotListen(f"Cannot listen on {host}, port {port}: {reason}.") from None
    # What is accepted inherits it. asyncio sets it only where a socket's protocol was named, and without it a client
    # that keeps its connection waits 40 ms for each answer.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class Address(NamedTuple):
    """Where a client on this machine finds a listener."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """``http://`` and the address."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def address_of(listener: socket.socket) -> Address:
    """Where a client on this machine finds this listener."""
    host, port = listener.getsockname()[:2]
    address = ip_address(host)
    if address.is_unspecified:  # every address is listened on, none is connected to
        address = ip_address("127.0.0.1" if address.version == 4 else "::1")
    return Address(str(address), port)


def config_of(app: ASGIApp) -> uvicorn.Config:
    """How every worker serves."""
    return uvicorn.Config(
        app,
        lifespan="on",
        ws="none",
        proxy_headers=False,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )


class DemoServer:
    """Serves ``app`` on ``listeners`` inside ``with``, and closes them at its end."""

    def __init__(self, app: ASGIApp, *listeners: socket.socket) -> None:
        self._server = _Server(config_of(app))
        self._listeners = list(listeners)
        self._thread = Thread(target=self._serve, name="vc-auth demo", daemon=True)  # a second Ctrl+C waits no longer
        self._ended = Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop = self._server.ready.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the server's loop, where the stores live, and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def wait(self) -> None:
        """Return when the server ends by itself; until then only a signal's exception gets out of here."""
        while not self._ended.wait(WAIT_SLICE):  # not Thread.join: interrupted, it takes the thread for dead (3.11)
            pass

    def _serve(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=self._listeners))
        except BaseException as error:  # noqa: BLE001  # also SystemExit, uvicorn's word for a failed lifespan
            self._server.ready.set_exception(error)  # for whoever waits in __enter__
        finally:
            self._ended.set()


class _Server(uvicorn.Server):
    """Tells when it is ready, and on which loop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready: Future[asyncio.AbstractEventLoop] = Future()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set_result(asyncio.get_running_loop())
