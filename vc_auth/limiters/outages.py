"""What is said of outages: one line in the log and one call of a hook for each change, however many requests wait."""

import logging
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Final

from vc_auth.errors import BackendError
from vc_auth.metrics import Metrics

logger: Final = logging.getLogger("vc_auth")


class Outages:
    """Counts the parts of a limiter that do without their server; a limiter on one server has one part."""

    def __init__(self, mode: str, share: Callable[[], Fraction], metrics: Metrics) -> None:
        self.share = share
        self.mode = mode
        self._metrics = metrics
        self._parts = 0
        self._since = 0.0

    def begin(self, error: BackendError) -> None:
        """A part has begun to do without."""
        self._parts += 1
        if self._parts > 1:
            return
        self._since = time.monotonic()
        logger.warning("limiter unreachable (%s); %s", error, self._meanwhile())
        self._tell(lambda: self._metrics.limiter_unreachable(str(error)))

    def end(self) -> None:
        """A part is back."""
        self._parts -= 1
        if self._parts:
            return
        after = time.monotonic() - self._since
        logger.warning("limiter is back after %.1f s; limits are exact again", after)
        self._tell(lambda: self._metrics.limiter_reachable(after))

    def _meanwhile(self) -> str:
        if self.mode == "closed":
            return "requests are answered 503 until it is back"
        if self.mode == "open":
            return "requests are not limited until it is back"
        return f"this process limits by itself at {self.share()} of each plan until it is back"

    def _tell(self, hook: Callable[[], None]) -> None:
        try:
            hook()
        except Exception:
            logger.exception("a hook of the metrics failed")
