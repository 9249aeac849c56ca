"""Hooks for what operators count. They do nothing until somebody subclasses them."""


class Metrics:
    """Give a subclass to ``VCAuth(metrics=...)``. Each hook is called on the event loop, and has to return at once."""

    def limiter_unreachable(self, reason: str) -> None:
        """Requests are limited without the server from now on, as ``on_limiter_error`` says; ``reason``: a sentence."""

    def limiter_reachable(self, after: float) -> None:
        """The server limits again, ``after`` so many seconds without it."""
