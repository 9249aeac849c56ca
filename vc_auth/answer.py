"""The application's answer on its way out: limit headers on its first message, and room for a denial raised below."""

from collections.abc import Awaitable, Sequence
from sys import exception as exception_being_handled
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from vc_auth.errors import Denied
from vc_auth.responses import LIMIT_HEADER_NAMES, Header, refuse

_STARTS: Final = frozenset(("http.response.start", "websocket.accept", "websocket.http.response.start"))
_SERVER_ERROR: Final = 500
_LENGTHS: Final = frozenset(map(len, LIMIT_HEADER_NAMES))
LONGEST_WITHHELD: Final = 65_536  # bytes of body


class Answer:
    """Wraps one request's ``send``.

    A denial raised in a mounted Starlette or FastAPI app passes that app's own ServerErrorMiddleware, which answers 500
    before it raises the denial again. So an answer that begins while a denial is being handled is withheld until the
    application ends: if it ends with the denial, that is answered instead; else what was withheld goes out unchanged.

    BaseHTTPMiddleware sends from another task, where nobody can see what is being handled; but it makes a stream of any
    answer. Hence a 500 that is streamed is withheld as well, up to 64 KiB of it.
    """

    # On the class, so that the common request pays for two attributes and not for five.
    started = False
    withheld: list[Message] | None = None
    _is_for_denial = False

    def __init__(self, send: Send, headers: Sequence[Header]) -> None:
        self._send = send
        self._headers = headers

    def send(self, message: Message) -> Awaitable[None]:
        """What the application gets for its ``send``. Not `async def`: that would be a frame for every message."""
        if self.started:
            return self._send(message)
        if message["type"] in _STARTS:
            self._is_for_denial = isinstance(exception_being_handled(), Denied)
            if not self._is_for_denial and message.get("status") != _SERVER_ERROR:
                self.started = True
                return self._send(_with_limits(message, self._headers) if self._headers else message)
            self.withheld = []
        if self.withheld is None:
            return self._send(message)  # what may come before the start: an early hint, a debug message
        return self._withhold(self.withheld, message)

    async def refuse(self, denied: Denied, scope: Scope, receive: Receive) -> None:
        """Answer a denial in place of what was withheld. Raises it again if an answer is under way already."""
        if self.started:
            raise denied
        self.withheld = None
        if isinstance(receive, Handshake):
            receive = receive.once_more
        await refuse(denied, scope, receive, self._send, self._headers)

    async def release(self) -> None:
        """Send what was withheld, if anything was."""
        if self.withheld:
            start, *rest = self.withheld
            self.withheld = None
            self.started = True
            await self._send(_with_limits(start, self._headers))
            for message in rest:
                await self._send(message)

    async def _withhold(self, withheld: list[Message], message: Message) -> None:
        withheld.append(message)
        whole = len(withheld) == 2 and not message.get("more_body", False)  # so it did not come as a stream
        size = sum(len(message.get("body", b"")) for message in withheld)
        if (whole and not self._is_for_denial) or size > LONGEST_WITHHELD:
            await self.release()


def _with_limits(message: Message, ours: Sequence[Header]) -> Message:
    """A copy of a first message with our headers, less those that the application set itself."""
    headers = [*(message.get("headers") or ())]
    for name, _ in headers:
        if len(name) in _LENGTHS and name.lower() in LIMIT_HEADER_NAMES:
            theirs = {name.lower() for name, _ in headers}
            return {**message, "headers": headers + [header for header in ours if header[0] not in theirs]}
    headers += ours
    return {**message, "headers": headers}


class Handshake:
    """A websocket's ``receive`` that remembers ``websocket.connect``, so that a late refusal waits for no other."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._connect: Message | None = None

    async def __call__(self) -> Message:
        """The next message."""
        message = await self._receive()
        if message["type"] == "websocket.connect":
            self._connect = message
        return message

    async def once_more(self) -> Message:
        """``websocket.connect`` if it came already, else the next message."""
        return self._connect or await self._receive()
