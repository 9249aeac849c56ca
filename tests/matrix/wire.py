"""A client that sends bytes as they are given, and reads answers without making anything of them."""

import socket
from typing import Final, NamedTuple, Self

DEADLINE: Final = 10.0  # seconds; nothing takes that long


class Response(NamedTuple):
    """What came over the wire. Names of headers are lower case, all else is as it came."""

    status: int
    lines: list[tuple[str, str]]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        assert len(dict(self.lines)) == len(self.lines), f"a header is there twice: {self.lines}"
        return dict(self.lines)

    @property
    def own_headers(self) -> dict[str, str]:
        """Those that are not the server's on every answer."""
        return {name: value for name, value in self.headers.items() if name not in ("date", "server")}


class Wire:
    """One connection to a server on this machine."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        data = self._file.read(size)
        assert len(data) == size, f"the server closed after {data!r}"
        return data

    def some(self) -> bytes:
        """What came so far, at least a byte; nothing at the end."""
        return self._file.read1()

    def head(self) -> Response:
        """The next status line and its headers; all of an answer that has no body."""
        status = self._line()
        if not status:
            raise ConnectionAbortedError("the server closed before it answered")
        assert status.startswith("HTTP/1."), f"no answer: {status!r}"
        lines = []
        while line := self._line():
            name, _, value = line.partition(":")
            lines.append((name.lower(), value.removeprefix(" ")))
        return Response(int(status.split(" ")[1]), lines, b"")

    def chunk(self) -> bytes:
        """The next chunk of a chunked body, empty at its end."""
        data = self.read(int(self._line(), 16))
        assert self._line() == ""
        return data

    def answer(self) -> Response:
        """The next whole answer."""
        head = self.head()
        if "content-length" in head.headers:
            return head._replace(body=self.read(int(head.headers["content-length"])))
        if head.headers.get("transfer-encoding") == "chunked":
            return head._replace(body=b"".join(iter(self.chunk, b"")))
        return head._replace(body=self._file.read())

    def _line(self) -> str:
        return self._file.readline().decode("latin-1").removesuffix("\r\n")


def request(target: str = "/secret", *headers: str | bytes, method: str = "GET") -> bytes:
    """A request without a body: these bytes, and no others but Host."""
    lines = [f"{method} {target} HTTP/1.1", "Host: x", *headers]
    return b"".join((line.encode() if isinstance(line, str) else line) + b"\r\n" for line in (*lines, ""))


def bearer(key: str) -> str:
    return f"Authorization: Bearer {key}"
