"""What `vc_auth.limiters.resilient` needs of a limiter that other machines share."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from vc_auth.errors import BackendError
from vc_auth.rates import Decision, Rate


class Unasked(BackendError):
    """The check was not made: it was never sent, or the server said no. Nothing was taken."""


class Foreign(BackendError):
    """The server answers, and has something under the bucket's name that is not one. Nothing was taken."""


class Unreachable(BackendError):
    """No limiter answers, and ``on_limiter_error="closed"`` says to refuse. The log has said so already, once."""


class Lost(BackendError):
    """The check was sent, and no reply came. It may have been made."""


class Owed(NamedTuple):
    """What a bucket was charged while the server was not asked: microseconds of debt at this rate."""

    bucket: str
    rate: Rate
    debt_us: int


class Watcher(Protocol):
    """Who wants to know how the server does. Both are called once for a round trip, however many checks it carried."""

    def answered(self) -> None:
        """A reply came, in time."""

    def failed(self, error: BackendError, since: float, *, hopeless: bool = False) -> None:
        """None came in time, or the server said no.

        ``since`` is when that check was made, or the first of them, by the event loop's clock. ``hopeless``: nothing
        more can be asked until a probe succeeds.
        """


class Remote(Protocol):
    """A limiter on a server. Its checks raise Unasked, Lost, or another BackendError, by which nothing was taken."""

    async def hit(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""

    async def peek(self, bucket: str, rate: Rate, cost: int = 1) -> Decision:
        """See `vc_auth.limiters.Limiter`."""

    def last_debt(self, bucket: str, rate: Rate, now: int) -> int:
        """The debt that a bucket has at least, as far as it is known here; ``now`` is microseconds of our clock."""

    async def bind(self, watcher: Watcher) -> None:
        """Begin anew on the running event loop, with no connection of any other loop or process."""

    async def check(self) -> None:
        """Raises LimiterError for a server that somebody has to mend, any other BackendError for what may pass."""

    async def probe(self) -> None:
        """Make a check that is nobody's. Raises BackendError if that fails or takes longer than a check may."""

    async def charge(self, owed: Sequence[Owed]) -> None:
        """Take what is owed, as far as the buckets hold it: Lost is raised if it may have been taken."""

    async def aclose(self) -> None:
        """Let what is under way end, and close all connections."""
