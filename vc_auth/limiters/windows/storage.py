"""A storage of `limits`: how it is opened, asked and closed, and what its errors mean."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Any, Final, TypeVar, cast

from limits.aio.storage import MongoDBStorage
from limits.aio.strategies import STRATEGIES, RateLimiter
from limits.storage import storage_from_string
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from vc_auth.errors import BackendError, LimiterError
from vc_auth.limiters.clients import close_client
from vc_auth.limiters.remote import Lost, Unasked
from vc_auth.masking import masked
from vc_auth.urls import windows_storage

T = TypeVar("T")
Errand = Callable[[RateLimiter], Coroutine[Any, Any, T]]

AT_ONCE: Final = 64  # errands that are under way together: redis-py refuses the 101st connection
PATIENCE: Final = 3.0  # seconds after which an errand is cancelled after all
_LIBRARIES: Final = {"valkey": "valkey", "memcached": "memcachio", "mongodb": "motor"}
_EXAMPLES: Final = "give 'limits+redis://host:6379', 'limits+memcached://host:11211' or 'limits+mongodb://host:27017'"
_NO_ENTRY: Final = re.compile(
    r"^\w*(?:Authentication|Authorization|NoPermission)\w*:"
    r"|authentication fail|unauthenticated|requires authentication|not authorized",
    re.IGNORECASE,
)


class WindowsURL:
    """The URL of a storage, ``limits+redis://...``: opens it, and tells what went wrong there without its password.

    ``patience`` is after how many seconds its client gives up what it waits for.
    """

    def __init__(self, url: str, patience: float) -> None:
        self._url = url
        self._patience = patience
        self._scheme = windows_storage(url).partition("://")[0]

    def __str__(self) -> str:
        return masked(self._url, self._url)

    def open(self, strategy: str) -> RateLimiter:
        """The storage, with this strategy. Nothing is sent yet. Raises LimiterError with a sentence that says why."""
        password = re.search(r"//[^/:]*:(.*)@", self._url, re.DOTALL)
        if password and re.search(r"[]\[/?#@]", password[1]):  # it would be taken apart, and a part of it be shown
            raise LimiterError(f"'{self}' cannot be read; encode what is special in the password, as %2F for '/'")
        library = next((library for family, library in _LIBRARIES.items() if self._scheme.startswith(family)), None)
        if library and find_spec(library) is None:
            raise LimiterError(f"'{self}' needs a client that is not installed; pip install {library}")
        options = _client_options(self._scheme, self._patience)
        try:
            storage = storage_from_string(f"async+{windows_storage(self._url)}", **options)
        except Exception as error:  # noqa: BLE001  # each storage, and each client, has its own
            if "unknown storage scheme" in str(error):
                raise LimiterError(f"'{self}' is no storage of `limits`; {_EXAMPLES}") from None
            hint = "write it as `limits` does (see 'Storage scheme' in its documentation)"
            raise LimiterError(f"'{self}' cannot be used: {self._words(error)}; {hint}") from None
        try:
            return cast("RateLimiter", cast("type[Any]", STRATEGIES[strategy])(storage))
        except NotImplementedError:
            hint = "choose another limiter_strategy, such as 'sliding-window-counter'"
            raise LimiterError(f"'{self}' has no {strategy!r}; {hint}") from None

    def meaning(self, error: Exception) -> BackendError:
        """What an error of an errand says of it."""
        if isinstance(error, BackendError):
            return error
        words = self._words(error)
        if _NO_ENTRY.search(f"{type(error).__name__}: {words}"):
            return LimiterError(f"{self} does not let us in: {words}; check the user and the password in the URL")
        return Lost(f"{self} does not answer: {words}")

    def _words(self, error: Exception) -> str:
        return masked(str(error), self._url) or type(error).__name__


def _client_options(scheme: str, patience: float) -> dict[str, Any]:
    """What the client of a storage is told."""
    sockets = {"socket_timeout": patience, "socket_connect_timeout": patience}
    milliseconds = round(patience * 1_000)
    families: dict[str, dict[str, Any]] = {
        # The default of `limits` is another client; and what counts may not be sent twice by this one.
        "redis": {"implementation": "redispy", "protocol": 2, "retry": Retry(NoBackoff(), 0), **sockets},
        "valkey": sockets,
        "memcached": dict.fromkeys(("connect_timeout", "read_timeout", "blocking_timeout"), patience),
        "mongodb": dict.fromkeys(("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS"), milliseconds),
    }
    options = next((options for family, options in families.items() if scheme.startswith(family)), {})
    return options | {"use_replicas": False} if scheme.endswith("+sentinel") else options  # they lag behind


class Errands:
    """What is under way to a storage, on the running event loop.

    The first one goes alone: the client of a cluster stumbles over many who want it to connect at once. One that takes
    too long goes on until its client gives it up. If it were cancelled then, nobody would ever be connected where that
    takes longer than a check may; and memcachio's pool loses, for good, each connection that is cancelled while it is
    made.
    """

    def __init__(self, limiter: RateLimiter, url: WindowsURL) -> None:
        self._limiter = limiter
        self._url = url
        self._seats = asyncio.Semaphore(1)
        self._connected = False
        self._out: set[asyncio.Task[Any]] = set()

    async def run(self, errand: Errand[T], within: float) -> T:
        """What the errand returns, or raises. Raises Unasked if it could not begin in time, Lost if it did not end."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        try:
            async with asyncio.timeout_at(deadline):
                await self._seats.acquire()
        except TimeoutError:
            raise Unasked(f"{self._url} was too busy to be asked within {within * 1_000:g} ms") from None
        task = loop.create_task(errand(self._limiter))
        self._out.add(task)
        task.add_done_callback(self._back)
        await asyncio.wait((task,), timeout=deadline - loop.time())
        if not task.done():
            loop.call_later(PATIENCE, task.cancel)
            raise Lost(f"no reply from {self._url} within {within * 1_000:g} ms")
        return task.result()

    def _back(self, task: asyncio.Task[Any]) -> None:
        self._seats.release()
        self._out.discard(task)
        if task.cancelled() or task.exception() is not None or self._connected:
            return
        self._connected = True
        for _ in range(AT_ONCE - 1):
            self._seats.release()

    async def aclose(self) -> None:
        """Let what is under way end, and close the client."""
        if self._out:
            await asyncio.wait(self._out, timeout=PATIENCE)
        late = tuple(self._out)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await _close(self._limiter.storage)


async def _close(storage: Any) -> None:
    """`limits` closes no client of its, and each is closed in another way."""
    if isinstance(storage, MongoDBStorage):
        await asyncio.to_thread(storage.storage.close)  # it says goodbye to the server, which may be gone
    if (sweeping := getattr(storage, "timer", None)) is not None:
        sweeping.cancel()
        await asyncio.wait((sweeping,))
    parts = vars(getattr(storage, "bridge", object))
    redis = (parts.get("storage"), parts.get("storage_replica"), *getattr(parts.get("sentinel"), "sentinels", ()))
    for client in redis:
        if client is not None:
            await close_client(client)
    if (memcached := parts.get("_storage")) is not None:
        memcached.connection_pool.close()
        await asyncio.sleep(0)  # for its sockets
