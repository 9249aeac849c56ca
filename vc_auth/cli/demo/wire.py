"""One request over a socket of its own, and what came back."""

import time
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Final, NamedTuple, Self

from vc_auth.keys import Secret

TIMEOUT: Final = 30.0  # seconds
SERVERS_OWN: Final = frozenset(("date", "server"))  # uvicorn's headers; no contract speaks of them


class Moment(NamedTuple):
    """Both clocks at once, in whole microseconds: the monotonic one, and UTC since 1970."""

    monotonic: int
    utc: int

    @classmethod
    def now(cls) -> Self:
        """The present one."""
        return cls(time.monotonic_ns() // 1_000, time.time_ns() // 1_000)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. ``credentials``: a Secret goes as Bearer, a text as the header's whole value."""

    method: str
    path: str
    credentials: Secret | str | None = None
    body: str = ""

    @property
    def authorization(self) -> str | None:
        """The Authorization value as it may be shown: a key is masked."""
        return f"Bearer {self.credentials}" if isinstance(self.credentials, Secret) else self.credentials


class Answer(NamedTuple):
    """What came back, less the server's own headers. The headers are sorted, their names as they were sent."""

    status: int
    """0: none came, and the body says why."""
    headers: tuple[tuple[str, str], ...]
    body: str


class Exchange(NamedTuple):
    """A request and its answer. The server saw the request at some moment from ``sent`` to ``received``."""

    request: Request
    sent: Moment
    received: Moment
    answer: Answer


def send(host: str, port: int, request: Request) -> Exchange:
    """Send ``request``, and wait for its whole answer."""
    headers = {"Content-Type": "application/json"} if request.body else {}
    if isinstance(request.credentials, Secret):
        headers["Authorization"] = f"Bearer {request.credentials.reveal()}"
    elif request.credentials is not None:
        headers["Authorization"] = request.credentials
    sent = Moment.now()
    with closing(HTTPConnection(host, port, timeout=TIMEOUT)) as connection:
        try:
            connection.request(request.method, request.path, request.body.encode() or None, headers)
            response = connection.getresponse()
            body = response.read().decode(errors="backslashreplace")
        except (OSError, HTTPException) as error:
            return Exchange(request, sent, Moment.now(), Answer(0, (), repr(error)))
    heard = tuple(sorted(pair for pair in response.getheaders() if pair[0] not in SERVERS_OWN))
    return Exchange(request, sent, Moment.now(), Answer(response.status, heard, body))
