"""Time that passes when a test says so."""

from datetime import UTC, datetime


class TurnableClock:
    """A `vc_auth.clock.Clock` that stands still until it is turned."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._wall = int(start.timestamp()) * 1_000_000_000
        self._monotonic = 1_000_000_000_000

    def monotonic_ns(self) -> int:
        """Nanoseconds that never step back."""
        return self._monotonic

    def time_ns(self) -> int:
        """Nanoseconds since 1970."""
        return self._wall

    def advance(self, *, seconds: float = 0, us: int = 0) -> None:
        """Let time pass."""
        ns = round(seconds * 1_000_000_000) + us * 1_000
        self._monotonic += ns
        self._wall += ns

    def step(self, *, seconds: float) -> None:
        """Set the wall clock forward, or back: no time passes."""
        self._wall += round(seconds * 1_000_000_000)
