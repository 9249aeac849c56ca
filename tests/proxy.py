"""A TCP proxy that does to replies what networks do."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Self


class Proxy:
    """Forwards to a port of this machine until the end of ``async with``. What it does may be changed at any time."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.round_trip = 0.0
        """Seconds that it adds, in the order of arrival."""
        self.drops_replies = False
        self.cuts_replies = False
        """Each reply is forwarded but for its last byte, and then the connection is cut."""
        self.edit: Callable[[bytes], bytes] = lambda reply: reply
        self._target = port
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = True

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_open = False
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _turn in range(3):  # what was aborted is closed in the next one; and what was being accepted comes in it
            await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_open:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # also where it was cancelled before it began

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            return
        forth = asyncio.create_task(self._forward(reader, server_writer, replies=False))
        back = asyncio.create_task(self._forward(server_reader, writer, replies=True))
        try:
            await asyncio.wait((forth, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            server_writer.transport.abort()  # before anything is awaited, where `__aexit__` might cancel this
            for each in (forth, back):
                each.cancel()
            await asyncio.gather(forth, back, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool) -> None:
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                at, data = await arrived.get()
                await asyncio.sleep(max(at - loop.time(), 0))
                if replies and self.cuts_replies:
                    writer.write(data[:-1])
                    await writer.drain()
                    arrived.task_done()
                    return
                if not (replies and self.drops_replies):
                    writer.write(self.edit(data) if replies else data)
                    await writer.drain()
                arrived.task_done()

        delivery = asyncio.create_task(deliver())
        try:
            with suppress(OSError):
                while data := await reader.read(65_536):
                    arrived.put_nowait((loop.time() + self.round_trip / 2, data))
                    if delivery.done():
                        return
        finally:
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
