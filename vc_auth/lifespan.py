"""Opening with the application, closing with it."""

from starlette.types import Message, Receive, Send

from vc_auth.assembly import VCAuth


class Lifespan:
    """Stands between a server's lifespan messages and the application.

    Opens before the application starts, and closes before the server learns that it has shut down: afterwards would be
    too late, since the server then cancels whatever still runs. What cannot be opened stops the start.
    """

    def __init__(self, auth: VCAuth, receive: Receive, send: Send) -> None:
        self._auth = auth
        self._receive = receive
        self._send = send
        self._open = False
        self._failed = False

    async def receive(self) -> Message:
        """The application's ``receive``."""
        message = await self._receive()
        if message["type"] == "lifespan.startup":
            try:
                await self._auth.open()
            except Exception as error:
                # Said here, for an application need not say it, and a server that hears nothing starts all the same.
                await self._send({"type": "lifespan.startup.failed", "message": str(error)})
                self._failed = True
                raise
            self._open = True
        return message

    async def send(self, message: Message) -> None:
        """The application's ``send``."""
        if message["type"] != "lifespan.startup.complete":
            await self.close()
        if not self._failed:
            await self._send(message)

    async def close(self) -> None:
        """Close if it is open."""
        if self._open:
            self._open = False
            await self._auth.aclose()
